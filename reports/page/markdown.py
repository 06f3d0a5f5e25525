"""GitHub-flavoured Markdown: text that stays text, and tables."""

from __future__ import annotations

import re
from collections.abc import Sequence


def escape(text: str) -> str:
    """``text`` on one line, with nothing in it that Markdown or HTML would take for markup."""
    line = " ".join(text.split())
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    line = re.sub(r"([\\`*\[\]#|~$])", r"\\\1", line)
    # An underscore within a word is no markup, and names are full of them.
    return re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", line)


def code(text: str) -> str:
    """``text`` as a code span that also holds in a table; escaped text where it has a backtick."""
    line = " ".join(text.split())
    if "`" in line or not line:
        return escape(line)
    return "`" + line.replace("|", "\\|") + "`"


def table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], *, numeric: Sequence[bool]
) -> list[str]:
    """The lines of a table. Its texts are Markdown already; ``numeric`` columns align right."""
    return [
        "| " + " | ".join(headings) + " |",
        "|" + "|".join(" ---: " if right else " --- " for right in numeric) + "|",
        *("| " + " | ".join(row) + " |" for row in rows),
    ]

"""GitHub-flavoured Markdown: text that stays text, and tables."""

from __future__ import annotations

import re
from collections.abc import Sequence

from deploymark.reports.page.plain_text import isolated

_JOINER = "&#8288;"


def escape(text: str) -> str:
    """``text`` on one line, with nothing in it that Markdown or HTML would take for markup.

    Nor for a link or for the name of a person, whom GitHub would tell of it.
    """
    line = isolated(" ".join(text.split()))
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    line = re.sub(r"([\\`*\[\]#|~$])", r"\\\1", line)
    line = re.sub(r"(?i)\b(https?|ftp|mailto|xmpp):", r"\1&#58;", line)
    line = re.sub(r"(?i)\b(www)\.", r"\1&#46;", line)
    line = re.sub(r"@(?=[A-Za-z0-9])", f"@{_JOINER}", line)
    # What would begin a list, a rule or, under a line, make a heading of that.
    line = re.sub(r"^(?:[-+](?=\s|$)|(?:[-=]{2,}$))", r"\\\g<0>", line)
    line = re.sub(r"^(\d+)([.)])(?=\s|$)", r"\1\\\2", line)
    # An underscore within a word is no markup, and names are full of them.
    return re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", line)


def code(text: str) -> str:
    """``text`` as a code span that also holds in a table; escaped text where it has a backtick.

    Or a backslash at a bar, which parsers read in different ways.
    """
    line = isolated(" ".join(text.split()))
    if "`" in line or "\\|" in line or not line:
        return escape(text)
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


def fold(title: str, lines: Sequence[str]) -> list[str]:
    """Lines that are shown on demand, under a ``title`` that is Markdown or HTML already.

    The empty lines make GitHub read what is folded as Markdown.
    """
    head = ["", "<details>", f"<summary>{title}</summary>", ""]
    return [*head, *lines, "", "</details>"]


def folds(lines: Sequence[str]) -> list[list[str]]:
    """Each section of ``lines`` (from one ``## heading`` to the next) as a fold of that title."""
    sections: list[list[str]] = []
    for line in lines:
        if line.startswith("## "):
            sections.append([])
        if sections:
            sections[-1].append(line)
    return [fold(section[0].removeprefix("## "), _stripped(section[1:])) for section in sections]


def _stripped(lines: Sequence[str]) -> list[str]:
    """Without empty lines at both ends."""
    kept = [index for index, line in enumerate(lines) if line]
    return list(lines[kept[0] : kept[-1] + 1]) if kept else []


def fitting(top: Sequence[str], parts: Sequence[Sequence[str]], most_characters: int) -> list[str]:
    """``top`` and the folds below it; those that would make it too long are only named."""
    left = most_characters - sum(len(line) + 1 for line in top)
    lines, without = list(top), []
    for part in parts:
        size = sum(len(line) + 1 for line in part)
        if size <= left:
            left -= size
            lines += part
        else:
            without.append(part[2].removeprefix("<summary>").removesuffix("</summary>"))
    if without:
        lines += ["", f"Too long for this page, and in `report.html`: {', '.join(without)}."]
    return lines

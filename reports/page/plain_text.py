r"""Text from outside, made harmless to the eye: nothing in it is unseen or turns its line around.

Escaping for HTML, Markdown or XML is for the page at hand; what is done here is the same for all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_UNSEEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff"
    "\ufff9-\ufffb\ufffe\uffff\ud800-\udfff\U000e0000-\U000e007f]"
)
"""Controls but tab and line ends, marks and embeddings of the bidirectional algorithm (Unicode
Standard Annex 9, 2), tags, and halves of surrogates."""

_RIGHT_TO_LEFT = "\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff"
_STRETCH = re.compile(
    f"[{_RIGHT_TO_LEFT}](?:(?:[{_RIGHT_TO_LEFT}0-9_]|[^\\w\n])*[{_RIGHT_TO_LEFT}])?"
)
"""Letters that read from right to left, with the digits and signs between them."""

_ISOLATE, _END = "\u2068", "\u2069"

LONGEST = 300
"""Characters of a text that a line shows; the whole is elsewhere."""


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape", "surrogatepass").decode()


def seen(text: str) -> str:
    r"""``text`` with its unseen characters as escapes: ``\u202e`` for what turns a line around."""
    return _UNSEEN.sub(_escaped, text)


def all_seen(value: Any) -> Any:
    """A value of JSON with every text, keys as well, as ``seen`` has it.

    Names stand in the expressions that Vega-Lite makes, whose parser takes U+2028 for a line's end.
    """
    if isinstance(value, str):
        return seen(value)
    if isinstance(value, Mapping):
        return {seen(str(key)): all_seen(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [all_seen(inner) for inner in value]
    return value


def isolated(text: str) -> str:
    """``seen`` text whose stretches from right to left leave the order of what is around them.

    Each is between the marks of an isolate (FSI and PDI, Unicode Standard Annex 9, 2.4).
    """
    harmless = seen(text)
    if harmless.isascii():
        return harmless
    return _STRETCH.sub(lambda found: f"{_ISOLATE}{found[0]}{_END}", harmless)


def shortened(text: str, longest: int = LONGEST) -> str:
    """``text`` cut for the eye, with a mark where it was."""
    return text if len(text) <= longest else f"{text[: longest - 1].rstrip()}…"

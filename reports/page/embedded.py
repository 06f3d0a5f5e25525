"""Data in a page: as it is where it is small, compressed where it is much.

A browser decompresses it without asking anybody (``DecompressionStream``, in all since 2023).
"""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

from markupsafe import Markup

from deploymark.reports.page.plain_text import all_seen

MOST_PLAIN_BYTES = 60_000
"""Larger JSON is compressed: to a fifth, base64 included."""


def embedded(name: str, value: Any, digits: int = 0) -> Markup:
    """A script element of that id which holds ``value``; ``deploymarkData(name)`` reads it.

    With ``digits``, numbers in it have so many significant ones: a chart shows no more. Its texts
    are as ``seen`` has them: a script of the page shows them as they are.
    """
    value = all_seen(_rounded(value, digits) if digits else value)
    text = json.dumps(value, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    data = text.encode()
    if len(data) <= MOST_PLAIN_BYTES:
        # Nothing in it may end the element, or begin a comment that swallows its end.
        safe = json.dumps(value, allow_nan=False, separators=(",", ":"))
        for mark in "<>&":
            safe = safe.replace(mark, f"\\u{ord(mark):04x}")
        kind, content = "application/json", safe
    else:
        kind, content = "application/gzip", _packed(data)
    element = f'<script type="{kind}" id="{name}">{content}</script>'
    return Markup(element)  # noqa: S704 - made safe above


def embedded_script(name: str, source: str) -> Markup:
    """A script of our own making: as it is where it is small, else for ``charts.js`` to unpack."""
    data = source.encode("utf-8")
    if len(data) <= MOST_PLAIN_BYTES:
        return Markup(f"<script>\n{source}\n</script>")  # noqa: S704 - our own
    element = f'<script type="application/gzip" id="{name}">{_packed(data)}</script>'
    return Markup(element)  # noqa: S704 - base64


def _rounded(value: Any, digits: int) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{digits}g}")
    if isinstance(value, dict):
        return {key: _rounded(inner, digits) for key, inner in value.items()}
    return [_rounded(inner, digits) for inner in value] if isinstance(value, list) else value


def _packed(data: bytes) -> str:
    # mtime of zero: the same run gives the same page
    return base64.b64encode(gzip.compress(data, compresslevel=9, mtime=0)).decode("ascii")

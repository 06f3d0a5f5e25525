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


def embedded(name: str, value: Any) -> Markup:
    """A script element of that id which holds ``value``; ``deploymarkData(name)`` reads it.

    Its texts are as ``seen`` has them: a script of the page shows them as they are.
    """
    value = all_seen(value)
    text = json.dumps(value, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    data = text.encode()
    if len(data) <= MOST_PLAIN_BYTES:
        # Nothing in it may end the element, or begin a comment that swallows its end.
        safe = json.dumps(value, allow_nan=False, separators=(",", ":"))
        for mark in "<>&":
            safe = safe.replace(mark, f"\\u{ord(mark):04x}")
        kind, content = "application/json", safe
    else:
        # mtime of zero: the same run gives the same page
        packed = gzip.compress(data, compresslevel=9, mtime=0)
        kind, content = "application/gzip", base64.b64encode(packed).decode("ascii")
    element = f'<script type="{kind}" id="{name}">{content}</script>'
    return Markup(element)  # noqa: S704 - made safe above

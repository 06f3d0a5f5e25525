"""What a run weighed: the lines of its memory pass and of its search for the smallest limit."""

from __future__ import annotations

import dataclasses

MEMORY_LINES_FILE = "memory.jsonl"
"""One line a launch of the memory pass, in the form of ``launches.jsonl``."""

FIT_LINES_FILE = "fit.jsonl"
"""One line a launch of a search for the smallest limit, with its ``memory_limit_mb``."""

MEMORY_FIGURES = (
    "peak_rss_bytes",
    "model_rss_bytes",
    "device_memory_bytes",
    "uss_bytes",
    "load_peak_rss_bytes",
    "steady_rss_bytes",
    "memory_per_copy_bytes",
)
"""Columns of ``cells.json`` that come from the memory pass, each a key of its lines."""


@dataclasses.dataclass(frozen=True)
class Fit:
    """The smallest limit that a cell works within, in MiB, or why none was found.

    ``fails_at_mb`` is the largest limit below that does not do; ``launches`` were made under limits
    to find out.
    """

    cell: str
    min_memory_mb: int | None
    fails_at_mb: int | None = None
    launches: int = 0
    enforced_by: str | None = None
    reason: str = ""

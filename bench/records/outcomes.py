"""How a child process or a cell ended: what devices are sent too, so the standard library alone."""

from __future__ import annotations

import dataclasses
from typing import Literal, get_args

Status = Literal[
    "ok",
    "unsupported",
    "unavailable",
    "export_failed",
    "load_failed",
    "crashed",
    "timeout",
    "out_of_memory",
    "invalid",
]

STATUSES: tuple[Status, ...] = get_args(Status)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a child process or a cell ended. ``reason`` and ``remedy`` are for people.

    ``outside`` tells that somebody else ended the process, and not for want of memory.
    """

    status: Status
    reason: str = ""
    remedy: str = ""
    outside: bool = False

    @property
    def ok(self) -> bool:
        """True where there is something to use."""
        return self.status == "ok"

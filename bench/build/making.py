"""Making one thing in a build child: what artifacts and recipes have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from deploymark.bench.children.spawn import ChildEnd, run_child, thread_environment

BUILD_CHILD = "deploymark.bench.build.child"
"""The module that a build child is."""


def make(
    job: Mapping[str, Any],
    *,
    timeout_s: float,
    log: Path,
    on_message: Callable[[dict[str, Any]], None] | None = None,
) -> ChildEnd:
    """Do a job in a build child, on one thread: several are at work at a time.

    ``on_message`` sees progress messages as they come.
    """
    return run_child(
        BUILD_CHILD,
        job,
        timeout_s=timeout_s,
        log=log,
        env=thread_environment(1),
        on_message=on_message,
    )

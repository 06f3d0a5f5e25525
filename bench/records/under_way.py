"""Whether a process is at a run: whoever works in a run directory holds its lock."""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock, Timeout

RUN_LOCK = ".lock"


def under_way(folder: Path) -> bool:
    """Whether a process of this machine works on the run in ``folder`` just now."""
    file = folder / RUN_LOCK
    if not file.exists():
        return False
    try:
        with FileLock(file).acquire(timeout=0):
            return False
    except Timeout:
        return True
    except OSError:  # a run that cannot be written is nobody's work
        return False

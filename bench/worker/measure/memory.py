"""Memory of this process, read where the kernel keeps it: no poller.

Python 3.10 and the standard library alone: the worker's side.
"""

from __future__ import annotations

import sys
from pathlib import Path


def _status_bytes(field: str) -> int | None:
    """A size of ``/proc/self/status`` (proc(5), in kB there) in bytes; None where there is none."""
    try:
        text = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    for line in text.splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    return None


def rss_bytes() -> int | None:
    """Resident set size now, in bytes; None where the platform does not tell."""
    return _status_bytes("VmRSS")


def peak_rss_bytes() -> int | None:
    """Largest resident set size of this program so far, in bytes.

    VmHWM and not getrusage's ru_maxrss on Linux: the latter still holds the parent's size from
    before exec.
    """
    peak = _status_bytes("VmHWM")
    if peak is not None:
        return peak
    try:
        import resource
    except ImportError:  # Windows
        return None
    maximum = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(maximum) if sys.platform == "darwin" else int(maximum) * 1024

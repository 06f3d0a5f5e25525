"""Memory of this process, read where the kernel keeps it: no poller.

Python 3.10 and the standard library alone: the worker's side.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

PROC = Path("/proc/self")

_RESET_PEAK = "5"
"""What written to ``clear_refs`` makes the peak (VmHWM) the size of now: proc(5), Linux 4.0."""

_ROLLUP = ("Rss", "Pss", "Private_Clean", "Private_Dirty", "Private_Hugetlb")


def _sizes(path: Path) -> dict[str, int]:
    """The lines ``Name:   12 kB`` of a file of /proc, in bytes; none where it cannot be read."""
    try:
        text = path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return {}
    return sizes_in(text)


def sizes_in(text: str) -> dict[str, int]:
    """The lines ``Name:   12 kB`` of a text as the kernel writes it (proc(5)), in bytes."""
    found = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        words = value.split()
        if len(words) == 2 and words[1] == "kB" and words[0].isdigit():  # noqa: PLR2004 - and unit
            found[name] = int(words[0]) * 1024
    return found


def _status_bytes(field: str) -> int | None:
    """A size of ``/proc/self/status`` (proc(5), in kB there) in bytes; None where there is none."""
    return _sizes(PROC / "status").get(field)


@dataclasses.dataclass(frozen=True)
class Held:
    """What a process holds at one moment, in bytes.

    ``rss_bytes`` counts every page that it has in memory, ``pss_bytes`` a page that n processes
    have by 1/n, ``uss_bytes`` (the unique set size) those that no other process has.
    """

    rss_bytes: int
    pss_bytes: int
    uss_bytes: int


def held(folder: Path = PROC) -> Held | None:
    """What this process holds now; None where the kernel does not tell (Linux 4.14 does)."""
    sizes = _sizes(folder / "smaps_rollup")
    if any(name not in sizes for name in _ROLLUP[:-1]):  # huge pages are where the kernel has them
        return None
    private = sum(sizes.get(name, 0) for name in _ROLLUP[2:])
    return Held(sizes["Rss"], sizes["Pss"], private)


def data_bytes() -> int | None:
    """Private writable memory now, touched or not: VmData, which RLIMIT_DATA bounds."""
    return _status_bytes("VmData")


class Peaks:
    """The largest resident set between marks, where the kernel lets a process reset its peak."""

    def __init__(self, folder: Path = PROC) -> None:
        self._folder = folder
        self.highest: int | None = None
        """The largest so far in bytes; None where the platform does not tell."""
        self.resets = True
        """False where a reset was refused: every mark then tells the peak since the start."""

    def mark(self) -> int | None:
        """The peak since the last mark, or since the start, in bytes; begins a new one."""
        peak = peak_rss_bytes()
        self.highest = max(filter(None, (self.highest, peak)), default=None)
        try:
            (self._folder / "clear_refs").write_text(_RESET_PEAK, encoding="ascii")
        except OSError:
            self.resets = False
        return peak


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

"""Which processors a pair of workers shares."""

from __future__ import annotations

import contextlib
import os
import random
from pathlib import Path

from deploymark.bench.worker.measure.conditions import cpu_list

_SYS = Path("/sys/devices/system/cpu")


def _read(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text(encoding="ascii", errors="replace").strip()
    return ""


def cores(usable: set[int], sys: Path = _SYS) -> list[int]:
    """One processor of each of the fastest cores among ``usable``, in order.

    Fastest by what the kernel tells (``cpu_capacity`` on Arm, ``cpuinfo_max_freq`` elsewhere): a
    big core and a little one are no places to compare on. All where it tells nothing.
    """
    firsts: dict[int, int] = {}
    for cpu in sorted(usable):
        siblings = cpu_list(_read(sys / f"cpu{cpu}/topology/thread_siblings_list")) or {cpu}
        firsts.setdefault(min(siblings), cpu)
    speeds = {cpu: _speed(cpu, sys) for cpu in firsts.values()}
    fastest = max(speeds.values(), default=0)
    return [cpu for cpu, speed in speeds.items() if speed == fastest]


def _speed(cpu: int, sys: Path) -> int:
    for name in ("cpu_capacity", "cpufreq/cpuinfo_max_freq"):
        text = _read(sys / f"cpu{cpu}/{name}")
        if text.isdigit():
            return int(text)
    return 0


def choose(threads: int, order: random.Random) -> tuple[int, ...]:
    """Processors for ``threads`` threads, neighbours from a random place on.

    Empty where threads cannot be bound, or where there are not so many cores.
    """
    if not hasattr(os, "sched_getaffinity"):
        return ()
    usable = os.sched_getaffinity(0)
    found = cores(usable)
    if len(found) < threads:
        found = sorted(usable)
    if len(found) < threads:
        return ()
    start = order.randrange(len(found) - threads + 1)
    return tuple(found[start : start + threads])

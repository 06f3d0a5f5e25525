"""Where a worker's threads run, while it is compared with another one.

The processors of a machine are not equally fast at any one time: a neighbour on the other thread of
a core, another guest of a virtual machine, heat. A process stays where it is while it can, so two
workers that run at the same time would each keep a processor of their own, and the difference
between the processors would pass for one between the artifacts. Both take the same ones instead.
Python 3.10 and the standard library alone: the worker's side.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence

from deploymark.bench.worker.measure.conditions import thread_times


def confine(cpus: Sequence[int]) -> bool:
    """Keep this thread, and those that it starts from now on, on ``cpus``.

    Before the runtime is loaded: some (OpenVINO) note down then where they may run, and go back to
    it after every inference. False where there are none, or the platform binds no threads.
    """
    if not cpus or not hasattr(os, "sched_setaffinity"):
        return False
    with contextlib.suppress(OSError):
        os.sched_setaffinity(0, set(cpus))
        return True
    return False


def busiest(
    before: Mapping[str, tuple[int, int]], after: Mapping[str, tuple[int, int]]
) -> list[str]:
    """Ids of this process's threads, the busiest between two readings of their times first."""
    ran = {name: times[0] - before.get(name, (0, 0))[0] for name, times in after.items()}
    return sorted(ran, key=lambda name: (-ran[name], int(name)))


def place(cpus: Sequence[int], copies: Sequence[Sequence[str]]) -> bool:
    """Bind the busiest threads of each copy of a model to one processor each, the rest to all.

    ``copies`` has the ids of a copy's threads, the busiest first, as ``busiest`` tells them; as
    many of them are bound as there are processors, in the order in which they were made, so that
    two workers of the same make come out alike. False where the platform binds no threads.
    """
    if not cpus or not hasattr(os, "sched_setaffinity"):
        return False
    places: dict[str, set[int]] = {}
    for names in copies:
        bound = sorted(names[: len(cpus)], key=int)
        places.update(zip(bound, ({cpu} for cpu in cpus), strict=False))
    done = False
    for name in thread_times():
        with contextlib.suppress(OSError):  # a thread may have ended meanwhile
            os.sched_setaffinity(int(name), places.get(name, set(cpus)))
            done = True
    return done

"""The energy pass in the worker: resting, and inferring without a pause, with the times of both.

No meter is read here: that is the recorder's work, in a process of its own. Times are nanoseconds
of the monotonic clock, which all processes of a machine share. Python 3.10 and the standard library
alone: the worker's side.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

Clock = Callable[[], int]

Stretch = dict[str, int]
"""``start_ns``, ``end_ns``, and of a window ``inferences`` and ``cpu_ns``, the processor's time."""


def rest(
    seconds: float,
    guard_s: float,
    *,
    clock: Clock = time.monotonic_ns,
    sleep: Callable[[float], None] = time.sleep,
) -> Stretch:
    """Do nothing for ``seconds``, and for ``guard_s`` before and after, which do not count."""
    sleep(guard_s)
    start_ns = clock()
    sleep(seconds)
    end_ns = clock()
    sleep(guard_s)
    return {"start_ns": start_ns, "end_ns": end_ns}


def windows(
    infer: Callable[[Any], object],
    inputs: Sequence[Any],
    *,
    window_s: float,
    guard_s: float,
    stop: Callable[[], bool],
    clock: Clock = time.monotonic_ns,
    cpu: Clock = time.process_time_ns,
) -> Iterator[Stretch]:
    """Infer without a pause, and give each window of it when it is over, until ``stop``.

    The first window begins ``guard_s`` after the work does, the next where the last one ended: at
    an inference's end, so that each holds whole inferences. ``stop`` is asked after each inference;
    once it says so the work ends, but not before it went on for ``guard_s`` after the last window
    that was given. What was inferred since is in no window.
    """
    turns = itertools.cycle(inputs)
    begin_ns = clock() + round(guard_s * 1e9)
    while clock() < begin_ns:
        infer(next(turns))
    stopped, least_ns = False, 0
    while True:
        start_ns, cpu_ns, inferences = clock(), cpu(), 0
        until_ns = start_ns + round(window_s * 1e9)
        while inferences == 0 or clock() < until_ns:
            infer(next(turns))
            inferences += 1
            stopped = stopped or stop()
            if stopped and clock() >= least_ns:
                return
        if stopped:
            continue
        end_ns = clock()
        least_ns = end_ns + round(guard_s * 1e9)
        yield {
            "start_ns": start_ns,
            "end_ns": end_ns,
            "inferences": inferences,
            "cpu_ns": cpu() - cpu_ns,
        }

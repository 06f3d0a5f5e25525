"""The latency pass: cold first inference, warm-up until steady, timed inferences.

Python 3.10 and numpy alone: the worker's side.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Images = Sequence[npt.NDArray[np.float32]]
    Infer = Callable[[npt.NDArray[np.float32]], object]

WINDOW = 5
"""Inferences of one warm-up window."""

STEADY_WINDOWS = 2
"""Windows in a row that must bring no further gain."""

STEADY_GAIN = 0.05
"""What counts as a gain: a window's median below the best one so far by more than this share.
Warming up makes inferences faster (caches, allocators, clocks), noise makes them slower now and
then: a rule on gains ends on a noisy machine too, where one on the spread would not."""

TRACED = 50
"""Inferences of a warm-up whose times are kept: warming up shows in the first ones."""

LEAST_ITERATIONS = 2
"""Timed inferences of a launch, however long one takes: a median of one says nothing of itself."""

Clock = Callable[[], int]


@dataclasses.dataclass(frozen=True)
class WarmUp:
    """How the warm-up went. ``steady`` is False where it was given up at its time limit.

    ``first_ns`` are the times of its first inferences, nanoseconds.
    """

    iterations: int
    seconds: float
    steady: bool
    first_ns: tuple[int, ...] = ()


def time_once_ns(work: Callable[[], object], clock: Clock = time.perf_counter_ns) -> int:
    """Nanoseconds of one call."""
    started = clock()
    work()
    return clock() - started


def is_steady(times_ns: Sequence[int]) -> bool:
    """Whether the last windows were no faster than the best before them, beyond the tolerance."""
    medians = [
        statistics.median(times_ns[start : start + WINDOW])
        for start in range(0, len(times_ns) - WINDOW + 1, WINDOW)
    ]
    if len(medians) <= STEADY_WINDOWS:
        return False
    best = min(medians[:-STEADY_WINDOWS])
    return min(medians[-STEADY_WINDOWS:]) >= (1 - STEADY_GAIN) * best


def warm_up(
    infer: Infer, images: Images, *, max_s: float, clock: Clock = time.perf_counter_ns
) -> WarmUp:
    """Infer until the times are steady, or ``max_s`` seconds are over: no longer by a window."""
    times: list[int] = []
    started = clock()
    while True:
        for _ in range(WINDOW):
            image = images[len(times) % len(images)]
            before = clock()
            infer(image)
            after = clock()
            times.append(after - before)
            if after - started >= max_s * 1e9:
                break
        elapsed_s = (clock() - started) / 1e9
        steady = is_steady(times)
        if steady or elapsed_s >= max_s:
            return WarmUp(len(times), elapsed_s, steady, tuple(times[:TRACED]))


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """Garbage collection is off in the block, as in timeit."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def burst(
    infer: Infer, images: Images, iterations: int, clock: Clock = time.perf_counter_ns
) -> list[int]:
    """Nanoseconds of each of a few inferences, on the images in turn from the first."""
    times: list[int] = []
    for index in range(iterations):
        image = images[index % len(images)]
        before = clock()
        infer(image)
        times.append(clock() - before)
    return times


def timed(
    work: Callable[[Any], object],
    items: Sequence[Any],
    *,
    seconds: float,
    min_iterations: int,
    max_iterations: int,
    max_s: float = math.inf,
    clock: Clock = time.perf_counter_ns,
) -> list[int]:
    """Nanoseconds of each call of ``work`` on the items in turn.

    Goes on until ``seconds`` have passed and ``min_iterations`` are done, at most
    ``max_iterations``. After ``max_s`` seconds ``LEAST_ITERATIONS`` are enough. Garbage collection
    is off meanwhile, as in timeit.
    """
    times: list[int] = []
    with no_collection():
        started = clock()
        while len(times) < max_iterations:
            item = items[len(times) % len(items)]
            before = clock()
            work(item)
            after = clock()
            times.append(after - before)
            elapsed_s = (after - started) / 1e9
            enough = min_iterations if elapsed_s < max_s else LEAST_ITERATIONS
            if elapsed_s >= seconds and len(times) >= enough:
                break
    return times

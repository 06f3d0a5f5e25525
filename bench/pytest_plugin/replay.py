"""Samples measured elsewhere, played back to pytest-benchmark through its own API.

In pedantic mode pytest-benchmark reads its timer exactly twice a round and calibrates nothing, so a
clock that gives the sum of the samples so far makes its statistics equal the samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class ReplayClock:
    """A timer, in seconds. ``load`` samples; then every second reading is one sample later.

    Each round starts at 0, so that a sample is not the rounded difference of two large sums.
    """

    def __init__(self) -> None:
        self._samples_s: list[float] = []
        self._reading = 0

    def load(self, samples_ns: Sequence[int]) -> None:
        """Play these samples, nanoseconds, from the first on."""
        self._samples_s = [sample / 1e9 for sample in samples_ns]
        self._reading = 0

    def __call__(self) -> float:
        """The next reading, seconds. Raises IndexError past the last sample."""
        index, is_end = divmod(self._reading, 2)
        self._reading += 1
        return self._samples_s[index] if is_end else 0.0


def replay(benchmark: Any, clock: ReplayClock, samples_ns: Sequence[int]) -> None:
    """Give pytest-benchmark's fixture one round a sample; ``clock`` is the timer it has."""
    clock.load(samples_ns)
    benchmark.pedantic(_measured_elsewhere, rounds=len(samples_ns), iterations=1, warmup_rounds=0)


def _measured_elsewhere() -> None:
    """What a round calls: the work was done in the worker."""

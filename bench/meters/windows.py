"""Joules between two times, of readings that were taken around them.

A *counter* is followed linearly between its updates: what it added there is right, and only where
a window's edge falls between two of them something is assumed, a constant power. The work goes on
unchanged for some updates beyond either edge (``guard_s``), so that is what there is.

*Power* is integrated by trapezoids over its updates. Holding a reading until the next one would lag
behind by half of a period wherever power moves; trapezoids are exact for power that moves evenly,
and where a sensor gives the mean since its last update they lag by half of a period, as holding
backwards would be exact there. Under a steady load, beyond the guard, all three agree.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from deploymark.bench.meters.trace import Trace, updates

if TYPE_CHECKING:
    from deploymark.bench.meters.trace import Floats

LEAST_PERIODS = 20
"""Update periods of a window that has a figure.

An edge falls anywhere between two updates: one in 20 of them is what a reading at one edge is off
by at worst, before interpolation takes most of it away.
"""

GUARD_PERIODS = 3.0
GUARD_S = 1.0
"""What is left between a change of the load and a window's edge: periods of the sensor, and seconds
at least, as the power of NVIDIA's GPUs since Ampere is a mean over the last second (NVML's
``nvmlDeviceGetPowerUsage``; Yang, Adamek and Armour, arXiv 2312.02741)."""

Span = tuple[float, float]
"""From and until, seconds of the monotonic clock."""


class NotCoveredError(Exception):
    """The readings do not reach around the time that was asked for."""


def guard_s(period_s: float) -> float:
    """Seconds that the load must have been as it is before a window begins, and after it ends."""
    return max(GUARD_S, GUARD_PERIODS * period_s)


def least_window_s(period_s: float) -> float:
    """Seconds of the shortest window that has a figure."""
    return LEAST_PERIODS * period_s


@dataclasses.dataclass(frozen=True)
class Curve:
    """The updates of a sensor, made once for all windows: joules so far, or watts."""

    times_s: Floats
    values: Floats
    is_power: bool

    @classmethod
    def of(cls, trace: Trace, period_s: float) -> Curve:
        """The curve that a trace tells."""
        times_s, values = updates(trace, period_s)
        return cls(times_s, values, trace.facts.unit == "w")

    def joules(self, span: Span) -> float:
        """Energy between two times. Raises NotCoveredError where the updates do not span them."""
        begin, end = span
        if len(self.times_s) == 0 or begin < self.times_s[0] or end > self.times_s[-1]:
            raise NotCoveredError
        at = np.interp([begin, end], self.times_s, self.values)
        if not self.is_power:
            return float(at[1] - at[0])
        inside = (self.times_s > begin) & (self.times_s < end)
        times_s = np.concatenate([[begin], self.times_s[inside], [end]])
        values = np.concatenate([at[:1], self.values[inside], at[1:]])
        return float(np.trapezoid(values, times_s))

    def watts(self, span: Span) -> float:
        """Mean power between two times. Raises NotCoveredError as ``joules`` does."""
        return self.joules(span) / (span[1] - span[0])

"""The readings of one meter: when its sensor was updated, and how often it is.

Times are seconds of the system's monotonic clock, which all processes of a machine share; readings
are joules of a counter or watts. Arrays are one-dimensional float64 of equal length. Pure functions
over readings that were taken: nothing here reads a meter.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from deploymark.bench.meters.base import Facts

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

LEAST_GAPS = 3
"""Gaps between updates from which a period is told."""

_ALONE = 1.5
"""Gaps up to so many times a short one are one update period and no multiple of it."""

_SHORT = 0.1
"""The quantile of the gaps that is called a short one."""

_SLOWER = 2.5
_CHANGES = 4
"""A sensor whose lines change so many times, and never in fewer than so many lines, is slower than
its lines come."""

HOLD = 1.5
"""Update periods between two changes from which the reading is taken to have stood still."""


@dataclasses.dataclass(frozen=True)
class Trace:
    """What a meter read, in order. ``failure`` says what ended it early, with its words."""

    facts: Facts
    times_s: Floats
    values: Floats
    failure: tuple[str, str] | None = None


def unwrapped(trace: Trace) -> Floats:
    """The readings of a counter as they would be had it never begun again at 0, joules.

    A step back by more than half of the range is a wrap-around, as the shortest way forward is
    taken; a smaller one stays a step back.
    """
    wrap_j = trace.facts.wraps_at_j
    if wrap_j is None or len(trace.values) == 0:
        return trace.values
    steps = np.diff(trace.values)
    rounds = np.concatenate([[0.0], np.cumsum(np.where(steps < -wrap_j / 2, wrap_j, 0.0))])
    return np.asarray(trace.values + rounds, dtype=np.float64)


def _changes(trace: Trace) -> tuple[Floats, Floats]:
    """When the readings changed, and to what.

    A change was seen between two readings: it is put in the middle.
    """
    values = unwrapped(trace) if trace.facts.unit == "j" else trace.values
    moved = np.flatnonzero(np.diff(values) != 0)
    return (trace.times_s[moved] + trace.times_s[moved + 1]) / 2, values[moved + 1]


def _one_period_s(gaps_s: Floats) -> float:
    """The median of those gaps that are one period: others are multiples, where a reading stood."""
    short = float(np.quantile(gaps_s, _SHORT))
    return float(np.median(gaps_s[gaps_s <= _ALONE * short]))


def update_period_s(trace: Trace) -> float | None:
    """How often the sensor is updated, seconds, as its readings show; None where they do not.

    The median gap between changes. A quantised reading changes at multiples of the period only, so
    the gaps are those near the short ones. Where each line is a reading it is the gap between
    lines, unless these repeat what a slower sensor said.
    """
    changed_s, _ = _changes(trace)
    gaps_s = np.diff(changed_s)
    if trace.facts.every_line:
        lines_s = np.diff(trace.times_s)
        if len(lines_s) < LEAST_GAPS:
            return trace.facts.told_period_s
        line_s = float(np.median(lines_s))
        if len(gaps_s) >= _CHANGES and float(np.quantile(gaps_s, _SHORT)) > _SLOWER * line_s:
            return _one_period_s(gaps_s)
        return line_s
    if len(gaps_s) < LEAST_GAPS:
        return trace.facts.told_period_s
    return _one_period_s(gaps_s)


def updates(trace: Trace, period_s: float) -> tuple[Floats, Floats]:
    """The sensor's updates: when, and the reading from then on.

    Where a power stood still for longer than its period it was read anew and found the same: such
    an update is put in one period before the next change, so that a step stays one.
    """
    if trace.facts.every_line:
        values = unwrapped(trace) if trace.facts.unit == "j" else trace.values
        return trace.times_s, values
    times_s, values = _changes(trace)
    if trace.facts.unit == "j" or len(times_s) == 0:
        return times_s, values
    # The last value holds until the last reading, the first from the first one on.
    times_s = np.concatenate([trace.times_s[:1], times_s, trace.times_s[-1:]])
    values = np.concatenate([trace.values[:1], values, trace.values[-1:]])
    stood = np.flatnonzero(np.diff(times_s) > HOLD * period_s)
    held_s = times_s[stood + 1] - period_s
    return np.insert(times_s, stood + 1, held_s), np.insert(values, stood + 1, values[stood])

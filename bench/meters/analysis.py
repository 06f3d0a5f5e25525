"""What a meter's readings say of a pass: gross and net joules an image, or the faults they have."""

from __future__ import annotations

import dataclasses
import itertools
import math
import statistics
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from deploymark.bench.meters import faults
from deploymark.bench.meters.base import Facts
from deploymark.bench.meters.faults import Fault
from deploymark.bench.meters.trace import Trace, unwrapped, update_period_s
from deploymark.bench.meters.windows import (
    LEAST_PERIODS,
    Curve,
    NotCoveredError,
    Span,
    guard_s,
    least_window_s,
)
from deploymark.bench.statistics.intervals import Interval, mean_interval

MAX_DRIFT_SHARE = 0.25
"""How far idle power may drift from before to after, of what the inferences add to it.

The mean of both is what is subtracted, so a net figure is off by half of the drift at most; that
half is in its interval."""

MAX_DISAGREEMENT = 0.1
"""How far two paths to the same sensor may differ, relative to their mean.

NVML's counter and its integrated power agree within 1 % under load (zeus, issue 181)."""

_SILENCE_PERIODS = 5.0
_LEAST_SILENCE_S = 0.5
"""A gap between readings that is a silence: periods of the sensor, and seconds at least, as a busy
machine may keep any process waiting for a while."""

_HALF_WAY = 0.5
_STEADY_SIGMAS = 6.0
"""A load shows in single readings where it lies so many of their deviations above idle."""


@dataclasses.dataclass(frozen=True)
class Window:
    """A stretch of steady inferences: seconds of the monotonic clock, and images."""

    span: Span
    images: int

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.span[1] - self.span[0]


@dataclasses.dataclass(frozen=True)
class Phases:
    """What a worker did, and when: idle, working from ``began_s`` on, idle again."""

    idle_before: Span
    began_s: float
    windows: Sequence[Window]
    idle_after: Span


@dataclasses.dataclass(frozen=True)
class Energies:
    """What one sensor, or the sum of some, saw: watts when idle, joules of each window."""

    idle_before_w: float
    idle_after_w: float
    window_j: tuple[float, ...]

    def __add__(self, other: Energies) -> Energies:
        """Of two sensors that are parts of a whole."""
        return Energies(
            self.idle_before_w + other.idle_before_w,
            self.idle_after_w + other.idle_after_w,
            tuple(a + b for a, b in zip(self.window_j, other.window_j, strict=True)),
        )

    @property
    def idle_w(self) -> float:
        """Idle power to subtract: the windows lie in the middle between both."""
        return (self.idle_before_w + self.idle_after_w) / 2


@dataclasses.dataclass(frozen=True)
class Figures:
    """Joules an image, gross and above idle, with 95 % intervals over the windows.

    None where they cannot be told. The net interval has half of the idle drift in it.
    """

    idle_w: float
    gross_j: float
    net_j: float
    gross_interval: Interval | None
    net_interval: Interval | None


@dataclasses.dataclass(frozen=True)
class Reading:
    """What the readings of a meter, or of several that add up, say of a pass.

    ``figures`` is None where a fault spoils all of them; where ``faults`` are of the net alone, the
    net is not to be used.
    """

    facts: Facts
    period_s: float | None
    faults: tuple[Fault, ...]
    figures: Figures | None
    energies: Energies | None


def figures_of(energies: Energies, windows: Sequence[Window]) -> Figures:
    """Joules an image of the energies of some windows."""
    images = sum(window.images for window in windows)
    seconds = sum(window.seconds for window in windows)
    each = [
        joules / window.images for joules, window in zip(energies.window_j, windows, strict=True)
    ]
    idle_j = [energies.idle_w * window.seconds / window.images for window in windows]
    net = [gross - idle for gross, idle in zip(each, idle_j, strict=True)]
    drift_j = abs(energies.idle_after_w - energies.idle_before_w) / 2 * seconds / images
    gross_j = math.fsum(energies.window_j) / images
    net_j = gross_j - energies.idle_w * seconds / images
    return Figures(
        energies.idle_w,
        gross_j,
        net_j,
        _above_zero(mean_interval(each, gross_j)),
        _above_zero(mean_interval(net, net_j), drift_j),
    )


def _above_zero(interval: Interval | None, further: float = 0.0) -> Interval | None:
    """An interval, wider by ``further`` at both ends and cut at 0: no image gives energy back."""
    if interval is None:
        return None
    return max(0.0, interval[0] - further), interval[1] + further


def read_pass(traces: Sequence[Trace], phases: Phases) -> Reading:
    """What one meter, or several that are parts of a whole, say of a pass."""
    readings = [_of_one(trace, phases) for trace in traces]
    facts = readings[0].facts
    if len(traces) > 1:
        facts = dataclasses.replace(
            facts,
            name=facts.sums_as,
            source=" + ".join(reading.facts.source for reading in readings),
        )
    periods = [reading.period_s for reading in readings]
    period_s = None if None in periods else max(p for p in periods if p is not None)
    found = tuple(fault for reading in readings for fault in reading.faults)
    parts = [reading.energies for reading in readings]
    if any(part is None for part in parts):
        return Reading(facts, period_s, found, None, None)
    energies, *rest = (part for part in parts if part is not None)
    for part in rest:
        energies += part
    figures = figures_of(energies, phases.windows)
    found += tuple(_of_figures(facts.source, energies, phases))
    return Reading(facts, period_s, found, figures, energies)


def _of_one(trace: Trace, phases: Phases) -> Reading:
    """The energies that one sensor saw, and what is wrong with its readings."""
    facts = trace.facts
    period_s = update_period_s(trace)
    found = list(_ended(trace, phases))
    if not found:
        found = list(_of_readings(trace, period_s, phases))
    energies = None
    if period_s is not None and not found:
        try:
            energies = _energies(trace, period_s, phases)
        except NotCoveredError:
            found.append(_not_covered(trace, period_s, phases))
        else:
            found += _of_energies(trace, energies, phases, period_s)
    return Reading(facts, period_s, tuple(found), None, energies)


def _energies(trace: Trace, period_s: float, phases: Phases) -> Energies:
    curve = Curve.of(trace, period_s)
    return Energies(
        curve.watts(phases.idle_before),
        curve.watts(phases.idle_after),
        tuple(curve.joules(window.span) for window in phases.windows),
    )


def _not_covered(trace: Trace, period_s: float, phases: Phases) -> Fault:
    """Why there is no update beyond the pass: no readings, or readings that moved no more."""
    changes_s = Curve.of(trace, period_s).times_s
    last_s, changed_s = float(trace.times_s[-1]), float(changes_s[-1])
    if last_s >= phases.idle_after[1] and changes_s[0] <= phases.idle_before[0]:
        return faults.stuck(trace.facts.source, last_s - changed_s)
    gap_s = max(phases.idle_after[1] - last_s, trace.times_s[0] - phases.idle_before[0], period_s)
    return faults.silent(trace.facts.source, float(gap_s), period_s)


def _ended(trace: Trace, phases: Phases) -> Iterator[Fault]:
    """What ended the readings early."""
    if trace.failure is not None:
        kind, words = trace.failure
        yield (faults.garbage if kind == "garbage" else faults.died)(trace.facts.source, words)
    elif len(trace.times_s) == 0:
        seconds = phases.idle_after[1] - phases.idle_before[0]
        yield faults.silent(trace.facts.source, seconds, trace.facts.told_period_s or seconds)


def _of_readings(trace: Trace, period_s: float | None, phases: Phases) -> Iterator[Fault]:
    """What is wrong with readings before any energy is made of them."""
    source = trace.facts.source
    begin, end = phases.idle_before[0], phases.idle_after[1]
    if (np.diff(trace.values) == 0).all():
        if not np.any(trace.values) and trace.facts.unit == "w":
            yield faults.zero(source, "watts")
        else:
            yield faults.stuck(source, float(trace.times_s[-1] - trace.times_s[0]))
        return
    if period_s is None:
        yield faults.stuck(source, end - begin)
        return
    shortest_s = min(
        *(window.seconds for window in phases.windows),
        phases.idle_before[1] - begin,
        end - phases.idle_after[0],
    )
    # as the parent asks for as much as it found to be needed, rounding aside
    if shortest_s < 0.99 * least_window_s(period_s):
        yield faults.too_short(source, shortest_s, period_s, LEAST_PERIODS)
    if trace.facts.unit == "w" and np.any(trace.values < 0):
        words = f"{float(trace.values.min()):.3g} W: is the meter connected the wrong way round?"
        yield faults.garbage(source, words)
    loaded = (trace.times_s > phases.windows[0].span[0]) & (
        trace.times_s < phases.windows[-1].span[1]
    )
    if trace.facts.unit == "w" and np.any(trace.values[loaded] == 0):
        yield faults.zero(source, "watts under load")
    inside = (trace.times_s >= begin) & (trace.times_s <= end)
    gaps_s = np.diff(np.concatenate([[begin], trace.times_s[inside], [end]]))
    if gaps_s.max() > max(_SILENCE_PERIODS * period_s, _LEAST_SILENCE_S):
        yield faults.silent(source, float(gaps_s.max()), period_s)


def _of_energies(
    trace: Trace, energies: Energies, phases: Phases, period_s: float
) -> Iterator[Fault]:
    """What is wrong with the energies of one sensor."""
    source, wrap_j = trace.facts.source, trace.facts.wraps_at_j
    seconds = sum(window.seconds for window in phases.windows)
    if trace.facts.unit == "j":
        steps = np.diff(unwrapped(trace))
        if np.any(steps < 0):
            yield faults.backwards(source, float(-steps.min()))
            return
        if any(joules == 0 for joules in energies.window_j):
            yield faults.stuck(source, phases.windows[0].seconds)
            return
        if wrap_j is not None:
            watts = math.fsum(energies.window_j) / seconds
            gap_s = float(np.diff(trace.times_s).max())
            if watts * gap_s > wrap_j / 2:
                yield faults.wrapped_twice(source, gap_s, wrap_j, watts)
    behind_s = behind(trace, energies, phases, period_s)
    if behind_s is not None and behind_s > guard_s(period_s):
        yield faults.late(source, behind_s, guard_s(period_s))


def behind(trace: Trace, energies: Energies, phases: Phases, period_s: float) -> float | None:
    """Seconds by which a sensor's power rose after the work began; None where it does not show.

    The power must pass half of the way from idle to load, and the readings must scatter less than
    that is high.
    """
    load_w = energies.window_j[0] / phases.windows[0].seconds
    rise_w = load_w - energies.idle_before_w
    curve = Curve.of(trace, period_s)
    until_s = phases.windows[0].span[1]
    count = int((until_s - phases.idle_before[0]) / period_s)
    edges_s = np.linspace(phases.idle_before[0], until_s, count + 1)
    watts = [curve.watts((a, b)) for a, b in itertools.pairwise(edges_s)]
    middles_s = (edges_s[:-1] + edges_s[1:]) / 2
    idle = [w for w, at in zip(watts, middles_s, strict=True) if at < phases.idle_before[1]]
    if len(idle) < LEAST_PERIODS / 2 or rise_w <= _STEADY_SIGMAS * statistics.stdev(idle):
        return None
    half_w = energies.idle_before_w + _HALF_WAY * rise_w
    passed = (
        at
        for w, at in zip(watts, middles_s, strict=True)
        if w >= half_w and at > phases.idle_before[1]
    )
    first_s = next(passed, None)
    return None if first_s is None else float(first_s) - phases.began_s


def _of_figures(source: str, energies: Energies, phases: Phases) -> Iterator[Fault]:
    """What spoils the net: inferences that do not show, and idle power that moved too far."""
    seconds = sum(window.seconds for window in phases.windows)
    load_w = math.fsum(energies.window_j) / seconds
    signal_w = load_w - energies.idle_w
    if signal_w <= 0:
        yield faults.no_signal(source, energies.idle_w, load_w)
    elif abs(energies.idle_after_w - energies.idle_before_w) > MAX_DRIFT_SHARE * signal_w:
        yield faults.idle_drift(source, energies.idle_before_w, energies.idle_after_w, signal_w)


def gap(one: float, other: float) -> float:
    """How far two figures differ, relative to their mean."""
    return abs(one - other) / (abs(one + other) / 2) if one + other else math.inf


def disagreements(reading: Reading, other: Reading) -> Iterator[Fault]:
    """Where two paths to the same sensor differ beyond the limit."""
    one, two = reading.figures, other.figures
    if one is None or two is None:
        return
    sources = reading.facts.source, other.facts.source
    if (apart := gap(one.gross_j, two.gross_j)) > MAX_DISAGREEMENT:
        yield faults.disagreement(*sources, apart, MAX_DISAGREEMENT, net=False)
    elif (apart := gap(one.net_j, two.net_j)) > MAX_DISAGREEMENT:
        yield faults.disagreement(*sources, apart, MAX_DISAGREEMENT, net=True)


def record(reading: Reading) -> dict[str, Any]:
    """A reading as the record of a launch has it, JSON throughout."""
    figures = reading.figures
    return {
        **{
            name: getattr(reading.facts, name)
            for name in ("name", "source", "kind", "scope", "sensor")
        },
        "period_ms": None if reading.period_s is None else reading.period_s * 1e3,
        "figures": None if figures is None else dataclasses.asdict(figures),
        "energies": None if reading.energies is None else dataclasses.asdict(reading.energies),
        "faults": [dataclasses.asdict(fault) for fault in reading.faults],
    }

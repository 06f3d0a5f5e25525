"""A sensor of a known power: what a recorder would read of it, and what it must be found to be."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from deploymark.bench.meters.analysis import Phases, Window
from deploymark.bench.meters.base import Facts
from deploymark.bench.meters.trace import Trace
from deploymark.bench.meters.windows import guard_s, least_window_s

Floats = npt.NDArray[np.float64]
Power = Callable[[Floats], Floats]

POWER = Facts("power", "a power meter", "integrated power", "wall", "w")
COUNTER = Facts("counter", "a counter", "counter", "package", "j")
LINES = dataclasses.replace(POWER, every_line=True)
COUNTER_LINES = dataclasses.replace(COUNTER, every_line=True)

IMAGES_PER_S = 100

RECORDER_S = 0.01
"""Below this a recorder does not read 20 times a period."""


def phases_of(period_s: float, windows: int = 3, window_s: float = 10.0) -> Phases:
    """A pass as the worker makes one, with a sensor of that period; it begins at 100 s."""
    rest_s = max(5.0, least_window_s(period_s))
    length_s = max(window_s, least_window_s(period_s))
    guard = guard_s(period_s)
    idle_s = 100.0 + 2 * guard
    began_s = idle_s + rest_s + guard
    first_s = began_s + guard
    last_s = first_s + windows * length_s
    rested_s = last_s + 2 * guard
    return Phases(
        idle_before=(idle_s, idle_s + rest_s),
        began_s=began_s,
        windows=[
            Window(
                (first_s + k * length_s, first_s + (k + 1) * length_s), int(IMAGES_PER_S * length_s)
            )
            for k in range(windows)
        ],
        idle_after=(rested_s, rested_s + rest_s),
    )


def loaded(phases: Phases, idle: Power, load: Power) -> Power:
    """``load`` from the beginning of the work to a guard beyond its windows, else ``idle``."""
    stopped_s = phases.windows[-1].span[1] + (phases.idle_after[0] - phases.windows[-1].span[1]) / 2

    def power(times_s: Floats) -> Floats:
        working = (times_s >= phases.began_s) & (times_s < stopped_s)
        return np.where(working, load(times_s), idle(times_s))

    return power


@dataclasses.dataclass(frozen=True)
class Sensor:
    """A sensor that is updated every ``period_s``, give or take ``jitter`` of it.

    ``quantum`` is the step of its readings, ``noise_w`` the deviation of each reading.
    """

    facts: Facts
    period_s: float
    jitter: float = 0.0
    quantum: float = 0.0
    noise_w: float = 0.0
    seed: int = 0

    def trace(self, power: Power, phases: Phases) -> Trace:
        """What a recorder reads of it, which looks at it 20 times a period where it can."""
        random = np.random.default_rng(self.seed)
        begin_s, end_s = 100.0, phases.idle_after[1] + 2 * guard_s(self.period_s)
        count = int((end_s - begin_s) / self.period_s) + 2
        updates_s = begin_s + self.period_s * np.arange(count)
        updates_s = updates_s + self.period_s * random.uniform(-self.jitter, self.jitter, count)
        updates_s = np.sort(updates_s)
        fine_s = np.linspace(updates_s[0], updates_s[-1], 400_000)
        if self.facts.unit == "j":
            steps = np.diff(fine_s, prepend=fine_s[0]) * power(fine_s)
            values = 1000.0 + np.interp(updates_s, fine_s, np.cumsum(steps))
        else:
            values = power(updates_s) + self.noise_w * random.standard_normal(count)
        if self.quantum:
            values = np.floor(values / self.quantum) * self.quantum
        if self.facts.every_line:
            return Trace(self.facts, updates_s, values)
        step_s = self.period_s / (20 if self.period_s > RECORDER_S else 5)
        reads_s = np.arange(updates_s[0] + step_s, updates_s[-1], step_s)
        reads_s = reads_s + step_s * random.uniform(-0.3, 0.3, len(reads_s))
        seen = np.searchsorted(updates_s, reads_s, side="right") - 1
        return Trace(self.facts, reads_s, values[seen])


def true_figures(power: Power, phases: Phases, idle_w: float) -> tuple[float, float]:
    """Joules an image of a power: gross, and above ``idle_w``."""
    joules = images = seconds = 0.0
    for window in phases.windows:
        times_s = np.linspace(*window.span, 200_000)
        joules += float(np.trapezoid(power(times_s), times_s))
        images, seconds = images + window.images, seconds + window.seconds
    return joules / images, (joules - idle_w * seconds) / images

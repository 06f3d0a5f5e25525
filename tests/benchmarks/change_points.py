"""False alarms and power of the change points, on synthetic histories with known steps.

A history is a series of runs, the noise 1 % unless said otherwise; settings are the defaults of
``deploymark history``. Every series of a history is judged on its own::

    python tests/benchmarks/change_points.py --series 4000

Stationary: the share of series with any change point. Steps: the share of series in which a 5 %
step is reported, within one run of its place, when 1, 2, … 6 runs were made after it; and the share
with any other change point. Growing: a history looked at after every run from the 8th on; the share
with a change point at any look. Exit code 1 where a target is missed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from deploymark.bench.history.history import Choice
from deploymark.bench.statistics.change_points import ChangePoint, change_points

Histories = NDArray[np.float64]

NOISE = 0.01
STEP = 0.05
MOST_FALSE = 0.01
LEAST_FOUND = 0.95
WITHIN_RUNS = 3
FIRST_LOOK = 8


Detect = Callable[[Histories], list[list[ChangePoint]]]


def detector(significance: float) -> Detect:
    """Finds the change points of each row as ``deploymark history`` does."""
    settings = Choice(significance=significance).settings
    return lambda histories: change_points([values.tolist() for values in histories], settings)


def share(points: Sequence[Sequence[ChangePoint]], test: Callable[[ChangePoint], bool]) -> float:
    return float(np.mean([any(test(point) for point in some) for some in points]))


def noise(generator: np.random.Generator, series: int, runs: int) -> Histories:
    return generator.normal(0, NOISE, (series, runs))


def autocorrelated(
    generator: np.random.Generator, series: int, runs: int, correlation: float
) -> Histories:
    """An AR(1) process of the same standard deviation: a machine in moods."""
    values = noise(generator, series, runs)
    for run in range(1, runs):
        fresh = np.sqrt(1 - correlation**2) * values[:, run]
        values[:, run] = correlation * values[:, run - 1] + fresh
    return values


def with_outliers(generator: np.random.Generator, series: int, runs: int) -> Histories:
    """One run in twenty is 20 % slower: something else ran on the machine."""
    disturbed = generator.random((series, runs)) < 0.05
    return noise(generator, series, runs) + np.log(1.2) * disturbed


def stationary(detect: Detect, generator: np.random.Generator, series: int) -> bool:
    good = True
    for name, runs, make in (
        ("normal noise", 10, noise),
        ("normal noise", 30, noise),
        ("normal noise", 100, noise),
        ("noise of 5 %", 30, lambda *size: 5 * noise(*size)),
        ("heavy tails (t, 3 degrees)", 30, lambda g, *size: NOISE * g.standard_t(3, size)),
        ("outliers of 20 % in 5 % of runs", 30, with_outliers),
    ):
        rate = share(detect(make(generator, series, runs)), lambda _: True)
        good &= rate <= MOST_FALSE
        print(f"stationary, {name}, {runs} runs: {100 * rate:.2f} % of series with a change")
    for correlation in (0.2, 0.5):
        values = autocorrelated(generator, series // 4, 30, correlation)
        rate = share(detect(values), lambda _: True)
        print(f"stationary, autocorrelation {correlation}, 30 runs: {100 * rate:.2f} % (no target)")
    return good


def steps(detect: Detect, generator: np.random.Generator, series: int) -> bool:
    good = True
    for before in (10, 12, 15, 20, 27, 50, 97):
        rates = []
        for after in range(1, 7):
            values = noise(generator, series, before + after)
            values[:, before:] += np.log1p(STEP)
            points = detect(values)
            hit = share(points, lambda point, at=before: abs(point.index - at) <= 1)
            rates.append(f"{100 * hit:.1f}")
            if after == WITHIN_RUNS:
                wrong = share(points, lambda point, at=before: abs(point.index - at) > 1)
                asked = before >= 20
                good &= not asked or (hit >= LEAST_FOUND and wrong <= MOST_FALSE)
                extra = f"; elsewhere: {100 * wrong:.2f} %{'' if asked else ' (no target)'}"
        print(f"step of 5 % after {before} runs, found % by runs after: {' '.join(rates)}{extra}")
    for size in (0.02, 0.03):
        rates = []
        for after in (3, 5, 10, 20):
            values = noise(generator, series, 30 + after)
            values[:, 30:] += np.log1p(size)
            points = detect(values)
            hit = share(points, lambda point: abs(point.index - 30) <= 1)
            any_near = share(points, lambda point: abs(point.index - 30) <= 3)
            rates.append(f"{after}: {100 * hit:.1f} (within 3: {100 * any_near:.1f})")
        print(
            f"step of {100 * size:.0f} % after 30 runs, found % by runs after: {', '.join(rates)}"
        )
    return good


def first_reports(detect: Detect, generator: np.random.Generator, series: int) -> bool:
    """A step in a growing history: after how many runs is it reported for the first time?"""
    before = 30
    values = noise(generator, series, before + WITHIN_RUNS)
    values[:, before:] += np.log1p(STEP)
    looks = [detect(values[:, : before + after]) for after in range(1, WITHIN_RUNS + 1)]
    seen = np.array(
        [[any(abs(p.index - before) <= 1 for p in points) for points in look] for look in looks]
    )
    rate = float(seen.any(axis=0).mean())
    print(f"step of 5 % after 30 runs, reported at any of the first 3 looks: {100 * rate:.2f} %")
    return rate >= LEAST_FOUND


def passing(detect: Detect, generator: np.random.Generator, series: int) -> None:
    for before, slow, after in ((20, 3, 20), (20, 5, 20), (20, 10, 20), (20, 5, 8), (40, 20, 40)):
        values = noise(generator, series // 4, before + slow + after)
        values[:, before : before + slow] += np.log1p(STEP)
        points = detect(values)
        ends = [before, before + slow]
        both = np.mean([all(any(abs(p.index - e) <= 1 for p in s) for e in ends) for s in points])
        runs = before + slow + after
        print(f"5 % slower for {slow} of {runs} runs: both ends {100 * both:.1f} % of series")


def growing(detect: Detect, generator: np.random.Generator, series: int, runs: int = 30) -> None:
    values = noise(generator, series // 4, runs)
    alarmed = np.zeros(len(values), dtype=bool)
    rates = []
    for look in range(FIRST_LOOK, runs + 1):
        now = np.array([bool(points) for points in detect(values[:, :look])])
        rates.append(now.mean())
        alarmed |= now
    print(
        f"growing from {FIRST_LOOK} to {runs} runs: {100 * alarmed.mean():.2f} % of series alarmed "
        f"at any of {len(rates)} looks, {100 * np.mean(rates):.2f} % at a look (no target)"
    )


def drift(detect: Detect, generator: np.random.Generator, series: int) -> None:
    for total in (0.01, 0.02, 0.05):
        values = noise(generator, series // 4, 60) + np.linspace(0, np.log1p(total), 60)
        points = detect(values)
        count = np.mean([len(some) for some in points])
        rate = share(points, lambda _: True)
        print(
            f"slow drift of {100 * total:.0f} % over 60 runs: {100 * rate:.1f} % of series with a "
            f"change, {count:.2f} changes a series"
        )


def speed(detect: Detect, generator: np.random.Generator) -> None:
    still = noise(generator, 500, 100)
    changed = still.copy()
    for row in range(len(changed)):
        changed[row, generator.integers(10, 90) :] += np.log1p(STEP)
    for name, values in (("no change", still), ("a change in each", changed)):
        began = time.process_time()
        detect(values)
        print(f"500 series of 100 runs, {name}: {time.process_time() - began:.1f} s of CPU")


def main() -> None:
    """Print all rates; exit code 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=4000, help="series for each rate")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--significance", type=float, default=Choice().significance)
    options = parser.parse_args()
    detect = detector(options.significance)
    generator = np.random.default_rng(options.seed)
    good = stationary(detect, generator, options.series)
    good &= steps(detect, generator, options.series // 4)
    good &= first_reports(detect, generator, options.series)
    passing(detect, generator, options.series)
    growing(detect, generator, options.series)
    drift(detect, generator, options.series)
    speed(detect, generator)
    if not good:
        raise SystemExit("a target was missed")


if __name__ == "__main__":
    main()

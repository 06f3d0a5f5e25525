"""The gate's rule: from pairs to a verdict, looking several times and erring no more often.

The replicate is the pair. After some of the pairs the gate looks at a repeated confidence interval
(Jennison and Turnbull, "Interim analyses: the repeated confidence interval approach", JRSS B 51,
1989): the intervals of all looks cover the truth together with the confidence asked for, so a
verdict may be taken at any of them. How much of the error each look may spend follows Lan and
DeMets ("Discrete sequential boundaries for clinical trials", Biometrika 70, 1983) with their
spending function of Pocock's type; the boundaries come from the recursion of Armitage, McPherson
and Rowe ("Repeated significance tests on accumulating data", JRSS A 132, 1969). As the variance is
not known, each look takes Student's quantile at the level that the boundary has under the normal
law (Jennison and Turnbull, "Group Sequential Methods with Applications to Clinical Trials", 2000,
section 4.4). The error of one gate is shared by its cells (Dunn, "Multiple comparisons among
means", JASA 56, 1961: Bonferroni).
"""

from __future__ import annotations

import dataclasses
import functools
import math
import statistics
from collections.abc import Sequence

import numpy as np

from deploymark.bench.records.verdicts import Verdict
from deploymark.bench.statistics.spending import spent

FIRST_LOOK = 6
"""Pairs before the first look: with fewer Student's quantile is so large that none decides."""

LOOK_GROWTH = 1.3
"""Pairs at a look, over those at the look before: some seven looks up to thirty pairs."""

TRIMMED = 0.1
"""Share of the pairs at either end that the mean leaves out: none of fewer than ten, one of ten.

A pair now and then meets something that moves its median, and one such pair would widen the
interval of a mean for good. A tenth costs next to nothing where none does. Tukey and McLaughlin,
"Less vulnerable confidence and significance procedures for location based on a single sample",
Sankhya A 25, 1963; Yuen, "The two-sample trimmed t for unequal population variances", Biometrika
61, 1974.
"""

QUIET_ROUNDS = 3
"""Rounds of a copy in which both bursts must have been quiet for those alone to count."""

MOST_PAIRS_TOLD = 10_000
"""Beyond this a number of pairs that would decide is no advice."""

_GRID_POINTS = 2001
_GRID_REACH = 8.0


def pair_log_ratio(
    baseline_ns: Sequence[Sequence[int]],
    candidate_ns: Sequence[Sequence[int]],
    quiet: Sequence[bool] | None = None,
    copies: int = 1,
) -> float:
    """Logarithm of a pair's ratio of latencies, candidate over baseline.

    ``quiet`` says of each round whether the counters found both its bursts undisturbed; None for
    all of them. ``copies`` of each side's model took the rounds in turn; the mean of their
    log-ratios. That of a copy is the median of its bursts' log-ratios over its quiet rounds, or
    over all of them where fewer than ``QUIET_ROUNDS`` were.
    """
    marks = [True] * len(baseline_ns) if quiet is None else quiet
    return statistics.fmean(
        _copy_log_ratio(baseline_ns[copy::copies], candidate_ns[copy::copies], marks[copy::copies])
        for copy in range(copies)
    )


def _copy_log_ratio(
    baseline_ns: Sequence[Sequence[int]],
    candidate_ns: Sequence[Sequence[int]],
    quiet: Sequence[bool],
) -> float:
    rounds = [
        math.log(_burst_ns(second) / _burst_ns(first))
        for first, second in zip(baseline_ns, candidate_ns, strict=True)
    ]
    kept = [ratio for ratio, mark in zip(rounds, quiet, strict=True) if mark]
    return statistics.median(kept if len(kept) >= QUIET_ROUNDS else rounds)


def _burst_ns(times_ns: Sequence[int]) -> float:
    """Median of a burst without its first inference, which finds the other side in the caches."""
    return statistics.median(times_ns[1:] or times_ns)


@functools.cache
def looks(max_pairs: int) -> tuple[int, ...]:
    """The numbers of pairs after which the gate looks, the last one ``max_pairs``."""
    found, at = [], float(FIRST_LOOK)
    while round(at) * (1 + LOOK_GROWTH) / 2 < max_pairs:  # none right before the last
        found.append(round(at))
        at = max(at * LOOK_GROWTH, at + 1)
    return (*found, max_pairs)


@functools.cache
def levels(at: tuple[int, ...], cumulative: tuple[float, ...]) -> tuple[float, ...]:
    """Nominal two-sided error of each look.

    ``at`` has the numbers of pairs, ``cumulative`` the error that may be spent up to each look.
    """
    from scipy import stats  # slow to import, and not every command decides

    grid = np.linspace(-_GRID_REACH, _GRID_REACH, _GRID_POINTS)
    step = float(grid[1] - grid[0])
    found: list[float] = []
    # Density of the standardised mean where no look before it has crossed its boundary.
    density = np.asarray(stats.norm.pdf(grid))
    for index, pairs in enumerate(at):
        budget = cumulative[index]
        if index:
            budget -= cumulative[index - 1]
            share = at[index - 1] / pairs
            spread = math.sqrt(1 - share)
            moved = (grid[:, None] - math.sqrt(share) * grid[None, :]) / spread
            density = np.asarray(stats.norm.pdf(moved)) / spread @ density * step
        boundary = _boundary(grid, density, budget, step)
        found.append(float(2 * stats.norm.sf(boundary)))
        density = np.where(np.abs(grid) > boundary, 0.0, density)
    return tuple(found)


def _boundary(
    grid: np.ndarray[tuple[int], np.dtype[np.float64]],
    density: np.ndarray[tuple[int], np.dtype[np.float64]],
    budget: float,
    step: float,
) -> float:
    """Where the two tails of a symmetric density hold ``budget`` together."""
    upper = grid >= 0
    beyond = np.cumsum(density[upper][::-1])[::-1] * step - density[upper] * step / 2
    # beyond falls from a half to nothing; log-linear between two points of the grid
    inside = beyond > 0
    return float(
        np.interp(
            -math.log(max(budget / 2, 1e-300)),
            -np.log(beyond[inside]),
            grid[upper][inside],
        )
    )


@dataclasses.dataclass(frozen=True)
class Interval:
    """Trimmed mean of the pairs' log-ratios at one look, and its interval: ``low`` to ``high``."""

    mean: float
    low: float
    high: float
    pairs: int


def interval(log_ratios: Sequence[float], error: float) -> Interval:
    """Interval of the log-ratio over pairs; ``error`` is its two-sided error.

    Of the mean without the tenth of the pairs at either end (``TRIMMED``), with the error that
    Tukey and McLaughlin give it. Two pairs at least.
    """
    from scipy import stats

    centre = _centre(log_ratios)
    reach = float(stats.t.isf(error / 2, centre.degrees_of_freedom)) * centre.standard_error
    return Interval(centre.mean, centre.mean - reach, centre.mean + reach, len(log_ratios))


@dataclasses.dataclass(frozen=True)
class _Centre:
    mean: float
    standard_error: float
    degrees_of_freedom: int


def _centre(values: Sequence[float]) -> _Centre:
    """The trimmed mean, and its standard error by the winsorized deviation."""
    ordered, count = sorted(values), len(values)
    cut = _cut(count)
    kept = ordered[cut : count - cut]
    winsorized = [kept[0]] * cut + kept + [kept[-1]] * cut
    squares = (count - 1) * statistics.variance(winsorized)
    error = math.sqrt(squares / (len(kept) * (len(kept) - 1)))
    return _Centre(statistics.fmean(kept), error, len(kept) - 1)


def _cut(count: int) -> int:
    """Pairs left out of the mean at either end."""
    return int(TRIMMED * count)


def verdict(found: Interval, min_effect: float) -> Verdict:
    """What an interval says of a change that matters from ``min_effect`` (relative) on."""
    slower, faster = math.log1p(min_effect), -math.log1p(min_effect)
    if found.low > slower:
        return "regressed"
    if found.high < faster:
        return "improved"
    if found.low >= faster and found.high <= slower:
        return "unchanged"
    return "inconclusive"


def pairs_needed(log_ratios: Sequence[float], error: float, min_effect: float) -> int | None:
    """Pairs after which the interval would likely be clear of, or inside, the threshold.

    Taking the mean and the spread of the pairs so far for the true ones. None where that is beyond
    ten thousand: the change is at the threshold.
    """
    from scipy import stats

    centre = _centre(log_ratios)
    deviation = centre.standard_error * math.sqrt(len(log_ratios))
    gap = abs(math.log1p(min_effect) - abs(centre.mean))
    if gap <= 0:
        return None
    count = max(len(log_ratios) + 1, FIRST_LOOK)
    while count <= MOST_PAIRS_TOLD:
        freedom = count - 2 * _cut(count) - 1
        reach = float(stats.t.isf(error / 2, freedom)) * deviation / math.sqrt(count)
        if reach <= gap:
            return count
        count = math.ceil(count * 1.05)
    return None


@dataclasses.dataclass(frozen=True)
class Decision:
    """The verdict of a look, its interval, and the pairs that would decide an open one."""

    verdict: Verdict
    interval: Interval
    pairs_needed: int | None = None


def decide(
    log_ratios: Sequence[float],
    *,
    max_pairs: int,
    error: float,
    min_effect: float,
    last: bool = False,
) -> Decision | None:
    """The verdict at this number of pairs; None where the gate does not look at it.

    ``error`` is the error of this cell over all its looks. ``last`` says that sampling ends here
    for a reason that does not depend on the figures (its time is over): what is left of the error
    is spent, whatever the number of pairs. An inconclusive verdict before that only means: go on.
    """
    count = len(log_ratios)
    planned = looks(max_pairs)
    if count < 2 or (count not in planned and not last):  # noqa: PLR2004 - a spread needs two
        return None
    before = tuple(number for number in planned if number < count)
    cumulative = [spent(number / max_pairs, error) for number in (*before, count)]
    if last:
        cumulative[-1] = error
    level = levels((*before, count), tuple(cumulative))[-1]
    found = interval(log_ratios, level)
    said = verdict(found, min_effect)
    needed = pairs_needed(log_ratios, level, min_effect) if said == "inconclusive" else None
    return Decision(said, found, needed)

"""The ratio of a figure of two cells over launches of the same rounds, so that drift cancels.

Launches are made in rounds, one a cell: what the machine did in a round it did to both (Montgomery,
Design and Analysis of Experiments, chapter 4). The logarithms of the ratios, one a round, have a
moderated t interval: a few launches tell little of their own spread, and where many cells are held
against one, what the others scatter by helps (Smyth, "Linear models and empirical Bayes methods for
assessing differential expression in microarray experiments", Statistical Applications in Genetics
and Molecular Biology 3, 2004).
"""

from __future__ import annotations

import dataclasses
import functools
import math
import statistics
from collections.abc import Mapping, Sequence

from deploymark.bench.statistics.intervals import Interval

_FEWEST = 2
"""Rounds that a spread needs."""

_FEWEST_SPREADS = 3
"""Spreads that a prior needs: fewer do not tell how much spreads differ."""

_MOST_TOLD = 1000
"""Launches beyond which a question is told to be open: no one makes them."""

_NEWTON_STEPS = 50


@dataclasses.dataclass(frozen=True)
class Prior:
    """What spreads are like: a variance, worth so many degrees of freedom of one's own."""

    variance: float = 0.0
    freedom: float = 0.0


NO_PRIOR = Prior()


def assumed_prior(spread: float, freedom: float) -> Prior:
    """What the ratio of two launches scatters by whose own logarithms have that deviation."""
    return Prior(2 * spread**2, freedom)


def log_ratios(first: Mapping[int, float], other: Mapping[int, float]) -> list[float]:
    """Logarithms of ``other`` over ``first``, one a round that both have; both by round.

    Empty where any figure is not above zero.
    """
    rounds = sorted(first.keys() & other.keys())
    pairs = [(first[number], other[number]) for number in rounds]
    if any(min(pair) <= 0 for pair in pairs):
        return []
    return [math.log(after / before) for before, after in pairs]


def fit_prior(samples: Sequence[Sequence[float]]) -> Prior:
    """What the spreads of many comparisons tell of any one; by moments, as Smyth (section 6.2).

    Spreads of no width are left out: they are of figures that do not scatter. The degrees of
    freedom are at most those of all samples together.
    """
    from scipy import special

    spread = [(statistics.variance(one), len(one) - 1) for one in samples if len(one) >= _FEWEST]
    known = [(variance, freedom) for variance, freedom in spread if variance > 0]
    if len(known) < _FEWEST_SPREADS:
        return NO_PRIOR
    terms = [
        math.log(variance) - special.digamma(freedom / 2) + math.log(freedom / 2)
        for variance, freedom in known
    ]
    noise = statistics.fmean(special.polygamma(1, freedom / 2) for _, freedom in known)
    centre, excess = statistics.fmean(terms), statistics.variance(terms) - noise
    most = float(sum(freedom for _, freedom in known))
    if excess <= 0:  # the spreads are alike
        return Prior(sum(variance * freedom for variance, freedom in known) / most, most)
    freedom = min(2 * _inverse_trigamma(float(excess)), most)
    level = centre + special.digamma(freedom / 2) - math.log(freedom / 2)
    return Prior(math.exp(level), freedom)


def _inverse_trigamma(value: float) -> float:
    """Where the trigamma function has a value above zero; Newton's method, as Smyth's appendix."""
    from scipy import special

    place = 0.5 + 1 / value
    for _ in range(_NEWTON_STEPS):
        trigamma = float(special.polygamma(1, place))
        step = trigamma * (1 - trigamma / value) / float(special.polygamma(2, place))
        place += step
        if abs(step) < 1e-8 * place:
            break
    return place


def paired_interval(
    logs: Sequence[float], error: float, prior: Prior = NO_PRIOR
) -> Interval | None:
    """The ratio's interval of confidence ``1 - error``.

    None where nothing tells the spread: no round, or a single one without a prior.
    """
    variance, freedom = _moderated(logs, prior)
    if freedom <= 0:
        return None
    centre = statistics.fmean(logs)
    reach = min(_quantile(freedom, error) * math.sqrt(variance / len(logs)), _FAR)
    return math.exp(centre - reach), math.exp(centre + reach)


_FAR = 50.0
"""A logarithm of a ratio that is as good as infinite, and still has an exponential."""


def _moderated(logs: Sequence[float], prior: Prior) -> tuple[float, float]:
    """Variance and degrees of freedom of one comparison, the prior's among them."""
    if not logs:
        return 0.0, 0.0
    own = len(logs) - 1
    variance = statistics.variance(logs) if own else 0.0
    freedom = own + prior.freedom
    if freedom <= 0:
        return 0.0, 0.0
    return (own * variance + prior.freedom * prior.variance) / freedom, freedom


def rounds_needed(
    logs: Sequence[float], error: float, gap: float, prior: Prior = NO_PRIOR
) -> int | None:
    """Rounds after which the interval would reach no further than ``gap`` (logarithm of a ratio).

    Taking the spread so far for the true one. None where that is beyond a thousand, or where there
    is no spread to go by.
    """
    variance, freedom = _moderated(logs, prior)
    if freedom <= 0 or gap <= 0:
        return None
    for count in range(len(logs) + 1, _MOST_TOLD + 1):
        more = freedom + count - len(logs)
        if _quantile(more, error) * math.sqrt(variance / count) <= gap:
            return count
    return None


@functools.lru_cache(maxsize=4096)
def _quantile(freedom: float, error: float) -> float:
    from scipy import stats  # slow to import, and not every command computes an interval

    return float(stats.t.isf(error / 2, freedom))

"""Intervals over launches, and percentiles that have a tail to stand on.

The replicate is the launch: inferences of one process are alike in ways that two processes are not
(Kalibera and Jones, Rigorous Benchmarking in Reasonable Time, ISMM 2013).
"""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Sequence

import numpy as np

CONFIDENCE = 0.95

TAIL_SAMPLES = 10
"""Samples wanted beyond a percentile before it is given: with fewer, one slow one moves it."""

Interval = tuple[float, float]


@functools.cache
def _t_quantile(degrees_of_freedom: int) -> float:
    """How many standard errors the interval reaches to either side."""
    from scipy import stats  # slow to import, and not every command computes an interval

    return float(stats.t.ppf(0.5 + CONFIDENCE / 2, degrees_of_freedom))


def launch_interval(values: Sequence[float], centre: float | None = None) -> Interval | None:
    """95 % interval of a typical launch's figure, in the figure's unit; None for a single launch.

    Student's t on the logarithms of the launches' figures (times are positive and skewed), widened
    where needed to hold ``centre``, the figure that it belongs to: the median of ``values`` unless
    given. Raises ValueError for a figure that is not above zero.
    """
    if len(values) < 2:  # noqa: PLR2004 - a spread needs two
        return None
    logs = [math.log(value) for value in values]
    mean = statistics.fmean(logs)
    spread = statistics.stdev(logs) / math.sqrt(len(logs))
    reach = _t_quantile(len(logs) - 1) * spread
    middle = statistics.median(values) if centre is None else centre
    return min(math.exp(mean - reach), middle), max(math.exp(mean + reach), middle)


def mean_interval(values: Sequence[float], centre: float) -> Interval | None:
    """95 % interval of the mean of ``values``, whatever their sign; None for a single one.

    Student's t, widened where needed to hold ``centre``, the figure that it belongs to. For windows
    of one launch, whose energies are sums of many inferences.
    """
    if len(values) < 2:  # noqa: PLR2004 - a spread needs two
        return None
    mean = statistics.fmean(values)
    reach = _t_quantile(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return min(mean - reach, centre), max(mean + reach, centre)


def half_width(medians: Sequence[float]) -> float | None:
    """Half the width of ``launch_interval`` over the median of medians: 0.01 is ±1 %."""
    interval = launch_interval(medians)
    if interval is None:
        return None
    return (interval[1] - interval[0]) / (2 * statistics.median(medians))


def samples_needed(quantile: float) -> int:
    """Samples from which ten lie beyond a percentile: 1000 for p99."""
    # rounded: 1 - 0.9 is a little below 0.1 in binary
    return math.ceil(round(TAIL_SAMPLES / (1 - quantile), 6))


def percentile(samples: Sequence[int], quantile: float) -> float | None:
    """A percentile of samples; None where fewer than ten lie beyond it."""
    if len(samples) < samples_needed(quantile):
        return None
    return float(np.quantile(np.asarray(samples, dtype=np.float64), quantile))

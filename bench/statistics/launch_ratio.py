"""The ratio of a figure of two runs, with an interval over their launches."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from deploymark.bench.records.comparison import LATENCY
from deploymark.bench.statistics.intervals import CONFIDENCE, Interval

_FEWEST_FOR_A_SPREAD = 2

Record = Mapping[str, Any]

OF_A_LAUNCH: dict[str, Callable[[Record], float | None]] = {
    LATENCY: lambda record: statistics.median(record["latency_ns"]) / 1e6,
    "latency_mean_ms": lambda record: statistics.fmean(record["latency_ns"]) / 1e6,
    "e2e_p50_ms": lambda record: (
        statistics.median(record["e2e_ns"]) / 1e6 if record["e2e_ns"] else None
    ),
    "cold_ms": lambda record: record["cold_ms"],
    "load_ms": lambda record: record["load_ms"],
}
"""Figures that each launch has one of: the replicates of their intervals."""


def welch_interval(first: Sequence[float], other: Sequence[float]) -> Interval | None:
    """95 % interval of ``other`` over ``first``, by Welch's t on the logarithms of launches.

    None where either has fewer than two launches, or one that is not above zero. Source: Welch,
    "The generalization of 'Student's' problem when several different population variances are
    involved", Biometrika 34 (1947), with the degrees of freedom of Satterthwaite (1946).
    """
    if min(len(first), len(other)) < _FEWEST_FOR_A_SPREAD or min(*first, *other) <= 0:
        return None
    logs = [[math.log(value) for value in values] for values in (first, other)]
    centre = statistics.fmean(logs[1]) - statistics.fmean(logs[0])
    errors = [statistics.variance(values) / len(values) for values in logs]
    if sum(errors) == 0:
        return math.exp(centre), math.exp(centre)
    # scaled by the larger, as the squares of tiny variances vanish
    shares = [error / max(errors) for error in errors]
    freedom = sum(shares) ** 2 / sum(
        share**2 / (len(values) - 1) for share, values in zip(shares, logs, strict=True)
    )
    from scipy import stats  # slow to import, and not every command computes an interval

    reach = float(stats.t.ppf(0.5 + CONFIDENCE / 2, freedom)) * math.sqrt(sum(errors))
    return math.exp(centre - reach), math.exp(centre + reach)


def values_of_launches(launches: Sequence[Record], figure: str) -> list[float]:
    """The figure of each launch; empty where it is none that a launch has one of."""
    of_a_launch = OF_A_LAUNCH.get(figure)
    if of_a_launch is None:
        return []
    values = (of_a_launch(record) for record in launches)
    return [float(value) for value in values if value is not None]

from __future__ import annotations

import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploymark.bench.run.schedule import Made, StoppingRule, next_slot
from deploymark.bench.statistics.intervals import (
    half_width,
    launch_interval,
    percentile,
    samples_needed,
)

MEDIANS = st.lists(st.floats(0.1, 1e4), min_size=2, max_size=12)


@given(MEDIANS)
def test_the_interval_holds_its_figure(medians: list[float]) -> None:
    interval = launch_interval(medians)
    assert interval is not None
    low, high = interval
    assert 0 < low <= statistics.median(medians) <= high
    assert half_width(medians) == pytest.approx(
        (high - low) / 2 / statistics.median(medians), abs=1e-12
    )


@given(MEDIANS, st.floats(0.1, 1e4))
def test_the_interval_holds_a_figure_that_is_given(medians: list[float], centre: float) -> None:
    interval = launch_interval(medians, centre)
    assert interval is not None
    assert interval[0] <= centre <= interval[1]


def test_the_interval_covers_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    hits = 0
    for _ in range(600):
        interval = launch_interval(list(np.exp(random.normal(0.0, 0.05, 5))))
        assert interval is not None
        hits += interval[0] <= 1.0 <= interval[1]
    # binomial: 0.95 within four standard errors, and wider intervals are allowed
    assert hits / 600 > 0.95 - 4 * (0.95 * 0.05 / 600) ** 0.5


@pytest.mark.parametrize("spread", [0.005, 0.02])
def test_stopping_at_a_width_costs_little_coverage(spread: float) -> None:
    random = np.random.default_rng(1)
    rule = StoppingRule(least=4, most=20, target=0.01, budget_s=1e9, repeats=0)
    hits = 0
    for _ in range(200):
        launches: list[Made] = []
        while slot := next_slot("a", rule, launches):
            median_ns = float(np.exp(random.normal(0.0, spread)))
            launches.append(
                Made(slot.launch, ok=True, disturbed=False, duration_s=1.0, median_ns=median_ns)
            )
        interval = launch_interval([launch.median_ns or 0.0 for launch in launches])
        assert interval is not None
        hits += interval[0] <= 1.0 <= interval[1]
    # 0.91 in 4000 simulated cells of either spread, less four standard errors of 200
    assert hits / 200 > 0.91 - 4 * (0.91 * 0.09 / 200) ** 0.5


def test_one_launch_has_no_interval() -> None:
    assert launch_interval([3.0]) is None
    assert half_width([3.0]) is None


@pytest.mark.parametrize(
    ("count", "quantile", "given"),
    [(99, 0.9, False), (100, 0.9, True), (199, 0.95, False), (200, 0.95, True), (999, 0.99, False)],
)
def test_a_percentile_needs_its_tail(count: int, quantile: float, given: bool) -> None:
    assert (percentile(list(range(count)), quantile) is not None) is given
    assert (count >= samples_needed(quantile)) is given

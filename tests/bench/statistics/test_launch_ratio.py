from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from deploymark.bench.statistics.launch_ratio import values_of_launches, welch_interval

MEDIANS = st.lists(st.floats(0.1, 1e4), min_size=2, max_size=8)


@given(MEDIANS, MEDIANS)
def test_the_interval_holds_the_ratio_of_geometric_means(
    first: list[float], other: list[float]
) -> None:
    ends = welch_interval(first, other)
    assert ends is not None
    ratio = float(np.exp(np.mean(np.log(other)) - np.mean(np.log(first))))
    assert 0 < ends[0] <= ratio * (1 + 1e-9)
    assert ratio <= ends[1] * (1 + 1e-9)


def test_it_is_that_of_scipy() -> None:
    random = np.random.default_rng(1)
    first = np.exp(random.normal(2.0, 0.02, 4))
    other = np.exp(random.normal(2.1, 0.08, 7))
    ends = welch_interval(list(first), list(other))
    told = stats.ttest_ind(np.log(other), np.log(first), equal_var=False).confidence_interval(0.95)
    assert ends is not None
    assert [math.log(end) for end in ends] == pytest.approx([told.low, told.high])


def test_it_covers_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    hits = 0
    for _ in range(600):
        first = np.exp(random.normal(0.0, 0.02, 4))
        other = np.exp(random.normal(0.3, 0.08, 6))
        ends = welch_interval(list(first), list(other))
        assert ends is not None
        hits += ends[0] <= math.exp(0.3) <= ends[1]
    # binomial: within four standard errors of 0.95 either way
    assert abs(hits / 600 - 0.95) < 4 * (0.95 * 0.05 / 600) ** 0.5


def test_equal_launches_give_a_point() -> None:
    assert welch_interval([2.0, 2.0], [3.0, 3.0]) == pytest.approx((1.5, 1.5))


@pytest.mark.parametrize(("first", "other"), [([1.0], [1.0, 2.0]), ([1.0, 0.0], [1.0, 2.0])])
def test_one_launch_or_a_zero_has_none(first: list[float], other: list[float]) -> None:
    assert welch_interval(first, other) is None


def test_figures_of_a_launch() -> None:
    records = [
        {
            "latency_ns": [1_000_000, 3_000_000, 2_000_000],
            "e2e_ns": [],
            "cold_ms": 9.0,
            "load_ms": None,
        }
    ]
    assert values_of_launches(records, "latency_p50_ms") == [2.0]
    assert values_of_launches(records, "latency_mean_ms") == [2.0]
    assert values_of_launches(records, "e2e_p50_ms") == []
    assert values_of_launches(records, "cold_ms") == [9.0]
    assert values_of_launches(records, "load_ms") == []
    assert values_of_launches(records, "map50_95") == []

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from deploymark.bench.statistics.paired_ratio import (
    NO_PRIOR,
    Prior,
    fit_prior,
    log_ratios,
    paired_interval,
    rounds_needed,
)


def test_only_rounds_that_both_have_are_paired() -> None:
    found = log_ratios({0: 1.0, 1: 2.0, 3: 4.0}, {1: 4.0, 3: 4.0, 4: 9.0})
    assert found == pytest.approx([math.log(2), 0.0])
    assert log_ratios({0: 0.0}, {0: 1.0}) == []


def test_without_a_prior_it_is_students_t() -> None:
    logs = [0.1, 0.12, 0.07, 0.11]
    found = paired_interval(logs, 0.05)
    assert found is not None
    reference = stats.ttest_1samp(logs, 0).confidence_interval(0.95)
    assert [math.log(end) for end in found] == pytest.approx([reference.low, reference.high])


def test_one_round_alone_has_no_interval_and_with_a_prior_it_has() -> None:
    assert paired_interval([0.1], 0.05) is None
    assert paired_interval([], 0.05, Prior(0.01, 10)) is None
    found = paired_interval([0.1], 0.05, Prior(0.01, 10))
    assert found is not None
    assert math.log(found[1]) - 0.1 == pytest.approx(0.1 * stats.t.isf(0.025, 10))


def test_the_drift_of_rounds_cancels() -> None:
    rounds = {number: 10.0 * 1.3**number for number in range(5)}
    slower = {number: 1.1 * value for number, value in rounds.items()}
    assert paired_interval(log_ratios(rounds, slower), 0.05) == pytest.approx((1.1, 1.1))


def test_a_prior_finds_the_spread_that_all_comparisons_have() -> None:
    random = np.random.default_rng(0)
    alike = [list(random.normal(0.0, 0.1, 4)) for _ in range(200)]
    found = fit_prior(alike)
    assert found.variance == pytest.approx(0.01, rel=0.2)
    assert found.freedom > 8


def test_spreads_that_differ_leave_little_prior() -> None:
    random = np.random.default_rng(0)
    unlike = [list(random.normal(0.0, spread, 4)) for spread in (0.001, 0.01, 0.1, 1.0) * 20]
    assert fit_prior(unlike).freedom < 2


def test_a_prior_recovers_what_it_was_drawn_from() -> None:
    """Variances drawn as Smyth's model has them: scaled inverse chi-square."""
    random = np.random.default_rng(0)
    variances = 8 * 0.04 / random.chisquare(8, 3000)
    samples = [list(random.normal(0.0, math.sqrt(variance), 6)) for variance in variances]
    found = fit_prior(samples)
    assert found.variance == pytest.approx(0.04, rel=0.05)
    assert found.freedom == pytest.approx(8, rel=0.2)


def test_few_or_equal_launches_make_no_prior() -> None:
    assert fit_prior([[0.1, 0.2], [0.1, 0.3]]) == NO_PRIOR
    assert fit_prior([[0.1, 0.1]] * 10) == NO_PRIOR
    assert fit_prior([]) == NO_PRIOR


def test_moderated_intervals_cover_as_they_say() -> None:
    random = np.random.default_rng(1)
    inside = trials = 0
    for _ in range(150):
        samples = [list(random.normal(0.2, 0.05, 3)) for _ in range(10)]
        prior = fit_prior(samples)
        for logs in samples:
            found = paired_interval(logs, 0.05, prior)
            assert found is not None
            inside += math.log(found[0]) <= 0.2 <= math.log(found[1])
            trials += 1
    assert 0.93 < inside / trials < 0.97


def test_rounds_needed_are_those_that_reach_the_gap() -> None:
    logs = [0.0, 0.1, -0.1]
    count = rounds_needed(logs, 0.05, 0.03)
    assert count is not None
    reach = stats.t.isf(0.025, count - 1) * 0.1 / math.sqrt(count)
    assert reach <= 0.03
    assert rounds_needed(logs, 0.05, 0.0) is None
    assert rounds_needed(logs, 0.05, 1e-6) is None
    assert rounds_needed([0.0], 0.05, 0.1) is None

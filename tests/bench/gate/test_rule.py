from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploymark.bench.gate.rule import (
    Interval,
    decide,
    interval,
    levels,
    looks,
    pair_log_ratio,
    pairs_needed,
    spent,
    verdict,
)

RATIOS = st.lists(st.floats(-0.2, 0.2), min_size=6, max_size=30).filter(
    lambda values: max(values) - min(values) > 1e-6
)


@given(st.integers(2, 200))
def test_looks_rise_to_the_last_pair(max_pairs: int) -> None:
    found = looks(max_pairs)
    assert found[-1] == max_pairs
    assert list(found) == sorted(set(found))


def test_the_error_is_spent_little_by_little() -> None:
    parts = [spent(share, 0.05) for share in (0.2, 0.5, 0.9, 1.0)]
    assert parts == sorted(parts)
    assert parts[-1] == pytest.approx(0.05)


def test_one_look_has_the_whole_error() -> None:
    assert levels((30,), (0.05,))[0] == pytest.approx(0.05, rel=1e-3)


def test_two_looks_have_the_levels_of_the_book() -> None:
    # Pocock's boundary of two equal looks at 5 % is 2.178, a nominal 0.0294 (Pocock 1977, table 1);
    # what it spends at the first look is then that level itself.
    found = levels((10, 20), (0.0294, 0.05))
    assert found == pytest.approx((0.0294, 0.0294), abs=2e-4)


@pytest.mark.parametrize("max_pairs", [8, 40])
def test_all_looks_together_err_no_more_than_asked(max_pairs: int) -> None:
    at = looks(max_pairs)
    found = levels(at, tuple(spent(count / max_pairs, 0.05) for count in at))
    sums = np.cumsum(np.random.default_rng(0).normal(size=(40_000, max_pairs)), axis=1)
    from scipy import stats

    crossed = np.zeros(len(sums), dtype=bool)
    for count, level in zip(at, found, strict=True):
        z = np.abs(sums[:, count - 1]) / math.sqrt(count)
        crossed |= z > stats.norm.isf(level / 2)
    assert crossed.mean() == pytest.approx(0.05, abs=0.004)


def test_intervals_of_all_looks_cover_the_truth_with_the_spread_unknown() -> None:
    random = np.random.default_rng(1)
    missed = 0
    for _ in range(400):
        values = list(random.normal(0.0, 0.01, 17))
        for count in looks(17):
            found = decide(values[:count], max_pairs=17, error=0.05, min_effect=0.01)
            assert found is not None
            if not found.interval.low <= 0 <= found.interval.high:
                missed += 1
                break
    assert missed / 400 < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 400)


@given(RATIOS, st.floats(0.001, 0.05))
def test_verdicts_are_mirrored_where_the_sides_change_places(
    values: list[float], min_effect: float
) -> None:
    mirror = {"regressed": "improved", "improved": "regressed"}
    one = decide(values, max_pairs=30, error=0.05, min_effect=min_effect, last=True)
    other = decide(
        [-value for value in values], max_pairs=30, error=0.05, min_effect=min_effect, last=True
    )
    assert one is not None
    assert other is not None
    assert other.verdict == mirror.get(one.verdict, one.verdict)


@given(st.floats(-0.1, 0.1), st.floats(0, 0.1), st.floats(0.001, 0.05))
def test_a_verdict_needs_the_whole_interval(low: float, width: float, min_effect: float) -> None:
    said = verdict(Interval(low + width / 2, low, low + width, 8), min_effect)
    edge = math.log1p(min_effect)
    assert (said == "regressed") == (low > edge)
    assert (said == "improved") == (low + width < -edge)
    assert (said == "unchanged") == (low >= -edge and low + width <= edge)


def test_between_two_looks_nothing_is_decided() -> None:
    values = [0.05, 0.051, 0.049, 0.05, 0.052, 0.05, 0.05]
    assert decide(values[:6], max_pairs=30, error=0.05, min_effect=0.01) is not None
    assert decide(values, max_pairs=30, error=0.05, min_effect=0.01) is None
    assert decide(values, max_pairs=30, error=0.05, min_effect=0.01, last=True) is not None
    assert decide(values[:1], max_pairs=30, error=0.05, min_effect=0.01, last=True) is None


@given(RATIOS)
def test_the_last_look_is_no_wider_than_one_on_the_way(values: list[float]) -> None:
    count = looks(30)[0]
    on_the_way = decide(values[:count], max_pairs=30, error=0.05, min_effect=0.01)
    last = decide(values[:count], max_pairs=30, error=0.05, min_effect=0.01, last=True)
    assert on_the_way is not None
    assert last is not None
    assert last.interval.low >= on_the_way.interval.low
    assert last.interval.high <= on_the_way.interval.high


@pytest.mark.parametrize("now", [8, 17])
def test_the_pairs_that_would_decide_do_decide(now: int) -> None:
    def normal(count: int) -> list[float]:
        return [0.02 * NormalDist().inv_cdf((index + 0.5) / count) for index in range(count)]

    assert verdict(interval(normal(now), 0.02), 0.01) == "inconclusive"
    needed = pairs_needed(normal(now), 0.02, 0.01)
    assert needed is not None
    assert verdict(interval(normal(math.ceil(needed * 1.2)), 0.02), 0.01) == "unchanged"


def test_a_change_at_the_threshold_is_decided_by_no_number_of_pairs() -> None:
    edge = math.log1p(0.01)
    assert pairs_needed([edge - 0.01, edge + 0.01] * 4, 0.02, 0.01) is None


@given(st.lists(st.lists(st.integers(1000, 9000), min_size=5, max_size=5), min_size=5, max_size=5))
def test_a_pair_is_mirrored_where_the_sides_change_places(bursts: list[list[int]]) -> None:
    other = [[5000, 5100, 4900, 5000, 5050]] * 5
    assert pair_log_ratio(bursts, other) == pytest.approx(-pair_log_ratio(other, bursts))


def test_a_pair_thrown_far_off_does_not_widen_the_interval() -> None:
    quiet = [0.001 * (-1) ** index for index in range(12)]
    found = interval([*quiet[:-1], 0.5], 0.05)
    assert abs(found.mean) < 0.001
    assert found.high < 0.01
    # one of six is not left out: the interval says that nothing is known
    assert interval([*quiet[:5], 0.5], 0.05).high > 0.1


def test_the_interval_of_the_trimmed_mean_covers_the_truth_where_tails_are_heavy() -> None:
    random = np.random.default_rng(2)
    missed = 0
    for values in random.standard_t(3, size=(1000, 20)):
        found = interval(list(values), 0.05)
        missed += not found.low <= 0 <= found.high
    assert missed / 1000 < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 1000)


def test_rounds_in_which_something_was_disturbed_are_left_out() -> None:
    quiet, slow = [1000, 1010, 990], [9000, 9100, 9200]
    candidate = [quiet, slow, quiet, slow, quiet, slow, slow]
    marks = [burst is quiet for burst in candidate]
    assert pair_log_ratio([quiet] * 7, candidate, marks) == 0
    # the counters choose and never the times: unmarked, what was slow counts
    assert pair_log_ratio([quiet] * 7, candidate) > 1


def test_all_rounds_count_where_few_were_quiet() -> None:
    baseline = [[1000]] * 5
    candidate = [[1030], [1030], [2000], [1030], [1031]]
    marks = [False, False, True, False, True]
    assert pair_log_ratio(baseline, candidate, marks) == pytest.approx(math.log(1.03), abs=1e-3)


def test_a_side_that_is_slower_throughout_is_so_in_the_quiet_rounds() -> None:
    baseline = [[1000], [1001], [4000], [999], [1000], [1002]]
    candidate = [[1030], [1031], [1029], [5000], [1030], [1032]]
    marks = [True, True, False, False, True, True]
    found = pair_log_ratio(baseline, candidate, marks)
    assert found == pytest.approx(math.log(1.03), abs=1e-3)


def test_copies_are_averaged_and_a_first_inference_does_not_count() -> None:
    baseline = [[9000, 1000, 1000]] * 8
    candidate = [[1000, 1020, 1020], [50, 1040, 1040]] * 4
    want = (math.log(1.02) + math.log(1.04)) / 2
    assert pair_log_ratio(baseline, candidate, copies=2) == pytest.approx(want)

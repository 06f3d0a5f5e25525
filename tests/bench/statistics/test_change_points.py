from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploymark.bench.statistics import change_points as module
from deploymark.bench.statistics.change_points import ChangePoint, Settings, change_points

STEP = math.log(1.05)

finite = st.floats(-1e3, 1e3, allow_subnormal=False)


def noise(seed: int, *size: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.01, size)


def found(*series: object, **options: object) -> list[list[ChangePoint]]:
    return change_points(list(series), Settings(**options))  # type: ignore[call-overload, arg-type]


def indexes(points: list[ChangePoint]) -> list[int]:
    return [point.index for point in points]


def distance(left: list[float], right: list[float]) -> float:
    """Equations 5 and 7 of Matteson and James, as they stand there."""
    m, n = len(left), len(right)
    across = sum(abs(x - y) for x in left for y in right) * 2 / (m * n)
    within = [
        sum(abs(x - y) for x, y in itertools.combinations(some, 2)) / math.comb(len(some), 2)
        for some in (left, right)
    ]
    return m * n / (m + n) * (across - sum(within))


@given(st.lists(finite, min_size=6, max_size=12), st.booleans())
def test_the_statistic_is_that_of_the_paper(values: list[float], passing: bool) -> None:
    chosen = Settings()
    splits = (module._passing_splits if passing else module._whole_splits)(len(values), chosen)
    order = np.argsort(values, kind="stable")
    gaps = np.diff(np.asarray(values)[order])
    statistics = module._coefficients(np.argsort(order)[None], splits)[0] @ gaps
    for first, end, statistic in zip(splits.firsts, splits.ends, statistics, strict=True):
        expected = distance(values[:first], values[first:end])
        assert statistic == pytest.approx(expected, rel=1e-4, abs=1e-3)


def test_a_step_is_found_where_it_is() -> None:
    values = noise(1, 40)
    values[25:] += STEP
    ((point,),) = found(values)
    assert point.index == 25
    assert point.p_value <= 0.001
    assert point.before == pytest.approx(float(np.median(values[:25])))
    assert point.after == pytest.approx(float(np.median(values[25:])))


def test_a_step_of_5_percent_is_found_3_runs_after_it() -> None:
    values = noise(2, 100, 30)
    values[:, 27:] += STEP
    hits = [27 in indexes(points) for points in found(*values)]
    assert sum(hits) >= 95
    values = noise(2, 100, 28)
    values[:, 27:] += STEP
    assert not any(27 in indexes(points) for points in found(*values))


def test_what_does_not_change_shows_no_change() -> None:
    alarms = [bool(points) for points in found(*noise(3, 400, 30))]
    assert sum(alarms) <= 8


@given(finite, st.integers(0, 40))
def test_a_constant_never_changes(value: float, runs: int) -> None:
    assert found([value] * runs) == [[]]


@given(st.integers(0, 1000))
@settings(max_examples=6)
def test_one_or_two_disturbed_runs_are_no_change(seed: int) -> None:
    values = np.zeros(30)
    values[[10, 20]] = STEP * 4
    values[[25, 26]] = STEP * 4
    assert found(values, seed=seed) == [[]]


def test_what_passed_is_found_at_both_ends() -> None:
    values = noise(4, 45)
    values[20:25] += STEP
    assert [indexes(points) for points in found(values)] == [[20, 25]]


def test_many_changes_are_found() -> None:
    values = noise(5, 80) + np.repeat([0, STEP, 0, 2 * STEP], 20)
    assert [indexes(points) for points in found(values)] == [[20, 40, 60]]


def test_a_change_below_the_smallest_told_is_left_out() -> None:
    values = noise(6, 60) / 20
    values[30:] += 0.005
    assert [indexes(points) for points in found(values)] == [[30]]
    assert found(values, min_change=math.log(1.01)) == [[]]
    values[50:] += STEP
    assert [indexes(points) for points in found(values, min_change=math.log(1.01))] == [[50]]


def test_a_series_is_judged_alone_and_the_same_each_time() -> None:
    series = [*noise(7, 6, 30), noise(7, 20), noise(7, 30)[::-1]]
    series[2][20:] += STEP
    series[4][10:15] += STEP
    together = found(*series)
    assert any(together)
    assert together == found(*series)
    assert together == [found(values)[0] for values in series]
    assert together == found(*reversed(series))[::-1]


@given(st.floats(0.01, 100), st.floats(-10, 10))
@settings(max_examples=6)
def test_units_do_not_matter(scale: float, shift: float) -> None:
    values = noise(8, 40)
    values[30:] += STEP
    ((plain,),) = found(values)
    ((other,),) = found(values * scale + shift)
    assert (plain.index, plain.p_value) == (other.index, other.p_value)


@given(st.permutations(range(15)), st.permutations(range(10)))
@settings(max_examples=6)
def test_the_order_within_segments_does_not_matter(before: list[int], after: list[int]) -> None:
    low = [0.001 * run for run in before]
    high = [1 + 0.001 * run for run in after]
    ((point,),) = found(low + high, min_change=0.1)
    assert point.index == len(low)
    assert found([*sorted(low), *sorted(high)], min_change=0.1) == [[point]]
    ((mirrored,),) = found(high + low, min_change=0.1)
    assert mirrored == ChangePoint(len(high), point.after, point.before, mirrored.p_value)


def test_a_clean_split_is_as_rare_as_counting_says() -> None:
    # 3 of 13 on their own side, at either end: 2 of 286 orders, and none does better
    values = np.array([*range(10), 100, 101, 102], dtype=float)[None]
    splits = module._whole_splits(13, Settings())
    (split,) = module._best_splits(values, splits, 20_000, 1.0, 0)
    assert split.index == 10
    assert split.p_value == pytest.approx(2 / math.comb(13, 3), rel=0.2)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        found([1.0, bad])


@pytest.mark.parametrize("options", [{"significance": 0.0}, {"min_segment": 1}])
def test_settings_that_make_no_sense_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"significance|segment"):
        Settings(**options)  # type: ignore[arg-type]


def test_short_series_have_no_change() -> None:
    assert found([], [1.0], [1.0, 1.0, 1.0, 9.0, 9.0]) == [[], [], []]

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploymark.bench.gate.figure_checks import (
    budget_checks,
    energy_check,
    map_check,
    memory_check,
    size_check,
)
from deploymark.bench.matrix.gate_settings import Limit
from deploymark.bench.records.verdicts import Verdict
from deploymark.bench.score.map_interval import MapChange

MIB = 1024 * 1024

CHANGES = st.floats(-0.2, 0.2, allow_subnormal=False)


def change_of(low: float, middle: float, high: float, images: int = 100) -> MapChange:
    return MapChange(
        figure="map50_95",
        baseline=0.4,
        candidate=0.4 + middle,
        change=middle,
        low=low,
        high=high,
        confidence=0.95,
        images=images,
        resamples=2000,
    )


@pytest.mark.parametrize(
    ("low", "middle", "high", "verdict"),
    [
        (0.0, 0.0, 0.0, "unchanged"),
        (-0.0039, -0.0005, 0.0025, "unchanged"),  # bf16 of the same weights, 100 COCO photos
        (-0.0270, -0.0170, -0.0020, "regressed"),  # int8 calibrated on one image
        (-0.0516, -0.0263, -0.0115, "regressed"),  # int8 with one scale a tensor
        (-0.0194, -0.0031, 0.0094, "inconclusive"),  # int8 at its best
        (-0.0249, -0.0121, 0.0005, "inconclusive"),  # beyond, but not shown
        (-0.0135, -0.0057, -0.0001, "inconclusive"),  # shown, but is it beyond?
        (-0.0090, -0.0050, -0.0010, "unchanged"),  # shown, and small
        (-0.0050, 0.0080, 0.0210, "unchanged"),  # surely no worse
        (0.0020, 0.0180, 0.0300, "improved"),
    ],
)
def test_a_change_of_map(low: float, middle: float, high: float, verdict: Verdict) -> None:
    check = map_check(change_of(low, middle, high), 0.01)
    assert check.verdict == verdict
    assert (check.figure, check.kind, check.relative) == ("map50_95", "change", False)
    assert (check.change, check.change_low, check.change_high) == (middle, low, high)
    assert (check.threshold, check.confidence) == (0.01, 0.95)
    assert f"{middle:+.4f}" in check.reason
    assert "bootstrap" in check.method


@given(ends=st.tuples(CHANGES, CHANGES, CHANGES), max_drop=st.floats(0.001, 0.1))
def test_no_drop_is_a_regression_that_is_not_both_shown_and_beyond(
    ends: tuple[float, float, float], max_drop: float
) -> None:
    low, middle, high = sorted(ends)
    check = map_check(change_of(low, middle, high), max_drop)
    if check.verdict == "regressed":
        assert high < 0
        assert middle < -max_drop
    if check.verdict == "unchanged":
        assert low >= -max_drop
    mirrored = map_check(change_of(-high, -middle, -low), max_drop)
    assert (check.verdict == "improved") == (mirrored.verdict == "regressed")


def test_an_open_change_of_map_tells_how_many_images_would_decide() -> None:
    # 0.0163 below the estimate, and 0.0069 is left up to the threshold: (163 / 69)² times as many.
    open_change = change_of(-0.0194, -0.0031, 0.0094)
    assert map_check(open_change, 0.01).reason.endswith("a drop beyond 0.01; about 559 would")
    beyond = change_of(-0.0249, -0.0121, 0.0005)
    assert map_check(beyond, 0.01).reason.endswith("; about 109 would")
    at_the_threshold = change_of(-0.02, -0.01, 0.001)
    assert map_check(at_the_threshold, 0.01).reason.endswith("a drop beyond 0.01")


@pytest.mark.parametrize(
    ("baseline", "candidate", "verdict"),
    [
        (1000, 1000, "unchanged"),
        (1000, 1019, "unchanged"),
        (1000, 1021, "regressed"),
        (1021, 1000, "improved"),
        (1019, 1000, "unchanged"),
    ],
)
def test_a_size_is_exact(baseline: int, candidate: int, verdict: Verdict) -> None:
    check = size_check(baseline, candidate, 0.02)
    assert (check.figure, check.verdict) == ("artifact_bytes", verdict)
    assert check.change == check.change_low == check.change_high
    assert check.change == pytest.approx(candidate / baseline - 1)


def memory(*mebibytes: float) -> list[float]:
    return [value * MIB for value in mebibytes]


@pytest.mark.parametrize(
    ("candidate", "verdict"),
    [
        (memory(100, 100, 100), "unchanged"),
        (memory(100.2, 99.9, 100.1), "unchanged"),
        (memory(110.2, 109.9, 110.1), "regressed"),
        (memory(90.2, 89.9, 90.1), "improved"),
        (memory(104.9, 104.9, 104.9), "inconclusive"),  # equal by chance: pages, not certainty
        (memory(100, 120, 103), "inconclusive"),
        (memory(95.3, 94.9, 95.2), "unchanged"),  # less, perhaps by 5 %, certainly not more
    ],
)
def test_memory_is_compared_in_pairs(candidate: list[float], verdict: Verdict) -> None:
    check = memory_check(memory(100, 100, 100), candidate, 0.05, confidence=0.95)
    assert (check.figure, check.verdict, check.pairs) == ("peak_rss_bytes", verdict, 3)
    assert check.change_low is not None
    assert check.change_high is not None
    assert check.change is not None
    assert check.change_low < check.change < check.change_high


@given(st.lists(st.floats(0.5, 2.0, allow_subnormal=False), min_size=2, max_size=12))
def test_memory_is_open_only_where_a_rise_beyond_the_threshold_is(ratios: list[float]) -> None:
    check = memory_check(
        memory(*[100.0] * len(ratios)), memory(*[100 * r for r in ratios]), 0.05, confidence=0.95
    )
    assert check.change_low is not None
    assert check.change_high is not None
    possible = check.change_low <= 0.05 < check.change_high
    assert (check.verdict == "inconclusive") == possible


def test_what_both_workers_of_a_pair_have_in_common_takes_no_part() -> None:
    baseline = memory(80, 100, 130, 90)
    check = memory_check(baseline, [value * 1.08 for value in baseline], 0.05, confidence=0.95)
    assert check.verdict == "regressed"
    assert check.change == pytest.approx(0.08)


@pytest.mark.parametrize(
    ("rise", "verdict"), [(1.049, "unchanged"), (1.051, "regressed"), (1 / 1.051, "improved")]
)
def test_a_single_pair_is_compared_as_it_is(rise: float, verdict: Verdict) -> None:
    check = memory_check(memory(100), memory(100 * rise), 0.05, confidence=0.95)
    assert check.verdict == verdict
    assert (check.change_low, check.change_high, check.confidence) == (None, None, None)
    assert check.pairs == 1


def test_no_pair_and_uneven_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match="no pair"):
        memory_check([], [], 0.05, confidence=0.95)
    with pytest.raises(ValueError, match="zip"):
        memory_check(memory(1, 2), memory(1), 0.05, confidence=0.95)


def test_energy_is_compared_in_pairs() -> None:
    check = energy_check([0.50, 0.52, 0.51], [0.60, 0.63, 0.61], 0.05, confidence=0.95)
    assert (check.figure, check.verdict) == ("energy_j_per_image", "regressed")
    assert (check.baseline, check.candidate) == (0.51, 0.61)


def test_energy_that_idle_power_exceeds_has_no_ratio() -> None:
    check = energy_check([0.5, -0.01], [0.6, 0.6], 0.05, confidence=0.95)
    assert (check.verdict, check.change) == ("inconclusive", None)
    assert "above zero" in check.reason


@pytest.mark.parametrize(
    ("limit", "value", "verdict", "reason"),
    [
        (Limit("latency_p95_ms", "max", 20), 19.9, "unchanged", "19.9 ms, within the budget"),
        (Limit("latency_p95_ms", "max", 20), 20.0, "unchanged", "(max 20 ms)"),
        (Limit("latency_p95_ms", "max", 20), 25.12, "regressed", "25.12 ms, over the budget"),
        (Limit("map50_95", "min", 0.38), 0.38, "unchanged", "within the budget (min 0.38)"),
        (Limit("map50_95", "min", 0.38), 0.3799, "regressed", "0.3799, under the budget"),
        (Limit("artifact_bytes", "max", 3e6), 3_145_728, "regressed", "3,145,728 bytes, over"),
        (Limit("latency_p99_ms", "max", 20), None, "inconclusive", "not measured"),
        (Limit("latency_p99_ms", "max", 20), math.nan, "inconclusive", "not measured"),
    ],
)
def test_a_budget(limit: Limit, value: float | None, verdict: Verdict, reason: str) -> None:
    (check,) = budget_checks({limit.figure: value, "load_ms": 3.0}, [limit])
    assert (check.kind, check.verdict) == ("budget", verdict)
    assert (check.figure, check.bound, check.limit) == (limit.figure, limit.bound, limit.value)
    assert reason in check.reason
    assert (check.change, check.threshold, check.confidence) == (None, None, None)
    assert check.candidate is None or math.isfinite(check.candidate)


def test_a_budget_on_a_figure_that_is_not_there_is_not_met_in_silence() -> None:
    (check,) = budget_checks({}, [Limit("energy_j_per_image", "max", 0.5)])
    assert (check.verdict, check.candidate) == ("inconclusive", None)
    assert check.reason == "not measured, so the budget (max 0.5) cannot be checked"

from __future__ import annotations

import pytest

from deploymark.bench.errors import BadInputError
from deploymark.bench.matrix.constraints import parse_constraint, parse_constraints
from deploymark.bench.records.answer import Estimate


@pytest.mark.parametrize(
    ("text", "figure", "upper", "kind", "limit"),
    [
        ("latency_p95_ms <= 20", "latency_p95_ms", True, "figure", 20.0),
        ("latency_p95_ms<=20000us", "latency_p95_ms", True, "figure", 20.0),
        ("latency_p95_ms ≤ 0.02 s", "latency_p95_ms", True, "figure", 20.0),
        ("artifact_bytes < 8MB", "artifact_bytes", True, "figure", 8e6),
        ("artifact_bytes <= 8 MiB", "artifact_bytes", True, "figure", 8 * 2.0**20),
        ("min_memory_mb <= 256", "min_memory_mb", True, "figure", 256.0),
        ("min_memory_mb <= 1 GiB", "min_memory_mb", True, "figure", 1024.0),
        ("min_memory_mb <= 100 MB", "min_memory_mb", True, "figure", 1e8 / 2**20),
        ("uss_bytes <= 64 MiB", "uss_bytes", True, "figure", 64 * 2.0**20),
        ("energy_j_per_image <= 20 mJ", "energy_j_per_image", True, "figure", 0.02),
        ("throughput_ips > 30", "throughput_ips", False, "figure", 30.0),
        ("map50_95 >= fp32 - 0.01", "map50_95", False, "difference", -0.01),
        ("latency_p50_ms <= fp32 + 500 us", "latency_p50_ms", True, "difference", 0.5),
        ("map50_95 >= fp32", "map50_95", False, "difference", 0.0),
        ("map50_95 >= FP32-1%", "map50_95", False, "ratio", 0.99),
        ("artifact_bytes <= fp32 * 0.5", "artifact_bytes", True, "ratio", 0.5),
        ("artifact_bytes <= 0.5 * fp32", "artifact_bytes", True, "ratio", 0.5),
    ],
)
def test_a_constraint_is_read(text: str, figure: str, upper: bool, kind: str, limit: float) -> None:
    found = parse_constraint(text)
    assert (found.figure, found.upper, found.kind) == (figure, upper, kind)
    assert found.limit == pytest.approx(limit)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("latncy_p50_ms <= 2", "did you mean 'latency_p50_ms'"),
        ("latency <= 3", "did you mean 'latency_p50_ms'"),
        ("artifact_bytes <= 8mb", "did you mean 'MB'"),
        ("latency_p50_ms <= 8MB", "has no unit 'MB'"),
        ("map50_95 >= fp23 - 0.01", "did you mean 'fp32'"),
        ("map50_95 >= 3ms", "has no unit, got 'ms'"),
        ("map50_95 >= ", "'' is no bound"),
        ("map50_95", "not a figure, one of <= >= < >, and a bound"),
        ("map50_95 == 0.5", "not a figure, one of <= >= < >, and a bound"),
        ("artifact_bytes <= fp32 * 0", "must be above 0"),
        ("artifact_bytes <= fp32 - 100%", "must be above 0"),
        ("artifact_bytes <= fp32 * 2MB", "has no unit, got 'MB'"),
    ],
)
def test_a_fault_is_told_with_what_may_have_been_meant(text: str, told: str) -> None:
    with pytest.raises(BadInputError, match=told.replace("*", r"\*")) as caught:
        parse_constraint(text)
    assert repr(text) in str(caught.value)


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(BadInputError) as caught:
        parse_constraints(["latncy_p50_ms <= 2", "artifact_bytes <= 8MB", "map50_95 >= 3ms"])
    assert "latncy" in caught.value.message
    assert "3ms" in caught.value.message
    assert "8MB" not in caught.value.message


@pytest.mark.parametrize(
    ("text", "low", "high", "state"),
    [
        ("latency_p50_ms <= 20", 18, 20, "met"),
        ("latency_p50_ms < 20", 18, 20, "undecided"),
        ("latency_p50_ms <= 20", 18, 20.1, "undecided"),
        ("latency_p50_ms <= 20", 20.1, 22, "not_met"),
        ("latency_p50_ms < 20", 20, 22, "not_met"),
        ("throughput_ips >= 20", 20, 22, "met"),
        ("throughput_ips >= 20", 19, 22, "undecided"),
        ("throughput_ips >= 20", 18, 19, "not_met"),
    ],
)
def test_the_side_of_the_interval_decides(text: str, low: float, high: float, state: str) -> None:
    assert parse_constraint(text).state(Estimate((low + high) / 2, low, high)) == state


def test_what_was_not_measured_never_meets_a_bound() -> None:
    for text in ("latency_p50_ms <= 1e9", "map50_95 >= 0", "map50_95 >= fp32 - 1"):
        assert parse_constraint(text).state(Estimate(reason="not measured")) == "not_met"


@pytest.mark.parametrize(
    ("text", "relaxed"),
    [
        ("latency_p95_ms <= 20", "latency_p95_ms <= 23.46"),
        ("latency_p95_ms < 20ms", "latency_p95_ms < 23.46 ms"),
        ("latency_p95_ms <= 20000us", "latency_p95_ms <= 23460 us"),
        ("latency_p95_ms <= fp32 * 0.5", "latency_p95_ms <= fp32 * 23.46"),
        ("latency_p95_ms <= fp32 - 3", "latency_p95_ms <= fp32 + 23.46"),
    ],
)
def test_a_bound_gives_way_as_far_as_it_must(text: str, relaxed: str) -> None:
    judged = Estimate(22.0, 21.0, 23.4567)
    found = parse_constraint(text).relaxed(judged)
    assert found.text == relaxed
    assert found.state(judged) == "met"


def test_a_least_gives_way_downwards() -> None:
    judged = Estimate(-0.0187, -0.034567, -0.003)
    found = parse_constraint("map50_95 >= fp32 - 0.01").relaxed(judged)
    assert found.text == "map50_95 >= fp32 - 0.03457"
    assert found.state(judged) == "met"

from __future__ import annotations

import statistics
from typing import Any

import pytest

from deploymark.bench.records.launches import counted
from deploymark.bench.records.run import CellResult
from deploymark.bench.score.aggregate import add_launches, executed_text, tail_reason
from deploymark.bench.statistics.intervals import launch_interval


def record(latency_ns: list[int], **changes: object) -> dict[str, Any]:
    values: dict[str, Any] = {
        "launch": 0,
        "status": "ok",
        "reason": "",
        "remedy": "",
        "latency_ns": latency_ns,
        "e2e_ns": [latency_ns[0] * 2],
        "e2e_reason": "",
        "cold_ms": 30.0,
        "load_ms": 100.0,
        "peak_rss_bytes": 100,
        "model_rss_bytes": 40,
        "device_memory_bytes": None,
        "warmup": {"iterations": 15, "seconds": 0.1, "steady": True},
        "executed_precision": None,
    }
    return {**values, **changes}


def cell() -> CellResult:
    return CellResult(cell="c", status="ok", batch=2)


def test_figures_of_a_cell() -> None:
    result = cell()
    warm_up = {"iterations": 25, "seconds": 0.3, "steady": True}
    launches = [
        record([10_000_000] * 60),
        record([30_000_000] * 60, peak_rss_bytes=300, warmup=warm_up),
    ]
    add_launches(result, launches)
    assert result.status == "ok"
    assert (result.launches, result.iterations) == (2, 120)
    assert result.latency_p50_ms == 20.0
    assert result.latency_mean_ms == 20.0
    assert result.throughput_ips == 100.0
    assert result.latency_p90_ms == 30.0
    assert result.latency_p99_ms is None
    assert result.tail_reason == "p95 needs 200, p99 needs 1000 inferences, there are 120"
    assert result.peak_rss_bytes == 200
    assert (result.warmup_iterations, result.warmup_ms) == (20, 200)
    assert (result.steady_launches, result.disturbed_launches) == (2, 0)
    assert result.latency_ci_low_ms is not None
    assert result.latency_ci_high_ms is not None
    assert result.interval_half_width == pytest.approx(
        (result.latency_ci_high_ms - result.latency_ci_low_ms) / 40
    )
    assert result.e2e_p50_ms == 40.0


def test_a_failed_launch_gives_the_cell_its_status_and_keeps_the_figures() -> None:
    result = cell()
    failure = {"status": "crashed", "reason": "SIGABRT", "remedy": ""}
    add_launches(result, [record([10_000_000] * 20), failure])
    assert (result.status, result.reason) == ("crashed", "SIGABRT")
    assert result.latency_p50_ms == 10.0
    assert result.launches == 1


def test_figures_are_over_launches_and_not_over_their_inferences() -> None:
    result = cell()
    slow, fast = [40_000_000] * 10, [10_000_000] * 100
    add_launches(result, [record(slow), record(fast), record(fast)])
    assert (result.latency_p50_ms, result.latency_mean_ms) == (10.0, 10.0)
    add_launches(result, [record(slow), record(slow), record(fast)])
    assert (result.latency_p50_ms, result.latency_mean_ms) == (40.0, 40.0)


def test_disturbed_launches_are_counted_and_have_no_part_in_the_figures() -> None:
    calm = [record([10_000_000] * 20), record([11_000_000] * 20, launch=1)]
    told = {"layers": {"Conv:f32": 3}, "source": "", "reason": ""}
    disturbed = record(
        [90_000_000] * 20,
        disturbed=["steal"],
        executed_precision=told,
        peak_rss_bytes=10**9,
        cold_ms=999.0,
        load_ms=999.0,
    )
    undisturbed, result = cell(), cell()
    add_launches(undisturbed, calm)
    add_launches(result, [disturbed, *calm])
    assert (result.launches, result.disturbed_launches) == (2, 1)
    assert result.executed_precision == "Conv:f32 ×3", "it ran what it ran"
    undisturbed.disturbed_launches, undisturbed.executed_precision = 1, "Conv:f32 ×3"
    assert result == undisturbed
    assert counted([disturbed, *calm], disturbed=False) == calm


def attempts(launch: int, *times_ms: float, calm: bool = False) -> list[dict[str, Any]]:
    """Disturbed attempts at a launch; the last one ``calm`` where that is so."""
    made = [
        record([round(time * 1e6)] * 20, launch=launch, disturbed=["steal"]) for time in times_ms
    ]
    return [*made[:-1], {**made[-1], "disturbed": []}] if calm else made


def test_figures_of_a_marked_cell_are_of_each_launch_and_cover_all_that_was_seen() -> None:
    result = cell()
    launches = [*attempts(0, 30, 14), *attempts(1, 12, calm=True), *attempts(2, 9, 13)]
    add_launches(result, launches, disturbed=True)
    assert result.disturbed
    assert (result.launches, result.iterations, result.disturbed_launches) == (3, 60, 4)
    assert result.latency_p50_ms == 13.0
    own = launch_interval([14, 12, 13])
    assert own is not None
    assert own[0] > 9
    assert own[1] < 30
    assert (result.latency_ci_low_ms, result.latency_ci_high_ms) == (9, 30)
    assert result.interval_half_width == pytest.approx(21 / 26)


def test_the_interval_of_a_marked_cell_is_never_narrower_than_that_of_its_launches() -> None:
    result, own = cell(), launch_interval([10, 11])
    add_launches(result, [*attempts(0, 10), *attempts(1, 11)], disturbed=True)
    assert (result.latency_ci_low_ms, result.latency_ci_high_ms) == own
    alone = cell()
    add_launches(alone, attempts(0, 10), disturbed=True)
    assert (alone.latency_p50_ms, alone.latency_ci_low_ms, alone.interval_half_width) == (
        10,
        None,
        None,
    )
    twice = cell()
    add_launches(twice, attempts(0, 10, 12), disturbed=True)
    assert (twice.latency_ci_low_ms, twice.latency_p50_ms, twice.latency_ci_high_ms) == (10, 12, 12)


def test_the_tail_of_a_marked_cell_covers_what_was_seen_too() -> None:
    result = cell()
    made = [record([time] * 200, disturbed=["steal"]) for time in (3_000_000, 2_000_000)]
    add_launches(result, [*made, record([2_000_000] * 200, launch=1)], disturbed=True)
    assert (result.latency_p95_ci_low_ms, result.latency_p95_ci_high_ms) == (2, 3)


def test_a_tail_over_launches_has_an_interval_where_every_launch_has_one() -> None:
    result = cell()
    launches = [record(list(range(start, start + 200))) for start in (1_000_000, 1_100_000)]
    add_launches(result, launches)
    own = [statistics.quantiles(r["latency_ns"], n=20, method="inclusive")[-1] for r in launches]
    expected = launch_interval([tail / 1e6 for tail in own], result.latency_p95_ms)
    assert (result.latency_p95_ci_low_ms, result.latency_p95_ci_high_ms) == pytest.approx(expected)
    few = cell()
    add_launches(few, [*launches, record([1_000_000] * 50)])
    assert few.latency_p95_ms is not None
    assert few.latency_p95_ci_low_ms is None


@pytest.mark.parametrize(
    ("inferences", "reason"),
    [
        (1000, None),
        (640, "p99 needs 1000 inferences, there are 640"),
        (50, "p90 needs 100, p95 needs 200, p99 needs 1000 inferences, there are 50"),
    ],
)
def test_why_there_is_no_tail(inferences: int, reason: str | None) -> None:
    assert tail_reason(inferences) == reason


def test_unsteady_launches_are_told() -> None:
    result = cell()
    unsteady = {"iterations": 99, "seconds": 3.0, "steady": False}
    add_launches(result, [record([1] * 20), record([1] * 20, warmup=unsteady)])
    assert result.warnings == ["1 of 2 launches were not steady when the warm-up ended"]


def test_executed_layers_read_by_count() -> None:
    layers = {"Add:f32": 2, "Convolution:i8": 64}
    text = executed_text({"layers": layers, "source": "runtime model", "reason": ""})
    assert text == "Convolution:i8 ×64, Add:f32 ×2"
    assert executed_text({"layers": {}, "source": "", "reason": "cannot tell"}) == "cannot tell"
    assert executed_text(None) is None

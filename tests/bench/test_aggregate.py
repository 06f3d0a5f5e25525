from __future__ import annotations

import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.aggregate import add_launches, executed_text, launch_interval, percentile, samples_ns
from bench.results import CellResult


def record(latency_ns: list[int], **changes: object) -> dict[str, object]:
    values: dict[str, object] = {
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
        "energy": {
            "joules_per_image": None,
            "idle_watts": None,
            "source": None,
            "reason": "no sensor",
        },
        "executed_precision": None,
    }
    return {**values, **changes}


def cell() -> CellResult:
    return CellResult(cell="c", status="ok", batch=2)


@given(st.lists(st.floats(0.1, 1e4), min_size=2, max_size=12))
def test_the_interval_holds_its_figure(medians: list[float]) -> None:
    interval = launch_interval(medians)
    assert interval is not None
    low, high = interval
    assert 0 < low <= statistics.median(medians) <= high


def test_the_interval_covers_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    hits = 0
    for _ in range(600):
        interval = launch_interval(list(np.exp(random.normal(0.0, 0.05, 5))))
        assert interval is not None
        hits += interval[0] <= 1.0 <= interval[1]
    # binomial: 0.95 within four standard errors, and wider intervals are allowed
    assert hits / 600 > 0.95 - 4 * (0.95 * 0.05 / 600) ** 0.5


def test_one_launch_has_no_interval() -> None:
    assert launch_interval([3.0]) is None


@pytest.mark.parametrize(
    ("count", "quantile", "given"),
    [(99, 0.9, False), (100, 0.9, True), (199, 0.95, False), (200, 0.95, True), (999, 0.99, False)],
)
def test_a_percentile_needs_its_tail(count: int, quantile: float, given: bool) -> None:
    assert (percentile(list(range(count)), quantile) is not None) is given


def test_figures_of_a_cell() -> None:
    result = cell()
    launches = [record([10_000_000] * 60), record([30_000_000] * 60, peak_rss_bytes=300)]
    add_launches(result, launches)
    assert result.status == "ok"
    assert (result.launches, result.iterations) == (2, 120)
    assert result.latency_p50_ms == 20.0
    assert result.latency_mean_ms == 20.0
    assert result.throughput_ips == 100.0
    assert result.latency_p90_ms == 30.0
    assert result.latency_p99_ms is None
    assert result.peak_rss_bytes == 300
    assert result.energy_j_per_image is None
    assert result.energy_reason == "no sensor"
    assert result.e2e_p50_ms == 40.0


def test_a_failed_launch_gives_the_cell_its_status_and_keeps_the_figures() -> None:
    result = cell()
    failure = {"status": "crashed", "reason": "SIGABRT", "remedy": ""}
    add_launches(result, [record([10_000_000] * 20), failure])
    assert (result.status, result.reason) == ("crashed", "SIGABRT")
    assert result.latency_p50_ms == 10.0
    assert result.launches == 1


def test_unsteady_launches_are_told() -> None:
    result = cell()
    unsteady = {"iterations": 99, "seconds": 3.0, "steady": False}
    add_launches(result, [record([1] * 20), record([1] * 20, warmup=unsteady)])
    assert result.warnings == ["1 of 2 launches were not steady when the warm-up ended"]


def test_samples_are_those_of_finished_launches() -> None:
    assert samples_ns([record([1, 2]), {"status": "timeout"}, record([3])]) == [1, 2, 3]


def test_executed_layers_read_by_count() -> None:
    layers = {"Add:f32": 2, "Convolution:i8": 64}
    text = executed_text({"layers": layers, "source": "runtime model", "reason": ""})
    assert text == "Convolution:i8 ×64, Add:f32 ×2"
    assert executed_text({"layers": {}, "source": "", "reason": "cannot tell"}) == "cannot tell"
    assert executed_text(None) is None

"""Logs of LoadGen 6.0.17 as real runs left them, without the lines that are not read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deploymark.bench.run.scenario_log import DETAIL_LOG, figures, log_values, read_figures

LOGS = Path(__file__).parent / "loadgen_logs"


def of(kind: str) -> dict[str, Any]:
    return figures(log_values((LOGS / f"{kind}.txt").read_text(encoding="utf-8")))


def test_single_stream() -> None:
    found = of("single-stream")
    assert (found["valid"], found["invalid_reason"]) == (True, None)
    assert (found["queries"], found["samples"], found["samples_per_query"]) == (110, 110, 1)
    assert found["latency_p50_ms"] == pytest.approx(13.663555)
    assert found["latency_p90_ms"] == pytest.approx(17.861049)
    assert found["latency_mean_ms"] == pytest.approx(12.995576)
    assert found["latency_max_ms"] > found["latency_p90_ms"]
    assert found["samples_per_second"] == pytest.approx(76.7051)
    assert found["loadgen_version"].startswith("6.0.17")
    assert found["min_duration_met"]
    assert found["min_queries_met"]


def test_a_percentile_without_a_tail_is_none() -> None:
    found = of("single-stream")  # of 110 queries five lie beyond p95
    assert found["latency_p90_ms"] is not None
    assert found["latency_p95_ms"] is found["latency_p97_ms"] is found["latency_p99_ms"] is None


def test_a_multi_stream_s_latency_is_that_of_its_queries() -> None:
    found = of("multi-stream")
    assert (found["queries"], found["samples"], found["samples_per_query"]) == (110, 220, 2)
    assert found["samples_per_second"] == pytest.approx(2e3 / found["latency_mean_ms"])
    assert (found["valid"], found["early_stopping_met"]) == (False, False)
    assert found["invalid_reason"] == (
        "Only processed 110 queries. Need to process at least 662 queries for early stopping."
    )


def test_an_overloaded_server() -> None:
    found = of("server")
    assert (found["valid"], found["latency_target_met"]) == (False, False)
    assert found["invalid_reason"].startswith("Reduce target QPS to improve latency. Run unsucc")
    assert 0 < found["over_latency_queries"] <= found["queries"] == 393
    assert found["samples_per_second"] == pytest.approx(112.132)


def test_offline_has_a_throughput_and_no_latency() -> None:
    found = of("offline")
    assert (found["valid"], found["queries"], found["samples"]) == (True, 1, 136)
    assert found["samples_per_second"] == pytest.approx(103.817)
    assert not [name for name in found if name.startswith("latency_p")]


def test_a_log_that_was_cut_off_has_no_result(tmp_path: Path) -> None:
    whole = (LOGS / "server.txt").read_text(encoding="utf-8")
    (tmp_path / DETAIL_LOG).write_text(whole[: whole.index("result_validity") + 30])
    with pytest.raises(ValueError, match="no result"):
        read_figures(tmp_path)


def test_no_log(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"no {DETAIL_LOG}: No such file"):
        read_figures(tmp_path)


def test_errors_are_among_the_reasons() -> None:
    line = (
        ':::MLLOG {"key": "error_runtime", "value": "Ending early: Max query count reached.", '
        '"metadata": {"is_error": true}}'
    )
    text = (LOGS / "multi-stream.txt").read_text(encoding="utf-8") + line
    assert "Ending early: Max query count" in figures(log_values(text))["invalid_reason"]

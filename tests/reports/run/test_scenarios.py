from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploymark.bench.errors import BadInputError
from deploymark.bench.records.run import CellResult, Run
from deploymark.bench.records.scenarios import ScenarioResult, read_scenarios, write_scenarios
from deploymark.reports.page.figures import ABSENT
from deploymark.reports.run import render
from deploymark.reports.run.scenario_chart import stream_chart, stream_rows
from deploymark.reports.run.scenarios import scenario_lines, scenario_views, traffic
from deploymark.reports.run.summary import render_summary

MakeCell = Callable[..., CellResult]
MakeRun = Callable[..., Run]


def result(cell: str = "m-dense-fp32-onnxruntime-cpu-320", **values: Any) -> ScenarioResult:
    known: dict[str, Any] = {
        "scenario": "offline",
        "name": values.get("scenario", "offline"),
        "streams": 1,
        "status": "ok",
        "backend": "onnxruntime",
        "precision": "fp32",
        "threads": 1,
        "valid": True,
        "samples_per_second": 81.234,
        "queries": 1,
    }
    return ScenarioResult(cell=cell, **(known | values))


SERVER = result(
    scenario="server",
    valid=False,
    invalid_reason="Reduce target QPS to improve latency.",
    target_qps=20.5,
    target_latency_ms=50,
    target_percentile=99,
    latency_p50_ms=12.345,
    latency_p90_ms=51.0,
    queries=500,
    disturbed=["foreign processes used 1.4 cores while timing (limit 0.25)"],
)


def test_traffic() -> None:
    assert traffic(SERVER) == "20.5 queries/s, 99 % within 50 ms"
    assert traffic(dataclasses.replace(SERVER, target_qps=None)) == "99 % within 50 ms"
    assert traffic(result(scenario="multi-stream", samples_per_query=8)) == "8 images a query"
    assert not traffic(result())


def test_a_figure_that_is_not_there_says_why() -> None:
    server, offline, failed = scenario_views(
        [SERVER, result(), result(status="crashed", samples_per_second=None, reason="it died")]
    )
    assert [field.text for field in server.latencies] == ["12.3", "51.0", ABSENT]
    assert server.latencies[2].title == "not given: 500 queries are too few for it"
    assert {field.text for field in offline.latencies} == {ABSENT}
    assert offline.latencies[0].title.startswith("one query has all images")
    assert (offline.throughput.text, offline.verdict) == ("81.2", "valid")
    assert (failed.throughput.text, failed.verdict, failed.reason) == (ABSENT, "crashed", "it died")


def test_lines_of_the_summary(make_run: MakeRun, make_cell: MakeCell) -> None:
    run = make_run(make_cell())
    assert scenario_lines(run) == []
    run.folder.mkdir()
    write_scenarios(run.folder, [SERVER, result(streams=4)])
    assert read_scenarios(run.folder) == [SERVER, result(streams=4)]
    text = render_summary(run)
    server = "server (20.5 queries/s, 99 % within 50 ms)"
    assert f"| {server} | 1 | 1 | 12.3 | 51.0 | {ABSENT} |" in text
    assert "INVALID: Reduce target QPS to improve latency. (disturbed: foreign processes" in text
    assert f"| offline | 4 | 1 | {ABSENT} | {ABSENT} | {ABSENT} | 81.2 | valid |" in text
    assert "no MLPerf result" in text


def test_a_broken_file(make_run: MakeRun) -> None:
    run = make_run()
    run.folder.mkdir()
    (run.folder / "scenarios.json").write_text('[{"cell": "a"}]')
    with pytest.raises(BadInputError, match="is incomplete"):
        read_scenarios(run.folder)


def test_rows_are_of_scenarios_with_several_streams() -> None:
    results = [
        result(streams=1),
        result(streams=2, samples_per_second=150.0, valid=False, invalid_reason="too short"),
        result(streams=4, status="timeout", samples_per_second=None),
        result("other", streams=1),
        SERVER,
    ]
    rows = stream_rows(results)
    assert [(row["facet"], row["streams"], row["ips"]) for row in rows] == [
        ("offline", 1, 81.234),
        ("offline", 2, 150.0),
    ]
    assert [row["verdict"] for row in rows] == ["valid", "INVALID: too short"]


def test_chart(make_cell: MakeCell) -> None:
    cells = [make_cell("first", backend="openvino"), make_cell()]
    assert stream_chart([result()], cells) is None
    results = [
        result(cell, threads=threads, streams=streams)
        for cell, threads in (("a-t1", 1), ("a-t2", 2))
        for streams in (1, 2, 4)
    ]
    spec = stream_chart(results, cells)
    assert spec is not None
    assert "://" not in json.dumps(spec, allow_nan=False)
    lines = spec["spec"]["layer"][0]["encoding"]
    assert lines["color"]["scale"]["range"] == ["#d55e00"]  # the second backend of the run
    assert lines["strokeDash"]["scale"]["domain"] == ["1", "2"]
    assert lines["x"]["axis"]["values"] == [1, 2, 4]


def test_the_page(
    make_run: MakeRun,
    make_cell: MakeCell,
    hostile: str,
    monkeypatch: pytest.MonkeyPatch,
    quick_bundle: type,
) -> None:
    monkeypatch.setattr(render, "VegaBundle", quick_bundle)
    run = make_run(make_cell())
    assert 'id="scenarios"' not in render.render_report(run)
    run.folder.mkdir()
    bad = result(hostile, name=hostile, status="crashed", reason=hostile, remedy=hostile)
    write_scenarios(run.folder, [result(), result(streams=2), SERVER, bad])
    page = render.render_report(run)
    assert '<section id="scenarios">' in page
    assert 'id="spec-scenarios"' in page
    assert "20.5 queries/s, 99 % within 50 ms" in page
    assert "Disturbed: foreign processes used 1.4 cores" in page
    assert "<script>alert(1)" not in page
    assert "alert(1)" in page


def test_the_file_has_flat_objects(tmp_path: Path) -> None:
    write_scenarios(tmp_path, [SERVER])
    (entry,) = json.loads((tmp_path / "scenarios.json").read_text())
    assert list(entry)[:5] == ["cell", "scenario", "name", "streams", "status"]
    assert not [value for value in entry.values() if isinstance(value, dict)]

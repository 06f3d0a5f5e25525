from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from deploymark.bench.records.launches import append_launch
from deploymark.bench.records.run import CellResult, Run
from deploymark.reports.run.render import render_report
from deploymark.reports.run.warm_up import folded, warm_up_chart, warm_up_rows

MakeCell = Callable[..., CellResult]


def launch(cell: str = "a", **values: Any) -> dict[str, Any]:
    known = {
        "cell": cell,
        "launch": 0,
        "status": "ok",
        "cold_ms": 40.0,
        "warmup": {"iterations": 3, "first_ns": [20_000_000, 12_000_000, 11_000_000]},
        "latency_ns": [10_000_000, 9_000_000, 14_000_000],
        "disturbed": [],
    }
    return {**known, **values}


@pytest.fixture
def cell(make_cell: MakeCell) -> CellResult:
    return make_cell("a", latency_p50_ms=10.0, warmup_iterations=3.0)


def test_a_line_goes_from_the_cold_inference_to_the_timed_ones(cell: CellResult) -> None:
    (row,) = warm_up_rows([cell], [launch()])
    # The sixth and the seventh are drawn as one: their median.
    assert row["n"] == [1, 2, 3, 4, 5, 6]
    assert row["ms"] == [40.0, 20.0, 12.0, 11.0, 10.0, 11.5]
    assert (row["steady"], row["p50"]) == (5, 10.0)


def test_a_line_is_the_median_of_launches_that_were_not_disturbed(cell: CellResult) -> None:
    launches = [
        launch(cold_ms=30.0),
        launch(cold_ms=40.0),
        launch(cold_ms=99.0),
        launch(cold_ms=500.0, disturbed=["steal"]),
        launch(status="crashed"),
        launch("another"),
    ]
    (row,) = warm_up_rows([cell], launches)
    assert row["ms"][0] == 40.0


def test_a_line_of_a_marked_cell_is_the_median_of_disturbed_launches_too(
    make_cell: MakeCell,
) -> None:
    cell = make_cell("a", latency_p50_ms=10.0, warmup_iterations=3.0, disturbed=True)
    launches = [
        launch(cold_ms=99.0, disturbed=["steal"]),
        launch(cold_ms=40.0),
        launch(launch=1, cold_ms=60.0, disturbed=["steal"]),
    ]
    (row,) = warm_up_rows([cell], launches)
    assert row["ms"][0] == 50.0


def test_what_was_not_kept_of_a_long_warm_up_is_a_gap(cell: CellResult) -> None:
    warm_up = {"iterations": 14, "first_ns": [20_000_000] * 2}
    (row,) = warm_up_rows([cell], [launch(warmup=warm_up)])
    assert row["n"] == [1, 2, 3, 16]
    assert row["ms"][-1] == 10.0


def test_a_line_ends_where_most_launches_end(cell: CellResult) -> None:
    longer = launch(latency_ns=[10_000_000] * 100)
    (row,) = warm_up_rows([cell], [launch(), launch(), longer])
    assert row["n"][-1] == 6


def test_runs_of_older_versions_have_no_lines(cell: CellResult, make_failed: MakeCell) -> None:
    old = launch(warmup={"iterations": 3})
    assert warm_up_rows([cell], [old]) == []
    assert warm_up_rows([make_failed("a")], [launch()]) == []
    assert warm_up_chart([], [cell]) is None


def test_the_chart_holds_a_line_and_a_point_for_each_cell(make_cell: MakeCell) -> None:
    cells = [
        make_cell(name, backend=name, warmup_iterations=3.0, latency_p50_ms=10.0) for name in "ab"
    ]
    rows = warm_up_rows(cells, [launch("a"), launch("b")])
    spec = warm_up_chart(rows, cells)
    assert spec is not None
    assert spec["datasets"]["cells"] == rows
    assert spec["facet"]["sort"] == ["a", "b"]
    low, high = spec["spec"]["layer"][0]["encoding"]["y"]["scale"]["domain"]
    assert 0 < low < 10
    assert high > 40
    json.dumps(spec, allow_nan=False)


def test_many_cells_are_folded_away() -> None:
    assert not folded([{}] * 60)
    assert folded([{}] * 61)


@pytest.mark.heavy
def test_the_report_shows_it(make_run: Callable[..., Run], cell: CellResult) -> None:
    run = make_run(cell)
    assert 'id="warm-up"' not in render_report(run)
    run.folder.mkdir(parents=True)
    with (run.folder / "launches.jsonl").open("w", encoding="utf-8") as stream:
        append_launch(stream, launch())
    page = render_report(run)
    assert 'id="warm-up"' in page
    assert 'id="spec-warm_up"' in page

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Self

import pytest

from deploymark.bench.records.run import CellResult, Run
from deploymark.bench.records.trends import (
    Change,
    History,
    MachineHistory,
    PastRun,
    Point,
    Series,
    Skipped,
    save_history,
)
from deploymark.reports.history import history as module
from deploymark.reports.history import words as trend_words
from deploymark.reports.history.chart import trend_chart, trend_rows
from deploymark.reports.history.history import charts_of, machine_views, render_history_page
from deploymark.reports.run import render

MakeCell = Callable[..., CellResult]
MakeRun = Callable[..., Run]


class QuickBundle:
    """Stands for the bundle, which takes seconds to make."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def script(self) -> str:
        return "window.vegaEmbed = () => Promise.resolve();"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "VegaBundle", QuickBundle)
    monkeypatch.setattr(module, "VegaBundle", QuickBundle)


def changed(run: int = 5, **values: Any) -> Change:
    known: dict[str, Any] = {
        "before": 10.0,
        "after": 11.0,
        "change": 0.1,
        "p_value": 0.0005,
        "found": ["onnxruntime 1.31.0 → 1.32.0"],
    }
    return Change(run, **(known | values))


def latency(cell: str = "a", *changes: Change, runs: int = 8, **values: Any) -> Series:
    starts = [change.run for change in changes]
    points = [
        Point(run, value, value - 0.2, value + 0.3)
        for run in range(runs)
        for value in [10.0 + sum(run >= start for start in starts)]
    ]
    known: dict[str, Any] = {
        "figure": "latency_p50_ms",
        "backend": "onnxruntime",
        "precision": "fp32",
        "relative": True,
    }
    return Series(cell, points=points, changes=list(changes), **(known | values))


def machine(*series: Series, name: str = "A CPU, 4 cores", runs: int = 8) -> MachineHistory:
    past = [
        PastRun(f"run-{number}", f"2026-01-0{number + 1}T00:00:00Z", f"{number:040x}", name)
        for number in range(runs)
    ]
    return MachineHistory("0a1b2c3d", name, {"cpu": name}, [name], past, list(series))


def history(*machines: MachineHistory, skipped: list[Skipped] | None = None) -> History:
    return History(list(machines), 0.005, 0.01, 3, 0, skipped or [])


def specs(html: str) -> dict[str, Any]:
    found = re.findall(
        r'<script type="application/json" id="spec-([^"]+)">(.*?)</script>', html, re.DOTALL
    )
    return {name: json.loads(text) for name, text in found}


def test_a_latency_of_a_marked_cell_says_so() -> None:
    points = [Point(0, 10.0, 9.0, 12.0), Point(1, 10.0, 8.0, 14.0, disturbed=True)]
    rows = trend_rows([Series(**{**vars(latency()), "points": points})])
    assert [row["text"] for row in rows] == [
        "10.0 ms [9.00, 12.0]",
        "10.0 ms [8.00, 14.0] ~ disturbed",
    ]


def test_rows_are_in_the_unit_shown_and_tell_the_change_once() -> None:
    size = latency(
        "b",
        changed(2, before=1 << 20, after=2 << 20, change=1.0, p_value=None),
        figure="artifact_bytes",
    )
    sized = [Point(run, float((1 + (run >= 2)) << 20)) for run in range(4)]
    rows = trend_rows([Series(**{**vars(size), "points": sized})])
    assert [row["value"] for row in rows] == [1, 1, 2, 2]
    assert [row.get("change") for row in rows] == [None, None, "+100.0 %", None]
    assert rows[2]["ends"] == "1.00 → 2.00 MiB"
    assert rows[2]["chance"] == "no noise"
    assert rows[2]["found"] == "onnxruntime 1.31.0 → 1.32.0"
    assert "low" not in rows[0]
    assert rows[0]["least"] <= 1
    assert rows[0]["most"] >= 2


def test_noise_is_not_drawn_larger_than_it_is() -> None:
    still = latency("a", runs=4)
    flat = [Point(run, 10.0 + 0.01 * run) for run in range(4)]
    (first, *_) = trend_rows([Series(**{**vars(still), "points": flat})])
    assert first["most"] - first["least"] >= 0.4


def test_chart_has_intervals_rules_and_the_runs() -> None:
    series = latency("a", changed())
    spec = trend_chart(machine(series), [series])
    assert spec is not None
    marks = [layer["mark"] for layer in spec["spec"]["layer"]]
    assert [mark["type"] for mark in marks] == ["rule", "area", "rule", "line"]
    assert [row["name"] for row in spec["datasets"]["runs"]] == [f"run-{n}" for n in range(8)]
    assert sum("change" in row for row in spec["datasets"]["trends"]) == 1
    assert trend_chart(machine(), []) is None


@pytest.mark.heavy
def test_vega_accepts_the_chart() -> None:
    import vl_convert

    series = latency("a", changed())
    spec = trend_chart(machine(series), [series])
    svg = vl_convert.vegalite_to_svg(json.dumps(spec))
    # the rule of the change, and the points of all runs
    assert svg.count("#d55e00") >= 1
    assert svg.count('aria-roledescription="point"') >= 8


def test_page_shows_changes_trends_and_what_was_skipped() -> None:
    past = machine(latency("a", changed()), latency("b", backend="openvino"))
    html = render_history_page(history(past, skipped=[Skipped("results/x", "torn")]))
    for text in (
        "A CPU, 4 cores",
        "8 runs, 2026-01-01 to 2026-01-08",
        "1 change in 1 of 2 cells.",
        "+10.0 %",
        "10.0 → 11.0 ms",
        "run-5",
        "p 0.0005",
        "onnxruntime 1.31.0 → 1.32.0",
        "one in 200",
        "results/x",
        "torn",
    ):
        assert text in html
    assert list(specs(html)) == ["history-0-0", "history-0-1"]
    # what changed is drawn at once, the rest when it is opened
    assert re.findall(r'<details class="plots"( open)?>', html) == [" open", ""]
    assert not re.search(r'(?:src|href)="(?!#)', html)


def test_a_page_without_series_needs_no_charts() -> None:
    html = render_history_page(history(machine()))
    assert "No cell was measured" in html
    assert "vegaEmbed" not in html


def test_hostile_names_stay_text(hostile: str) -> None:
    past = MachineHistory(
        "0a1b2c3d",
        hostile,
        {hostile: hostile},
        [hostile],
        [PastRun(hostile, hostile, hostile, hostile) for _ in range(8)],
        [latency(hostile, changed(found=[hostile]), backend=hostile)],
    )
    html = render_history_page(history(past, skipped=[Skipped(hostile, hostile)]))
    assert "<script>alert" not in html
    assert html.count("<script") == 3
    (spec,) = specs(html).values()
    assert spec["datasets"]["trends"][0]["cell"] == hostile


def test_many_cells_are_drawn_in_parts() -> None:
    series = [latency(f"c{number}") for number in range(module.CELLS_OF_A_CHART + 1)]
    (view,) = machine_views(history(machine(*series)))
    assert [plot.cells for plot in view.plots] == ["24 cells", "1 cell"]
    assert len(charts_of([view])) == 2


def test_a_report_draws_only_what_changed_where_there_is_much() -> None:
    series = [latency(f"c{number}") for number in range(60)] + [latency("x", changed())]
    (view,) = machine_views(history(machine(*series)), everything=False)
    assert [plot.cells for plot in view.plots] == ["1 cell"]
    assert view.trends == []
    (few,) = machine_views(history(machine(*series[-3:])), everything=False)
    assert [plot.cells for plot in few.plots] == ["3 cells"]


def test_the_report_of_a_run_has_its_history(make_run: MakeRun, make_cell: MakeCell) -> None:
    run = make_run(make_cell("a"))
    run.folder.mkdir()
    without = render.render_report(run)
    assert 'id="history"' not in without
    save_history(run.folder, history(machine(latency("a", changed()))))
    html = render.render_report(run)
    assert 'id="history"' in html
    assert 'href="#history"' in html
    assert "1 change in 1 of 1 cell." in html
    assert "history-0-0" in specs(html)


@pytest.mark.parametrize(
    ("series", "line"),
    [
        (latency("a", changed(2), runs=4), "▁▁│██"),
        (latency("a", runs=3), "▅▅▅"),
        # the last thirty are alike
        (latency("a", changed(2), runs=40), "▅" * 30),
    ],
)
def test_sparkline(series: Series, line: str) -> None:
    assert trend_words.sparkline(series) == line


@pytest.mark.parametrize(
    ("figure", "change", "worse"),
    [
        ("latency_p50_ms", 0.1, True),
        ("latency_p50_ms", -0.1, False),
        ("map50_95", -0.1, True),
        ("throughput_ips", 0.1, False),
    ],
)
def test_what_is_worse(figure: str, change: float, worse: bool) -> None:
    series = latency("a", figure=figure)
    assert trend_words.is_worse(series, changed(change=change)) is worse


def test_one_cause_of_many_changes_is_told_once() -> None:
    past = machine(
        latency("a", changed(2)), latency("b", changed(5)), latency("c", changed(5), changed(6))
    )
    told = trend_words.changes_by_place(past)
    assert [text.partition(",")[0] for text, _ in told] == ["run-6", "run-5", "run-2"]
    assert [series.cell for series, _ in told[1][1]] == ["b", "c"]

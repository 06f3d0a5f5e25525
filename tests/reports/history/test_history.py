from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from deploymark.bench.records.run import CellResult, Run
from deploymark.bench.records.trends import MachineHistory, PastRun, Skipped, save_history
from deploymark.reports.history import history as module
from deploymark.reports.history.history import charts_of, machine_views, render_history_page
from deploymark.reports.run import render
from tests.reports.history.series import changed, history, latency, machine
from tests.reports.parsed_page import Page

MakeCell = Callable[..., CellResult]
MakeRun = Callable[..., Run]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, quick_bundle: type) -> None:
    monkeypatch.setattr(render, "VegaBundle", quick_bundle)
    monkeypatch.setattr(module, "VegaBundle", quick_bundle)


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
    assert list(Page(html).specs) == ["history-0-0", "history-0-1"]
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
    assert html.count("<script") == 4
    (spec,) = Page(html).specs.values()
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
    assert "history-0-0" in Page(html).specs

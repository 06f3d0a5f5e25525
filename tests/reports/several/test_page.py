from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from deploymark.bench.records.comparison import Difference
from deploymark.bench.records.run import CellResult, Run
from deploymark.reports.several import page as several_page
from deploymark.reports.several.columns import RunColumn
from tests.reports.parsed_page import Page, loads_nothing

MakeCell = Callable[..., CellResult]
MakeRun = Callable[..., Run]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, quick_bundle: type) -> None:
    monkeypatch.setattr(several_page, "VegaBundle", quick_bundle)


def test_page(make_run: MakeRun, make_cell: MakeCell) -> None:
    columns = [
        RunColumn(name, make_run(make_cell("a", latency_p50_ms=p50)), detail="A CPU")
        for name, p50 in (("desk", 5.0), ("board", 50.0))
    ]
    differences = [Difference("package", "onnxruntime", ["1.31.0", None])]
    html = several_page.render_several(columns, differences, of_machines=True)
    page = Page(html)
    loads_nothing(page)
    assert several_page.MARK in html[:2000]
    for words in (
        "2 machines side by side",
        "What to ship on each machine",
        "No answer: the run has no cell to judge.",
        "1 in packages",
        "nothing in the machine",
        "1.31.0",
        "mAP50-95 is the same wherever it was measured",
    ):
        assert words in page.text, words
    assert set(page.specs) == {"several"}
    sections = re.findall(r'<section id="(\w+)"', html)
    assert sections == re.findall(r'<a href="#(\w+)"', html)
    assert len([tag for tag, _ in page.elements if tag == "article"]) == 2


def test_runs_of_one_machine_without_latencies(make_run: MakeRun) -> None:
    columns = [RunColumn(name, make_run(finished=None)) for name in ("one", "two")]
    html = several_page.render_several(columns, [], of_machines=False)
    page = Page(html)
    assert "2 runs side by side" in page.text
    assert "The runs have no cells." in page.text
    assert "No latency to plot." in page.text
    assert "This run has no end" in page.text

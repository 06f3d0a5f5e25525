from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from deploymark.bench.records.verdicts import CellVerdict, Gate, Side, write_gate
from deploymark.reports.gate import chart as gate_chart
from deploymark.reports.gate import report as gate_report

MakeGate = Callable[..., Gate]
Cells = dict[str, CellVerdict]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, quick_bundle: type) -> None:
    monkeypatch.setattr(gate_report, "VegaBundle", quick_bundle)


class Page(HTMLParser):
    """Elements and texts of a page as a browser's parser sees them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def spec_of(html: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="spec-forest">(.*?)</script>', html)
    assert found
    spec: dict[str, Any] = json.loads(found[1])
    return spec


def test_report(make_gate: MakeGate) -> None:
    page = Page(gate_report.render_gate_report(make_gate()))
    for words in (
        "1 of 7 cells regressed",
        "bench-01",
        "+3.12 % [+2.02, +4.22]",
        "at most 20 ms",
        "--max-pairs 60 --budget 300",
        "crashed: signal 11",
        "only the baseline has it: no such precision",
        "The governor is powersave.",
        "bootstrap over images",
        "1.31.0 → 1.32.0",
        "/usr/bin/python3.12",
        "that change (95 %)",
    ):
        assert words in page.text
    sections = [attributes.get("id") for tag, attributes in page.elements if tag == "section"]
    assert sections == ["latency", "cells", "open", "checks", "method", "compared"]
    links = {attributes["href"] for tag, attributes in page.elements if tag == "a"}
    assert links == {f"#{name}" for name in sections}


def test_the_page_loads_nothing(make_gate: MakeGate) -> None:
    html = gate_report.render_gate_report(make_gate())
    assert "default-src 'none'" in html
    for tag, attributes in Page(html).elements:
        assert tag not in {"link", "iframe", "object", "embed", "base", "img"}
        assert "src" not in attributes
        assert str(attributes.get("href", "#")).startswith("#")


def test_rows_are_sorted_by_severity(make_gate: MakeGate, gate_cells: Cells) -> None:
    html = gate_report.render_gate_report(make_gate(*gate_cells.values()))
    spec = spec_of(html)
    cells = [row["cell"] for row in spec["datasets"]["cells"]]
    assert cells == ["m-slow", "m-late", "m-unclear", "m-better", "m-same"]
    assert spec["layer"][-1]["encoding"]["y"]["sort"] == cells
    _, rows = gate_report.cell_rows(list(gate_cells.values()))
    assert [row.outcome for row in rows] == list(gate_cells)


def test_rows_of_the_forest(gate_cells: Cells) -> None:
    rows, pairs = gate_chart.forest_rows(list(gate_cells.values()))
    slow = next(row for row in rows if row["cell"] == "m-slow")
    assert slow["change"] == pytest.approx(3.12)
    assert slow["low"] == pytest.approx(2.02)
    assert (slow["band_low"], slow["band"]) == (-1.0, 1.0)
    dots = [pair["pair"] for pair in pairs if pair["cell"] == "m-slow"]
    assert dots == pytest.approx([2.12, 3.12, 4.32])
    low, high = gate_chart.extent(rows, pairs)
    assert low < -21.0
    assert high > max(pair["pair"] for pair in pairs)


def test_an_axis_with_a_far_cell_keeps_room_at_zero(gate_cells: Cells) -> None:
    cell = gate_cells["regressed"]
    far = dataclasses.replace(cell.checks[0], change=4.0, change_low=3.9, change_high=4.1)
    cells = [*gate_cells.values(), dataclasses.replace(cell, cell="far", checks=[far])]
    spec = gate_chart.forest_chart(cells)
    assert spec is not None
    x = spec["layer"][-1]["encoding"]["x"]
    assert x["scale"]["type"] == "symlog"
    low, high = x["scale"]["domain"]
    assert high > 410
    assert all(low <= tick <= high for tick in x["axis"]["values"])
    near = gate_chart.forest_chart(list(gate_cells.values()))
    assert near is not None
    assert "type" not in near["layer"][-1]["encoding"]["x"]["scale"]


def test_without_a_latency_there_is_no_chart(
    make_gate: MakeGate, gate_cells: Cells, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate_report, "VegaBundle", None)
    for gate in (make_gate(gate_cells["failed"]), make_gate(cells=[])):
        html = gate_report.render_gate_report(gate)
        assert "No cell has a change of latency to plot." in html
        assert "application/json" not in html


def test_hostile_names_stay_text(make_gate: MakeGate, gate_cells: Cells, hostile: str) -> None:
    cells = [
        dataclasses.replace(
            cell,
            cell=f"{hostile}{number}",
            baseline_cell=hostile,
            reason=hostile,
            remedy=hostile,
            warnings=[hostile],
            checks=[dataclasses.replace(c, reason=hostile, method=hostile) for c in cell.checks],
        )
        for number, cell in enumerate(gate_cells.values())
    ]
    side = Side(hostile, hostile, python=hostile, packages={hostile: hostile})
    gate = make_gate(
        *cells,
        baseline=side,
        machine={hostile: hostile},
        settings={hostile: hostile},
        unmatched=[{"cell": hostile, "side": hostile, "reason": hostile}],
        warnings=[hostile],
    )
    html = gate_report.render_gate_report(gate)
    assert "<script>alert" not in html
    page = Page(html)
    # the specification, the bundle and the charts' script: no other
    assert sum(tag == "script" for tag, _ in page.elements) == 3
    assert page.text.count(hostile) > 20
    assert spec_of(html)["datasets"]["cells"][0]["cell"].startswith(hostile)


def test_write(make_gate: MakeGate, tmp_path: Path) -> None:
    write_gate(tmp_path, make_gate())
    path = gate_report.write_gate_report(tmp_path)
    assert path == tmp_path / "report.html"
    assert path.read_text(encoding="utf-8") == gate_report.render_gate_report(make_gate())

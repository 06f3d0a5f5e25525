from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from deploymark.bench.records.verdicts import CellVerdict, Gate, Side, write_gate
from deploymark.reports.gate import report as gate_report
from tests.reports.parsed_page import Page, loads_nothing

MakeGate = Callable[..., Gate]
Cells = dict[str, CellVerdict]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, quick_bundle: type) -> None:
    monkeypatch.setattr(gate_report, "VegaBundle", quick_bundle)


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
    assert links == {f"#{name}" for name in ("main", *sections)}


def test_the_page_loads_nothing(make_gate: MakeGate) -> None:
    html = gate_report.render_gate_report(make_gate())
    assert "default-src 'none'" in html
    loads_nothing(Page(html))


def test_rows_are_sorted_by_severity(make_gate: MakeGate, gate_cells: Cells) -> None:
    html = gate_report.render_gate_report(make_gate(*gate_cells.values()))
    spec = Page(html).specs["forest"]
    cells = [row["cell"] for row in spec["datasets"]["cells"]]
    assert cells == ["m-slow", "m-late", "m-unclear", "m-better", "m-same"]
    assert spec["layer"][-1]["encoding"]["y"]["sort"] == cells
    _, rows = gate_report.cell_rows(list(gate_cells.values()))
    assert [row.outcome for row in rows] == list(gate_cells)


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
    # the theme, the specification, the bundle and the charts' script: no other
    assert len(page.scripts) == 4
    assert page.text.count(hostile) > 20
    assert page.specs["forest"]["datasets"]["cells"][0]["cell"].startswith(hostile)


def test_write(make_gate: MakeGate, tmp_path: Path) -> None:
    write_gate(tmp_path, make_gate())
    path = gate_report.write_gate_report(tmp_path)
    assert path == tmp_path / "report.html"
    assert path.read_text(encoding="utf-8") == gate_report.render_gate_report(make_gate())

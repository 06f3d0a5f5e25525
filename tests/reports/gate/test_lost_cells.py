"""A cell that the baseline has and the candidate lost: in bold, and inconclusive."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from deploymark.bench.records.verdicts import CellVerdict, Gate
from deploymark.reports.gate.report import render_gate_report
from deploymark.reports.gate.summary import render_gate_summary
from deploymark.reports.gate.words import lost

MakeGate = Callable[..., Gate]
Cells = dict[str, CellVerdict]

WORDS = "Missing: 1 cell of the baseline, which the candidate has lost: m-gone."


def test_a_lost_cell_is_told_in_bold(make_gate: MakeGate, gate_cells: Cells) -> None:
    gate = make_gate(gate_cells["unchanged"], settings={"allow_missing": False})
    assert lost(gate) == WORDS
    assert "\n**Missing: 1 cell of the baseline" in render_gate_summary(gate)
    assert f"<strong>{WORDS}</strong>" in render_gate_report(gate)


@pytest.mark.parametrize("settings", [{"allow_missing": True}, {}])
def test_where_it_is_allowed_nothing_is_bold(
    make_gate: MakeGate, gate_cells: Cells, settings: dict[str, bool]
) -> None:
    assert not lost(make_gate(gate_cells["unchanged"], settings=settings))


def test_many_lost_cells_are_counted(make_gate: MakeGate, gate_cells: Cells) -> None:
    entries = [{"cell": f"m-{n}", "side": "baseline", "reason": ""} for n in range(5)]
    entries.append({"cell": "m-new", "side": "candidate", "reason": ""})
    settings = {"allow_missing": False}
    gate = make_gate(gate_cells["unchanged"], settings=settings, unmatched=entries)
    assert "5 cells" in lost(gate)
    assert "m-0, m-1, m-2 and 2 more" in lost(gate)
    assert "m-new" not in lost(gate)

from __future__ import annotations

import dataclasses

import pytest

from deploymark.bench.records.verdicts import CellVerdict
from deploymark.reports.gate import chart as gate_chart

Cells = dict[str, CellVerdict]


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

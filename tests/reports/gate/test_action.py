from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from deploymark.bench.records.verdicts import CellVerdict, Check, Gate, write_gate
from deploymark.reports.gate.action import action_entries, write_action_json

MakeGate = Callable[..., Gate]
Cells = dict[str, CellVerdict]


def test_figures_of_the_candidate_in_the_form_of_the_action(
    make_gate: MakeGate, gate_cells: Cells
) -> None:
    entries = action_entries(make_gate(gate_cells["regressed"]))
    by_name = {entry["name"]: entry for entry in entries}
    assert list(by_name) == ["m-slow: latency p50", "m-slow: 1 - mAP50-95", "m-slow: artifact"]
    latency = by_name["m-slow: latency p50"]
    assert set(latency) == {"name", "unit", "value", "range", "extra"}
    assert latency["unit"] == "ms"
    assert latency["value"] == pytest.approx(12.3 * 1.0312, rel=1e-5)
    # half of the interval, 1.1 % of the baseline
    assert latency["range"] == "± 0.135"
    assert "regressed" in latency["extra"]
    assert by_name["m-slow: artifact"]["value"] == 10.0
    assert by_name["m-slow: artifact"]["unit"] == "MiB"
    assert "range" not in by_name["m-slow: artifact"]


def test_smaller_is_better_in_each_entry(make_gate: MakeGate, gate_cells: Cells) -> None:
    better = Check("map50_95", "change", "improved", baseline=0.4, candidate=0.42, change=0.02)
    fast = Check("throughput_ips", "budget", "unchanged", candidate=80.0, limit=60.0, bound="min")
    cell = dataclasses.replace(gate_cells["unchanged"], checks=[better, fast])
    (entry,) = action_entries(make_gate(cell))
    assert entry["value"] == pytest.approx(0.58)


def test_one_entry_for_a_figure_with_a_change_and_a_budget(
    make_gate: MakeGate, gate_cells: Cells
) -> None:
    cell = gate_cells["unchanged"]
    budget = Check("latency_p50_ms", "budget", "unchanged", candidate=99.0, limit=100.0)
    cell = dataclasses.replace(cell, checks=[budget, *cell.checks])
    names = [entry["name"] for entry in action_entries(make_gate(cell))]
    assert len(names) == len(set(names))
    assert action_entries(make_gate(cell))[0]["value"] == pytest.approx(12.3123)


def test_a_figure_that_is_not_there_is_no_entry(make_gate: MakeGate, gate_cells: Cells) -> None:
    none = Check("latency_p50_ms", "change", "inconclusive", baseline=12.0)
    cell = dataclasses.replace(gate_cells["failed"], checks=[none])
    assert action_entries(make_gate(cell)) == []


def test_write(make_gate: MakeGate, tmp_path: Path) -> None:
    write_gate(tmp_path, make_gate())
    path = write_action_json(tmp_path)
    assert path == tmp_path / "benchmark-action.json"
    assert json.loads(path.read_text(encoding="utf-8")) == action_entries(make_gate())

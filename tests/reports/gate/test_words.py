from __future__ import annotations

import dataclasses
from collections.abc import Callable

from deploymark.bench.records.verdicts import CellVerdict, Check, Gate
from deploymark.reports.gate import words as gate_words
from deploymark.reports.page import figure_words

Cells = dict[str, CellVerdict]


def test_each_way_to_end_has_its_outcome(gate_cells: Cells) -> None:
    assert {name: gate_words.outcome(cell) for name, cell in gate_cells.items()} == {
        name: name for name in gate_words.OUTCOMES
    }


def test_what_needs_a_reader_comes_first(gate_cells: Cells) -> None:
    cells = list(gate_cells.values())
    check = cells[-1].checks[0]
    worse = dataclasses.replace(check, change=0.5)
    cells.append(dataclasses.replace(cells[-1], cell="worst", checks=[worse]))
    ordered = gate_words.by_severity(cells)
    assert [cell.cell for cell in ordered[:2]] == ["worst", "m-slow"]
    outcomes = [gate_words.outcome(cell) for cell in ordered[1:]]
    assert outcomes == list(gate_words.OUTCOMES)


def test_headline(make_gate: Callable[..., Gate], gate_cells: Cells) -> None:
    assert gate_words.headline(make_gate()) == (
        "1 of 7 cells regressed (m-slow: latency p50 +3.12 %, mAP50-95 \N{MINUS SIGN}0.021); "
        "1 exceeds a budget (m-late: latency p95 21.3 ms, at most 20 ms); "
        "1 failed (m-broken: crashed); 1 is inconclusive; 1 could not be compared; "
        "1 improved; 1 is unchanged."
    )
    same = gate_cells["unchanged"]
    assert gate_words.headline(make_gate(same)) == "The one cell is unchanged."
    assert gate_words.headline(make_gate(same, same)) == "All 2 cells are unchanged."
    assert gate_words.headline(make_gate(cells=[])) == "No cell was compared."
    many = gate_words.headline(make_gate(*[gate_cells["failed"]] * 5))
    assert many.startswith("All 5 cells failed (m-broken: crashed; ")
    assert many.endswith("; 2 more).")


def test_changes_are_in_percent_or_differences() -> None:
    slower = Check(
        "latency_p50_ms",
        "change",
        "regressed",
        baseline=10.0,
        candidate=10.5,
        change=0.05,
        change_low=0.04,
        change_high=0.06,
        threshold=0.01,
    )
    assert gate_words.sentence(slower) == ("latency p50 10.0 → 10.5 ms, +5.00 % [+4.00, +6.00]")
    assert gate_words.limit(slower) == "±1 %"
    drop = dataclasses.replace(
        slower, figure="map50_95", relative=False, change=-0.02, change_low=None
    )
    assert gate_words.change_words(drop) == "\N{MINUS SIGN}0.020"
    assert gate_words.limit(drop) == "±0.01"


def test_sizes_are_in_the_unit_they_are_shown_in() -> None:
    check = Check("artifact_bytes", "budget", "regressed", candidate=3 << 20, limit=2 << 20)
    assert gate_words.sentence(check) == "artifact 3.00 MiB, at most 2 MiB"
    assert figure_words.amount("a_new_figure", 1234.5) == "1234"
    assert figure_words.title("a_new_figure") == "a_new_figure"
    assert figure_words.amount("latency_p50_ms", None) == "–"  # noqa: RUF001 - the dash
    close = Check("latency_p50_ms", "change", "unchanged", baseline=12.31, candidate=12.3142)
    assert gate_words.from_to(close) == "12.310 → 12.314 ms"
    same = Check("artifact_bytes", "change", "unchanged", baseline=1 << 20, candidate=1 << 20)
    assert gate_words.from_to(same) == "1.00 MiB"
    exact = dataclasses.replace(same, change=0.0, change_low=0.0, change_high=0.0)
    assert gate_words.change_words(exact) == "0.00 %"


def test_pairs_needed_come_with_their_time(gate_cells: Cells) -> None:
    cell = gate_cells["inconclusive"]
    latency, size = cell.checks
    assert gate_words.pairs_to_decide(cell, latency) == (
        "About 40 pairs would decide it, 12 were measured (some 205 s at the pace of this run)."
    )
    assert not gate_words.pairs_to_decide(cell, size)


def test_the_remedy_of_a_cell_is_about_its_latency(gate_cells: Cells) -> None:
    cell = gate_cells["inconclusive"]
    latency, size = cell.checks
    assert gate_words.remedy(cell, latency) == "--max-pairs 60 --budget 300"
    assert not gate_words.remedy(cell, size)
    silent = dataclasses.replace(cell, remedy="")
    assert gate_words.remedy(silent, latency).startswith("About 40 pairs")
    # the latency is decided: what is open is the score
    score = dataclasses.replace(size, figure="map50_95", verdict="inconclusive")
    decided = dataclasses.replace(latency, verdict="unchanged")
    other = dataclasses.replace(cell, checks=[decided, score], remedy="Score on more images.")
    assert gate_words.remedy(other, score) == "Score on more images."


def test_who_could_not_be_measured_matters(gate_cells: Cells) -> None:
    absent = gate_cells["not compared"]
    assert gate_words.outcome(absent) == "not compared"
    assert gate_words.outcome(dataclasses.replace(absent, verdict="regressed")) == "failed"
    broken = dataclasses.replace(gate_cells["failed"], verdict="inconclusive")
    assert gate_words.outcome(broken) == "not compared"


def test_packages_that_differ(make_gate: Callable[..., Gate]) -> None:
    assert gate_words.package_differences(make_gate()) == [("onnxruntime", "1.31.0", "1.32.0")]


def test_methods_name_their_figures(gate_cells: Cells) -> None:
    assert gate_words.methods(list(gate_cells.values())) == [
        ("latency p50", "paired t interval of the log-ratios"),
        ("artifact", "exact"),
        ("mAP50-95", "bootstrap over images"),
    ]

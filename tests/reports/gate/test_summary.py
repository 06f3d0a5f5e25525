from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from deploymark.bench.errors import BadInputError
from deploymark.bench.records.verdicts import CellVerdict, Gate, Side, write_gate
from deploymark.reports.gate.summary import MOST_LINES, render_gate_summary, write_gate_summary

MakeGate = Callable[..., Gate]
Cells = dict[str, CellVerdict]


def test_summary(make_gate: MakeGate) -> None:
    text = render_gate_summary(make_gate())
    assert text.startswith("# Deploymark gate: regressed\n\n1 of 7 cells regressed (m-slow: ")
    assert (
        "| `m-slow` | ❌ regressed | 12.3 → 12.7 | +3.12 % \\[+2.02, +4.22\\] | 12 | 10.0 "
        "| 0.412 → 0.391 (\N{MINUS SIGN}0.021) **regressed** |"
    ) in text
    assert "| `m-broken` | ❌ failed (crashed) |" in text
    assert "latency p50, ms | change | pairs | artifact, MiB | mAP50-95 |" in text
    for words in (
        "<summary>Budgets exceeded</summary>\n\n- `m-late`: latency p95 21.3 ms, at most 20 ms\n",
        "\n- `m-unclear`: latency p50 12.3 → 12.4 ms, +0.80 %",
        "→ --max-pairs 60 --budget 300",
        "- `m-broken`: **crashed**: signal 11 → See its log.",
        "- `m-gone`: only the baseline has it: no such precision",
        "- Baseline: run `results/old`",
        "interpreter `/usr/bin/python3.12`, commit `0123456789ab`",
        "`onnxruntime` 1.31.0 → 1.32.0",
        "Machine: bench-01 · A CPU · 2 logical cores",
        "took 8 min 12 s",
        "- mAP50-95: bootstrap over images",
        "- The governor is powersave.",
        "- 2 pairs were disturbed (`m-slow`)",
    ):
        assert words in text


def test_a_gate_where_all_is_well_says_little(make_gate: MakeGate, gate_cells: Cells) -> None:
    side = Side("m.pt", "model", packages={"a": "1"})
    gate = make_gate(
        gate_cells["unchanged"],
        verdict="unchanged",
        unmatched=[],
        warnings=[],
        baseline=side,
        candidate=side,
    )
    text = render_gate_summary(gate)
    assert text.startswith("# Deploymark gate: unchanged\n\nThe one cell is unchanged.\n")
    assert "<details>" not in text  # it is short
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert headings == ["What was compared", "How it was decided"]
    assert "The same package versions on both sides" in text


def test_without_cells_there_is_no_table(make_gate: MakeGate) -> None:
    text = render_gate_summary(make_gate(cells=[], verdict="unchanged"))
    assert "No cell was compared." in text
    assert "|" not in text


def test_hostile_names_stay_text(make_gate: MakeGate, gate_cells: Cells, hostile: str) -> None:
    named = {"cell": f"{hostile}\nsecond", "reason": hostile, "remedy": hostile}
    cells = [
        dataclasses.replace(cell, **named, warnings=[hostile], status=status)
        for cell in gate_cells.values()
        for status in (cell.status, "crashed")
    ]
    side = Side(hostile, hostile, python=hostile, packages={hostile: hostile})
    gate = make_gate(
        *cells,
        baseline=side,
        machine={"host": hostile},
        unmatched=[{"cell": hostile, "side": hostile, "reason": hostile}],
        warnings=[hostile],
    )
    text = render_gate_summary(gate)
    outside = re.sub(r"`[^`]*`", "", text.replace("\\`", ""))
    assert not re.search(r"<(?!/?(details|summary)>)", outside)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1
    assert len(rows) == len(cells) + 2


def test_what_a_reviewer_needs_stands_before_the_first_fold(
    make_gate: MakeGate, gate_cells: Cells
) -> None:
    for times in (1, 2, 30):
        text = render_gate_summary(make_gate(*[*gate_cells.values()] * times))
        assert text.count("<details>") == text.count("</details>") > 1
        top, _, _ = text.partition("\n<details>")
        assert len(top.splitlines()) <= MOST_LINES


def test_a_job_page_has_room_for_it(make_gate: MakeGate, gate_cells: Cells) -> None:
    cells = [
        dataclasses.replace(gate_cells["regressed"], cell=f"model-{'x' * 60}-{number}")
        for number in range(3000)
    ]
    text = render_gate_summary(make_gate(*cells))
    assert "2600 more cells are in `gate.json` and the report." in text
    undecided = render_gate_summary(make_gate(*[gate_cells["inconclusive"]] * 3000))
    assert "- 2600 more are in `gate.json` and the report." in undecided
    assert max(len(each.encode()) for each in (text, undecided)) < 1 << 20


def test_write(make_gate: MakeGate, tmp_path: Path) -> None:
    write_gate(tmp_path, make_gate())
    path = write_gate_summary(tmp_path)
    assert path == tmp_path / "summary.md"
    assert path.read_text(encoding="utf-8") == render_gate_summary(make_gate())
    with pytest.raises(BadInputError, match=r"gate\.json"):
        write_gate_summary(tmp_path / "none")

"""``benchmark-action.json`` of a gate: the candidate's figures for github-action-benchmark.

Its tool ``customSmallerIsBetter`` takes a list of ``{name, unit, value, range, extra}`` with
``range`` and ``extra`` free texts (benchmark-action/github-action-benchmark, ``src/extract.ts``).
An average precision is better the bigger it is, so 1 - AP stands for it; throughput, which the
latency tells already, is left out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deploymark.bench.records.files import dump_json, write_text_atomically
from deploymark.bench.records.verdicts import ACTION_FILE, CellVerdict, Check, Gate, load_gate
from deploymark.reports.gate import words as gate_words
from deploymark.reports.page import facts, figure_words, figures
from deploymark.reports.page.tables import BY_KEY

_LEFT_OUT = frozenset({"throughput_ips"})
_PRECISIONS = frozenset({"map50_95", "map50"})


def _half_width(check: Check) -> float | None:
    """Half the interval of the change, in the figure's own unit; None where there is none."""
    low, high = figures.measured(check.change_low), figures.measured(check.change_high)
    if low is None or high is None or low == high:
        return None
    scale = figures.measured(check.baseline) if check.relative else 1.0
    return None if scale is None else abs(high - low) / 2 * abs(scale)


def _extra(gate: Gate, cell: CellVerdict, check: Check) -> str:
    """What the tooltip of the chart says: the change, its verdict, and on what."""
    lines = [f"{check.figure} of {cell.candidate_cell or cell.cell}"]
    if check.kind == "change":
        lines.append(f"{gate_words.change_words(check)} against the baseline: {check.verdict}")
        if _half_width(check) is not None:
            share = "" if check.confidence is None else f"{100 * check.confidence:.4g} % "
            lines.append(f"range: {share}interval of that change")
    else:
        lines.append(f"{gate_words.limit(check)}: {gate_words.check_outcome(check)}")
    lines.append(facts.machine_line(gate.machine))
    return "\n".join(lines)


def _entry(gate: Gate, cell: CellVerdict, check: Check, value: float) -> dict[str, Any]:
    precision = check.figure in _PRECISIONS
    column = BY_KEY.get(check.figure)
    scale = column.scale if column else 1.0
    title = figure_words.title(check.figure)
    entry = {
        "name": f"{cell.cell}: {f'1 - {title}' if precision else title}",
        "unit": "1 - AP" if precision else figure_words.unit(check.figure) or "-",
        "value": float(f"{1 - value if precision else value * scale:.6g}"),
    }
    half = _half_width(check)
    if half is not None:
        entry["range"] = f"± {figures.significant(half * scale)}"
    return entry | {"extra": _extra(gate, cell, check)}


def action_entries(gate: Gate) -> list[dict[str, Any]]:
    """One entry for each figure of each cell that the candidate has, by the check of its change.

    Names are of the cell and the figure alone, as the action finds a figure's history by its name.
    """
    entries = []
    for cell in gate.cells:
        seen: set[str] = set(_LEFT_OUT)
        for check in sorted(cell.checks, key=lambda check: check.kind != "change"):
            value = figures.measured(check.candidate)
            if value is not None and check.figure not in seen:
                seen.add(check.figure)
                entries.append(_entry(gate, cell, check, value))
    return entries


def write_action_json(folder: Path) -> Path:
    """Read ``gate.json`` in ``folder`` and write ``benchmark-action.json``; returns its path.

    Raises BadInputError where there is none.
    """
    path = folder / ACTION_FILE
    write_text_atomically(path, dump_json(action_entries(load_gate(folder))) + "\n")
    return path

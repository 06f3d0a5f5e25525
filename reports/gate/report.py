"""``report.html`` of a gate: verdicts, what they rest on and how they were made, on one page."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deploymark.bench.records.files import write_text_atomically
from deploymark.bench.records.run import REPORT_FILE
from deploymark.bench.records.verdicts import CellVerdict, Check, Gate, load_gate
from deploymark.reports.gate import words as gate_words
from deploymark.reports.gate.chart import SQUEEZED_FROM_PERCENT, extent, forest_chart, forest_rows
from deploymark.reports.page import facts, figure_words, figures
from deploymark.reports.page.page import page_environment
from deploymark.reports.page.tables import Field, no_figure
from deploymark.reports.page.vega import VegaBundle


@dataclasses.dataclass(frozen=True)
class CellRow:
    """A row of the table of cells. ``why`` and ``title`` are shown on pointing."""

    cell: str
    title: str
    outcome: str
    why: str
    fields: tuple[Field, ...]


@dataclasses.dataclass(frozen=True)
class CheckRow:
    """A row of the table of checks: texts ready to show."""

    cell: str
    figure: str
    outcome: str
    values: str
    change: str
    limit: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Attention:
    """What is not well with a cell, and what would mend it (may be empty)."""

    state: str
    text: str
    remedy: str
    cell: str


_NOT_JUDGED = no_figure("not judged")


def _field(check: Check | None) -> Field:
    """The values of both sides, and their change beside them."""
    if check is None:
        return _NOT_JUDGED
    same = check.baseline is not None and check.baseline == check.candidate
    extra = "" if same else gate_words.change_words(check)
    if check.verdict != "unchanged":
        extra = f"{extra} {check.verdict}".lstrip()
    title = check.reason or gate_words.limit(check)
    return Field(gate_words.from_to(check, with_unit=False), title=title, extra=extra)


def _pairs(cell: CellVerdict) -> Field:
    if not cell.pairs and not cell.disturbed_pairs:
        return _NOT_JUDGED
    extra = f"{cell.disturbed_pairs} disturbed" if cell.disturbed_pairs else ""
    return Field(str(cell.pairs), extra=extra, title=f"{figures.significant(cell.seconds)} s")


def _sides_of(cell: CellVerdict) -> str:
    """The ids on either side, where they are not that of the comparison."""
    names = (("baseline", cell.baseline_cell), ("candidate", cell.candidate_cell))
    return ", ".join(f"{side} {name}" for side, name in names if name and name != cell.cell)


def cell_rows(cells: Sequence[CellVerdict]) -> tuple[list[tuple[str, str]], list[CellRow]]:
    """(title, unit) of the columns behind cell and verdict, and the rows in the order of cells."""
    changed = gate_words.changed_figures(cells)
    columns = [(figure_words.title(figure), figure_words.unit(figure)) for figure in changed]
    rows = []
    for cell in cells:
        fields = [_field(gate_words.change_of(cell, figure)) for figure in changed]
        found = gate_words.outcome(cell)
        row = CellRow(cell.cell, _sides_of(cell), found, cell.reason, (*fields, _pairs(cell)))
        rows.append(row)
    return [*columns, ("pairs", "")], rows


def check_rows(cells: Sequence[CellVerdict]) -> list[CheckRow]:
    """All checks of all cells, in their order."""
    return [
        CheckRow(
            cell.cell,
            figure_words.title(check.figure),
            gate_words.check_outcome(check),
            gate_words.from_to(check)
            if check.kind == "change"
            else figure_words.amount(check.figure, check.candidate),
            gate_words.change_words(check),
            gate_words.limit(check),
            check.reason,
        )
        for cell in cells
        for check in cell.checks
    ]


def attention(gate: Gate, cells: Sequence[CellVerdict]) -> list[Attention]:
    """Budgets exceeded, checks undecided, cells not compared, and cells of one side alone."""
    found = [
        Attention("over budget", gate_words.sentence(check), check.reason, cell.cell)
        for cell, check in gate_words.exceeded(cells)
    ]
    for cell, check in gate_words.undecided(cells):
        text = "; ".join(part for part in (gate_words.sentence(check), check.reason) if part)
        found.append(Attention("inconclusive", text, gate_words.remedy(cell, check), cell.cell))
    for cell in cells:
        if cell.status != "ok":
            text = f"{cell.status}: {cell.reason or 'no reason was recorded'}"
            found.append(Attention(gate_words.outcome(cell), text, cell.remedy, cell.cell))
    for entry in gate.unmatched:
        name, why = gate_words.unmatched_words(entry)
        found.append(Attention("unmatched", why, "", name))
    return found


def _confidence(cells: Sequence[CellVerdict]) -> str:
    """How sure the intervals are, where all are alike."""
    latencies = (gate_words.change_of(cell, gate_words.LATENCY) for cell in cells)
    found = {check.confidence for check in latencies if check is not None}
    known = [value for value in found if value is not None]
    return f" ({100 * known[0]:.4g} %)" if len(found) == len(known) == 1 else ""


def _context(gate: Gate) -> dict[str, Any]:
    cells = gate_words.by_severity(gate.cells)
    columns, rows = cell_rows(cells)
    drawn, pairs = forest_rows(cells)
    low, high = extent(drawn, pairs)
    headline = [
        facts.Fact("cells", str(len(cells))),
        facts.Fact("started", figures.moment(gate.started)),
        facts.Fact("took", figures.duration(gate.started, gate.finished) or figures.ABSENT),
        facts.Fact("baseline", gate.baseline.reference),
        facts.Fact("candidate", gate.candidate.reference),
        facts.Fact("Deploymark", gate.deploymark_version),
    ]
    return {
        "gate": gate,
        "sentence": gate_words.headline(gate),
        "lost": gate_words.lost(gate),
        "machine_line": facts.machine_line(gate.machine),
        "facts": [fact for fact in headline if fact.text],
        "counts": gate_words.counts(cells),
        "confidence": _confidence(cells),
        "squeezed": max(-low, high) > SQUEEZED_FROM_PERCENT,
        "columns": columns,
        "rows": rows,
        "attention": attention(gate, cells),
        "warnings": gate_words.warnings(gate),
        "checks": check_rows(cells),
        "methods": gate_words.methods(cells),
        "settings": facts.nested_facts(gate.settings),
        "sides": [
            ("Baseline", gate_words.side_words(gate.baseline)),
            ("Candidate", gate_words.side_words(gate.candidate)),
        ],
        "packages": [
            (name, f"{before} {gate_words.ARROW} {after}")
            for name, before, after in gate_words.package_differences(gate)
        ],
        "machine": facts.nested_facts(gate.machine),
    }


def render_gate_report(gate: Gate) -> str:
    """The whole page as HTML. It holds all it needs, and forbids itself to load anything.

    Raises DeploymarkError where vl-convert cannot bundle the chart's libraries.
    """
    page = page_environment().get_template("gate.html")
    cells = gate_words.by_severity(gate.cells)
    if not forest_rows(cells)[0]:
        return page.render(_context(gate), charts={"forest": None}, library="")
    with VegaBundle() as bundle:
        charts = {"forest": forest_chart(cells)}
        context = _context(gate)
        library = bundle.script()
    return page.render(context, charts=charts, library=library)


def write_gate_report(folder: Path) -> Path:
    """Read ``gate.json`` in ``folder`` and write ``report.html`` beside it; returns its path.

    Raises BadInputError where there is none.
    """
    path = folder / REPORT_FILE
    write_text_atomically(path, render_gate_report(load_gate(folder)))
    return path

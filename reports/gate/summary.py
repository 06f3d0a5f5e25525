"""``summary.md`` of a gate: GitHub-flavoured Markdown for the page of a CI job.

Written for ``$GITHUB_STEP_SUMMARY``, which takes 1 MiB a step
(docs.github.com, "Workflow commands for GitHub Actions", adding a job summary).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from deploymark.bench.records.files import write_text_atomically
from deploymark.bench.records.run import SUMMARY_FILE
from deploymark.bench.records.verdicts import CellVerdict, Gate, Side, load_gate
from deploymark.reports.gate import words as gate_words
from deploymark.reports.page import facts, figure_words, figures
from deploymark.reports.page.markdown import code, escape, folds, table
from deploymark.reports.page.plain_text import shortened

MARKS: dict[gate_words.Outcome, str] = {
    "regressed": "❌",
    "over budget": "❌",
    "failed": "❌",
    "inconclusive": "⚠️",
    "not compared": "➖",  # noqa: RUF001 - a mark
    "improved": "✅",
    "unchanged": "✅",
}

_LEGEND = (
    "A change is candidate over baseline, with its interval; that of an mAP is the difference. "
    "Less than zero is faster, smaller, or less accurate."
)

_CELLS_NAMED = 5
"""Cells named with one warning; the report names them all."""

MOST_LINES = 25
"""Lines before the first fold."""

_FIRST_ROWS = 14
"""Rows of the table before the first fold, the worst verdicts first."""

_LONGEST_HEADLINE = 600

_MOST_ROWS = 400
"""Rows of the table: a row takes some 400 bytes, and a job's page has room for 1 MiB."""


def _marked(cell: CellVerdict) -> str:
    found = gate_words.outcome(cell)
    status = f" ({escape(cell.status)})" if cell.status != "ok" else ""
    return f"{MARKS[found]} {found}{status}"


def _heading(figure: str) -> str:
    unit = figure_words.unit(figure)
    return escape(f"{figure_words.title(figure)}, {unit}" if unit else figure_words.title(figure))


def _figure(cell: CellVerdict, figure: str) -> str:
    """The values of both sides and their change, marked where that is more than unchanged."""
    check = gate_words.change_of(cell, figure)
    if check is None:
        return figures.ABSENT
    text = gate_words.from_to(check, with_unit=False)
    if check.baseline != check.candidate:
        text += f" ({gate_words.change(check)})"
    return escape(text) if check.verdict == "unchanged" else f"{escape(text)} **{check.verdict}**"


def _table(cells: Sequence[CellVerdict]) -> list[str]:
    changed = gate_words.changed_figures(cells)
    others = [figure for figure in changed if figure != gate_words.LATENCY]
    latency = gate_words.LATENCY in changed
    headings = ["cell", "verdict"]
    if latency:
        headings += [_heading(gate_words.LATENCY), "change", "pairs"]
    headings += [_heading(figure) for figure in others]
    rows = []
    for cell in cells[:_MOST_ROWS]:
        row = [code(cell.cell), _marked(cell)]
        if latency:
            check = gate_words.change_of(cell, gate_words.LATENCY)
            values = figures.ABSENT
            if check is not None:
                values = gate_words.from_to(check, with_unit=False)
            words = figures.ABSENT if check is None else gate_words.change_words(check)
            row += [escape(values), escape(words), str(cell.pairs) if check else figures.ABSENT]
        rows.append(row + [_figure(cell, figure) for figure in others])
    lines = table(headings, rows, numeric=[False, False] + [True] * (len(headings) - 2))
    if len(cells) > _MOST_ROWS:
        lines += ["", f"{len(cells) - _MOST_ROWS} more cells are in `gate.json` and the report."]
    return lines


def _section(title: str, lines: Sequence[str]) -> list[str]:
    shown = [f"- {line}" for line in lines[:_MOST_ROWS]]
    if len(lines) > _MOST_ROWS:
        shown.append(f"- {len(lines) - _MOST_ROWS} more are in `gate.json` and the report.")
    return ["", f"## {title}", "", *shown] if shown else []


def _exceeded(cells: Sequence[CellVerdict]) -> list[str]:
    return [
        f"{code(cell.cell)}: {escape(gate_words.sentence(check))}"
        for cell, check in gate_words.exceeded(cells)
    ]


def _remedy(text: str) -> str:
    return f" → {escape(text)}" if text else ""


def _undecided(cells: Sequence[CellVerdict]) -> list[str]:
    lines = []
    for cell, check in gate_words.undecided(cells):
        text = "; ".join(part for part in (gate_words.sentence(check), check.reason) if part)
        remedy = _remedy(gate_words.remedy(cell, check))
        lines.append(f"{code(cell.cell)}: {escape(text)}{remedy}")
    return lines


def _not_compared(gate: Gate) -> list[str]:
    lines = []
    for cell in gate.cells:
        if cell.status != "ok":
            reason = escape(cell.reason or "no reason was recorded")
            lines.append(
                f"{code(cell.cell)}: **{escape(cell.status)}**: {reason}{_remedy(cell.remedy)}"
            )
    for entry in gate.unmatched:
        name, why = gate_words.unmatched_words(entry)
        lines.append(f"{code(name)}: {escape(why)}")
    return lines


def _warnings(gate: Gate) -> list[str]:
    lines = []
    for text, cells in gate_words.warnings(gate):
        names = ", ".join(code(cell) for cell in cells[:_CELLS_NAMED])
        more = f" and {len(cells) - _CELLS_NAMED} more" if len(cells) > _CELLS_NAMED else ""
        lines.append(escape(text) + (f" ({names}{more})" if cells else ""))
    return lines


def _side(name: str, side: Side) -> str:
    words = dict(gate_words.side_words(side))
    text = f"{name}: {escape(side.kind)} {code(side.reference)}"
    if "interpreter" in words:
        text += f", interpreter {code(words['interpreter'])}"
    return text + (f", commit {code(words['commit'])}" if "commit" in words else "")


def _compared(gate: Gate) -> list[str]:
    lines = [_side("Baseline", gate.baseline), _side("Candidate", gate.candidate)]
    differences = gate_words.package_differences(gate)
    if differences:
        texts = [f"{code(name)} {escape(a)} → {escape(b)}" for name, a, b in differences]
        lines.append(f"Package versions that differ: {', '.join(texts)}")
    elif gate.baseline.packages and gate.candidate.packages:
        lines.append("The same package versions on both sides")
    lines.append(f"Machine: {escape(facts.machine_line(gate.machine))}")
    took = figures.duration(gate.started, gate.finished)
    lines.append(f"{escape(figures.moment(gate.started))}{f', took {took}' if took else ''}")
    return lines


def render_gate_summary(gate: Gate) -> str:
    """Verdict and table of cells; what exceeds a budget, is undecided, and was compared below.

    What does not fit into ``MOST_LINES`` lines is in folds.
    """
    cells = gate_words.by_severity(gate.cells)
    headline = shortened(gate_words.headline(gate), _LONGEST_HEADLINE)
    lines = [f"# Deploymark gate: {escape(gate.verdict)}", "", escape(headline)]
    if lost := shortened(gate_words.lost(gate), _LONGEST_HEADLINE):
        lines += ["", f"**{escape(lost)}**"]
    rows = _table(cells) if cells else []
    decided = [f"{escape(names)}: {escape(how)}" for names, how in gate_words.methods(cells)]
    sections = [
        *_section("Budgets exceeded", _exceeded(cells)),
        *_section("Inconclusive", _undecided(cells)),
        *_section("Not compared", _not_compared(gate)),
        *_section("What was compared", _compared(gate)),
        *_section("How it was decided", decided),
        *_section("Warnings", _warnings(gate)),
    ]
    legend = ["", _LEGEND] if rows else []
    whole = [*lines, *([""] if rows else []), *rows, *legend, *sections]
    if len(whole) <= MOST_LINES:
        return "\n".join(whole) + "\n"
    if len(cells) > _FIRST_ROWS:
        sections = ["", f"## All {len(cells)} cells", "", *rows, *sections]
        rows = _table(cells[:_FIRST_ROWS])
    lines += ["", *rows, *legend] if rows else []
    return "\n".join([*lines, *(line for part in folds(sections) for line in part)]) + "\n"


def write_gate_summary(folder: Path) -> Path:
    """Read ``gate.json`` in ``folder`` and write ``summary.md`` beside it; returns its path.

    Raises BadInputError where there is none.
    """
    path = folder / SUMMARY_FILE
    write_text_atomically(path, render_gate_summary(load_gate(folder)))
    return path

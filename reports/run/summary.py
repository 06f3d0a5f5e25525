"""``summary.md``: a run in GitHub-flavoured Markdown, for a pull request or a CI job's page.

What a reviewer needs stands before the first fold (``summary_top``), the rest is folded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deploymark.bench.records.answer import read_answer
from deploymark.bench.records.files import write_text_atomically
from deploymark.bench.records.machines import title
from deploymark.bench.records.run import SUMMARY_FILE, CellResult, Run, load_run
from deploymark.reports.page import facts, figures, tables
from deploymark.reports.page.markdown import code, escape, fitting, folds, table
from deploymark.reports.page.plain_text import shortened
from deploymark.reports.run import outcomes
from deploymark.reports.run.answer import answer_view
from deploymark.reports.run.census import census_views
from deploymark.reports.run.scenarios import scenario_lines
from deploymark.reports.run.summary_top import summary_top
from deploymark.reports.run.summary_variants import variant_lines

_KEYS = (
    "cell",
    "status",
    "latency_p50_ms",
    "latency_p95_ms",
    "e2e_p50_ms",
    "throughput_ips",
    "peak_rss_bytes",
    "min_memory_mb",
    "artifact_bytes",
    "map50_95",
    "agreement",
    "score_drift",
    "energy_j_per_image",
)
_MOST_ROWS = 150
"""Rows of the table of cells."""

_LONGEST_TEXT, _LONGEST_NAME = 1000, 160
"""Characters of a text in a fold, and of a name."""

MOST_CHARACTERS = 60_000
"""GitHub takes 65,536 in the body of a comment."""

_CELLS_NAMED = 5
"""Cells listed by name under one cause; the report has them all."""


def _heading(column: tables.Column) -> str:
    return f"{column.title}, {column.unit}" if column.unit else column.title


def _table(cells: Sequence[CellResult]) -> list[str]:
    shown = tables.shown_columns(cells)
    columns = [tables.BY_KEY[key] for key in _KEYS if shown[key]]
    rows = []
    for cell in cells:
        fields = [tables.field(cell, column) for column in columns]
        texts = [_told(f"{item.text} {item.extra}".rstrip()) for item in fields[1:]]
        rows.append([code(shortened(fields[0].text, _LONGEST_NAME)), *texts])
    headings = [escape(_heading(column)) for column in columns]
    return table(headings, rows, numeric=[column.numeric for column in columns])


def _named(cells: Sequence[str]) -> str:
    names = ", ".join(code(shortened(cell, _LONGEST_NAME)) for cell in cells[:_CELLS_NAMED])
    more = len(cells) - _CELLS_NAMED
    return f"{names} and {more} more" if more > 0 else names


def _causes(title: str, causes: Sequence[outcomes.Cause]) -> list[str]:
    if not causes:
        return []
    lines = ["", f"## {title}", ""]
    for cause in causes:
        label = "" if cause.status in {"warning", "disturbed"} else f"**{escape(cause.status)}**: "
        lines.append(f"- {label}{_told(cause.reason)}  ")
        if cause.remedy:
            lines.append(f"  Remedy: {_told(cause.remedy)}  ")
        lines.append(f"  {figures.plural(len(cause.cells), 'cell')}: {_named(cause.cells)}")
    return lines


def _data(datasets: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the data sets consist of, and what of them was left out."""
    views = [view for view in census_views(datasets) if view.lines]
    if not views:
        return []
    lines = ["", "## Data", ""]
    for view in views:
        lines += [f"- {_told(view.model)}: {_told(line)}" for line in view.lines]
        lines += [f"  - {_told(fault)}" for fault in view.faults]
    return lines


def _answer(run: Run) -> list[str]:
    """All that is told of the answer; nothing where the run has none."""
    answer = read_answer(run.folder)
    if answer is None:
        return []
    view = answer_view(answer)
    told = [*view.evidence, view.asked, *view.notes]
    if view.needed:
        told.insert(0, f"{view.needed} {view.command}".rstrip())
    lines = ["", "## The answer and its evidence", "", f"**{_told(view.headline)}**", ""]
    lines += [f"- {_told(text)}" for text in told]
    for heading, groups in (
        ("What came next", view.runners_up),
        ("What was not considered", view.not_considered),
    ):
        if groups:
            lines += ["", f"{heading}:", ""]
            lines += [f"- {_named(names)}: {_told(reason)}" for names, reason in groups]
    return lines


def _told(text: str) -> str:
    """A text of the folds; one of ten thousand characters is in the report."""
    return escape(shortened(text, _LONGEST_TEXT))


def _about(run: Run) -> list[str]:
    """Which run this is, on which machine, and what to know of all of it."""
    info = run.info
    took = figures.duration(info.started, info.finished)
    when = figures.moment(info.started) + (f", took {took}" if took else "")
    what = f"Run {code(title(run.folder))}, matrix {code(shortened(info.matrix_file))}"
    lines = [
        "",
        "## Run and machine",
        "",
        f"{what}, seed {info.seed}, started {escape(when)}.  ",
        f"Machine: {_told(facts.machine_line(info.machine))}",
    ]
    said = (facts.state(run), facts.disturbed(run), *facts.held_out(info.datasets))
    return lines + [line for text in said if text for line in ("", f"> {_told(text)}")]


def _cells(run: Run) -> list[str]:
    cells = run.cells
    if not cells:
        return []
    counts = ", ".join(f"{count} {status}" for status, count in outcomes.count_statuses(cells))
    lines = ["", "## Cells", "", f"Status: {escape(counts)}.", "", *_table(cells[:_MOST_ROWS])]
    if len(cells) > _MOST_ROWS:
        lines += ["", f"{len(cells) - _MOST_ROWS} more are in `cells.json` and the report."]
    common = ", ".join(f"{name} {value}" for name, value in tables.common_axes(cells))
    return [*lines, "", f"The same for all cells: {_told(common)}."] if common else lines


def render_summary(run: Run) -> str:
    """The answer, the front, what changed and what failed; all else in folds, the longest left out.

    GitHub takes ``MOST_CHARACTERS`` in a comment: what does not fit is named and is in the report.
    """
    cells, info = run.cells, run.info
    lines = _answer(run)
    lines += _cells(run)
    lines += variant_lines(run)
    lines += scenario_lines(run)
    lines += _causes("What failed", outcomes.failures(cells))
    lines += _causes("Disturbed", outcomes.disturbed(cells))
    lines += _causes("Not served here", outcomes.not_served(cells))
    lines += _causes("Left out of the matrix", outcomes.left_out(info.left_out))
    lines += _causes("Warnings", outcomes.warnings(cells))
    lines += _data(info.datasets)
    lines += _about(run)
    if info.notes:
        lines += ["", "## Notes", "", *(f"- {_told(note)}" for note in info.notes)]
    return "\n".join(fitting(summary_top(run), folds(lines), MOST_CHARACTERS)) + "\n"


def write_summary(folder: Path) -> Path:
    """Read the run in ``folder`` and write its ``summary.md``; returns the file's path.

    Raises BadInputError where ``folder`` is no run directory.
    """
    path = folder / SUMMARY_FILE
    write_text_atomically(path, render_summary(load_run(folder)))
    return path

"""``summary.md``: a run in GitHub-flavoured Markdown, for a terminal or a CI job's page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deploymark.bench.records.answer import read_answer
from deploymark.bench.records.files import write_text_atomically
from deploymark.bench.records.run import SUMMARY_FILE, CellResult, Run, load_run
from deploymark.reports.page import facts, figures, tables
from deploymark.reports.page.markdown import code, escape, table
from deploymark.reports.run import outcomes
from deploymark.reports.run.answer import answer_view
from deploymark.reports.run.census import census_views
from deploymark.reports.run.scenarios import scenario_lines
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
        texts = [escape(f"{item.text} {item.extra}".rstrip()) for item in fields[1:]]
        rows.append([code(fields[0].text), *texts])
    headings = [escape(_heading(column)) for column in columns]
    return table(headings, rows, numeric=[column.numeric for column in columns])


def _named(cells: Sequence[str]) -> str:
    names = ", ".join(code(cell) for cell in cells[:_CELLS_NAMED])
    more = len(cells) - _CELLS_NAMED
    return f"{names} and {more} more" if more > 0 else names


def _causes(title: str, causes: Sequence[outcomes.Cause]) -> list[str]:
    if not causes:
        return []
    lines = ["", f"## {title}", ""]
    for cause in causes:
        label = "" if cause.status in {"warning", "disturbed"} else f"**{escape(cause.status)}**: "
        lines.append(f"- {label}{escape(cause.reason)}  ")
        if cause.remedy:
            lines.append(f"  Remedy: {escape(cause.remedy)}  ")
        lines.append(f"  {figures.plural(len(cause.cells), 'cell')}: {_named(cause.cells)}")
    return lines


def _data(datasets: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the data sets consist of, and what of them was left out."""
    views = [view for view in census_views(datasets) if view.lines]
    if not views:
        return []
    lines = ["", "## Data", ""]
    for view in views:
        lines += [f"- {escape(view.model)}: {escape(line)}" for line in view.lines]
        lines += [f"  - {escape(fault)}" for fault in view.faults]
    return lines


def _answer(run: Run) -> list[str]:
    """What to ship, and on what evidence; nothing where the run has no answer."""
    answer = read_answer(run.folder)
    if answer is None:
        return []
    view = answer_view(answer)
    told = [*view.evidence, view.asked, *view.notes]
    if view.needed:
        told.insert(0, f"{view.needed} {view.command}".rstrip())
    return [f"**{escape(view.headline)}**", "", *(f"- {escape(text)}" for text in told), ""]


def render_summary(run: Run) -> str:
    """Machine, table of cells with key figures and units, what failed and why, and notes."""
    cells, info = run.cells, run.info
    ok = sum(cell.status == "ok" for cell in cells)
    counts = ", ".join(f"{count} {status}" for status, count in outcomes.count_statuses(cells))
    took = figures.duration(info.started, info.finished)
    when = figures.moment(info.started) + (f", took {took}" if took else "")
    what = f"Run {code(run.folder.resolve().name)}, matrix {code(info.matrix_file)}"
    lines = [
        f"# Deploymark: {ok} of {figures.plural(len(cells), 'cell')} ok",
        "",
        *_answer(run),
        f"{what}, seed {info.seed}, started {escape(when)}.  ",
        f"Machine: {escape(facts.machine_line(info.machine))}",
    ]
    state = facts.state(run)
    if state:
        lines += ["", f"> {escape(state)}"]
    disturbed = facts.disturbed(run)
    if disturbed:
        lines += ["", f"> {escape(disturbed)}"]
    lines += [line for text in facts.held_out(info.datasets) for line in ("", f"> {escape(text)}")]
    if cells:
        lines += ["", "## Cells", "", f"Status: {escape(counts)}.", "", *_table(cells)]
    common = ", ".join(f"{name} {value}" for name, value in tables.common_axes(cells))
    if common:
        lines += ["", f"The same for all cells: {escape(common)}."]
    lines += variant_lines(run)
    lines += scenario_lines(run)
    lines += _causes("What failed", outcomes.failures(cells))
    lines += _causes("Disturbed", outcomes.disturbed(cells))
    lines += _causes("Not served here", outcomes.not_served(cells))
    lines += _causes("Left out of the matrix", outcomes.left_out(info.left_out))
    lines += _causes("Warnings", outcomes.warnings(cells))
    lines += _data(info.datasets)
    if info.notes:
        lines += ["", "## Notes", "", *(f"- {escape(note)}" for note in info.notes)]
    return "\n".join(lines) + "\n"


def write_summary(folder: Path) -> Path:
    """Read the run in ``folder`` and write its ``summary.md``; returns the file's path.

    Raises BadInputError where ``folder`` is no run directory.
    """
    path = folder / SUMMARY_FILE
    write_text_atomically(path, render_summary(load_run(folder)))
    return path

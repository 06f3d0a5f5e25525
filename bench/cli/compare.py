"""``deploymark compare``: two or more runs side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from deploymark.bench.cli.options import JsonOption, SelectOption
from deploymark.bench.cli.shared import console, mends_errors, words, write_file


@mends_errors
def compare(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN RUN…",
            help="Run directories, or runs of a data set (DATASET/RUN); the others relate to the "
            "first.",
        ),
    ],
    select: SelectOption = "",
    figures: Annotated[
        str,
        typer.Option(
            "--figures",
            metavar="A,B",
            help="Columns of cells.json instead of the key figures: latency_p95_ms,cold_ms.",
        ),
    ] = "",
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page with a chart.")
    ] = None,
    markdown: Annotated[
        Path | None,
        typer.Option("--markdown", metavar="FILE", help="Write Markdown for a pull request."),
    ] = None,
    json: JsonOption = None,
) -> None:
    """Show two or more runs side by side, of one machine or of several. It describes only."""
    import dataclasses

    from deploymark.bench.compare.compare import compare as compare_runs
    from deploymark.bench.history.collected import run_folders
    from deploymark.bench.records.files import dump_json
    from deploymark.reports.compare.compare import render_compare_markdown
    from deploymark.reports.compare.page import render_compare_page

    with run_folders(runs) as folders:
        comparison = compare_runs(
            _by_machine(folders), select=select, figures=words("--figure", figures)
        )
    _show(comparison)
    if html is not None:
        write_file("--html", html, render_compare_page(comparison))
    if markdown is not None:
        write_file("--markdown", markdown, render_compare_markdown(comparison))
    if json is not None:
        write_file("--json", json, dump_json(dataclasses.asdict(comparison)) + "\n")


def _by_machine(folders: Sequence[Path]) -> list[Path]:
    """The runs, those of fleets by machine: what is of one machine stands together."""
    from deploymark.bench.records.machines import expanded, machine_of_part

    found = expanded(folders)
    order = list(dict.fromkeys(machine_of_part(folder) or "" for folder in found))
    return sorted(found, key=lambda folder: order.index(machine_of_part(folder) or ""))


def _show(comparison: Any) -> None:
    """A table of cells for each figure, what differs, and what it is worth."""
    from deploymark.reports.compare import compare as text

    for figure in comparison.figures:
        table = Table(title=escape(text.column_title(figure)), title_justify="left", box=None)
        table.add_column("cell", no_wrap=True)
        for run in comparison.runs:
            detail = f"\n{run.detail}" if comparison.several_machines else ""
            table.add_column(escape(f"{run.label}{detail}"), justify="right")
        for cell in comparison.cells:
            shown = (
                text.terminal_text(figure, cell, index) for index in range(len(comparison.runs))
            )
            table.add_row(escape(cell.cell), *map(escape, shown))
        console.print(table)
        console.print()
    if any(cell.fastest is not None for cell in comparison.cells):
        console.print(
            f"{text.FASTEST} the smallest latency of a row. {escape(text.legend(comparison))}"
        )
    for line in text.difference_lines(comparison):
        console.print(escape(line))
    for note in comparison.notes:
        console.print(f"[yellow]{escape(note)}[/yellow]")

"""``deploymark explain``: why a cell of a run is slow, by its runtime's own profiler."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from deploymark.bench.cli.report import write_reports
from deploymark.bench.cli.shared import EXIT_FAILED, console, mends_errors

if TYPE_CHECKING:
    from deploymark.bench.records.profiles import Explanation
    from deploymark.reports.run.explain import BarRow, ExplainView

_BAR = 20
"""Characters of the longest bar."""


@mends_errors
def explain(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="Run directory.")],
    cell: Annotated[str, typer.Argument(metavar="CELL", help="Id of a measured cell of it.")],
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            metavar="CELL",
            help="The cell to hold it against; the FP32 one of the same backend by default.",
        ),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Profile anew, also what the run has a profile of.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print the explanation as JSON (explain.json has it).")
    ] = False,
) -> None:
    """Say why a cell is slow: its costliest layers, conversions, precisions, what differs.

    Cells without a profile in the run are launched once more with their runtime's profiler; their
    measured figures stay as they are. Exit code 1: this runtime has no profiler, or it failed.
    """
    from deploymark.bench.explain.ask import asked
    from deploymark.bench.explain.explain import explain_run
    from deploymark.bench.records.profiles import read_profiles
    from deploymark.bench.records.run import load_run
    from deploymark.bench.run.session import profile_run

    question = asked(load_run(run_folder), cell, against)
    done = read_profiles(run_folder)
    missing = [name for name in question.cells if again or not _is_there(done.get(name))]
    if missing:
        profile_run(run_folder, missing)
    chosen = {cell: question.against.cell} if question.against is not None else {}
    found = next(item for item in explain_run(run_folder, chosen) if item.cell == cell)
    if json:
        _print_json(found)
    else:
        show(found)
    _render(run_folder, quiet=json)
    raise typer.Exit(EXIT_FAILED if found.no_profile else 0)


def _is_there(line: dict[str, object] | None) -> bool:
    """Whether a run has a profile of a cell; a launch that failed is made again."""
    return line is not None and line.get("status") == "ok"


def _print_json(found: Explanation) -> None:
    import dataclasses

    from deploymark.bench.records.files import dump_json

    sys.stdout.write(dump_json(dataclasses.asdict(found)) + "\n")


def _render(folder: Path, *, quiet: bool) -> None:
    """Write the reports anew, where the run directory can be written."""
    try:
        for path in write_reports(folder):
            if not quiet:
                console.print(escape(str(path)))
    except OSError as error:
        sys.stderr.write(f"{folder}: no report was written: {error.strerror or error}\n")


def show(found: Explanation) -> None:
    """The sentences first, then the tables behind them."""
    from deploymark.reports.run.explain import explain_view

    view = explain_view(found)
    console.print(f"[bold]{escape(view.cell)}[/]", soft_wrap=True)
    if view.no_profile:
        console.print(f"[yellow]No profile: {escape(view.no_profile)}.[/]", soft_wrap=True)
        return
    for text in view.sentences:
        console.print(f"[bold]•[/] {escape(text)}", soft_wrap=True)
    console.print(escape(view.times), soft_wrap=True)
    for title, rows in _tables(view):
        _table(title, rows)
    if view.differences:
        _differences(view)
    for note in view.notes:
        console.print(f"[yellow]{escape(note)}[/]", soft_wrap=True)


def _tables(view: ExplainView) -> list[tuple[str, Sequence[BarRow]]]:
    return [
        (title, rows)
        for title, rows in (
            ("Costliest layers", view.top),
            ("By what they do", view.families),
            ("By precision", view.precisions),
            (view.conversions_title, view.conversions),
        )
        if rows
    ]


def _table(title: str, rows: Sequence[BarRow]) -> None:
    table = Table(box=None, title=title, title_justify="left", title_style="bold", padding=(0, 1))
    table.add_column("", overflow="fold")
    table.add_column("", style="dim")
    for _ in range(2):
        table.add_column("", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for row in rows:
        bar = "█" * round(_BAR * row.width / 100)
        table.add_row(escape(row.name), escape(row.what), row.ms, row.share, bar)
    table.show_header = False
    console.print(table)


def _differences(view: ExplainView) -> None:
    title = f"Against {view.against}"
    table = Table(box=None, title=escape(title), title_justify="left", title_style="bold")
    table.add_column("", overflow="fold")
    table.add_column("", style="dim", overflow="fold")
    for name in ("here", "there", "change"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in view.differences:
        change = f"[{'red' if row.is_slower else 'green'}]{row.change}[/]"
        table.add_row(escape(row.name), escape(row.what), row.ms, row.reference, change)
    console.print(table)

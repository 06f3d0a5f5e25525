"""``deploymark history``: trends and change points over the runs of a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from deploymark.bench.cli.options import JsonOption, SelectOption
from deploymark.bench.cli.shared import console, mends_errors, words, write_file

_CELL_WIDTH, _TREND_WIDTH = 30, 20
"""Columns of the terminal."""


@mends_errors
def history(
    results: Annotated[
        str,
        typer.Argument(
            metavar="[RESULTS]",
            help="Folder of run directories, or a data set that runs were collected into.",
        ),
    ] = "results",
    select: SelectOption = "",
    figure: Annotated[
        str,
        typer.Option(
            "--figure", metavar="A,B", help="Columns of cells.json: latency_p50_ms,map50_95."
        ),
    ] = "latency_p50_ms",
    machine: Annotated[
        str,
        typer.Option(
            "--machine", metavar="TEXT", help="Id of a machine, or part of its name or host."
        ),
    ] = "",
    by_host: Annotated[
        bool,
        typer.Option("--by-host", help="Tell machines of equal hardware apart by their host."),
    ] = False,
    last: Annotated[int, typer.Option(min=2, help="Newest runs of a machine to look at.")] = 200,
    significance: Annotated[
        float, typer.Option(min=0.0005, max=0.1, help="Level of the permutation test.")
    ] = 0.005,
    min_change: Annotated[
        float,
        typer.Option(min=0.0, help="Smallest change told: 0.01 is 1 %, or one point of mAP."),
    ] = 0.01,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page with charts.")
    ] = None,
    json: JsonOption = None,
) -> None:
    """Show how each cell's figures went over the runs of a machine, and where they changed."""
    from deploymark.bench.history.history import Choice, followed_figures
    from deploymark.bench.history.history import history as history_of
    from deploymark.bench.records.trends import history_text

    choice = Choice(
        followed_figures(words("--figure", figure)),
        significance=significance,
        min_change=min_change,
    )
    found = history_of(
        results, choice, select=select, machine=machine, by_host=by_host, most_runs=last
    )
    for item in found.machines:
        _show(item, several=len(choice.figures) > 1)
    for skipped in found.skipped:
        text = escape(f"skipped {skipped.folder}: {skipped.reason}")
        console.print(f"[yellow]{text}[/]", soft_wrap=True)
    if html is not None:
        from deploymark.reports.history.history import render_history_page

        write_file("--html", html, render_history_page(found))
    if json is not None:
        write_file("--json", json, history_text(found))


def _show(machine: Any, *, several: bool) -> None:
    """One machine: a row a cell and figure, then its changes by the run they begin with."""
    from deploymark.reports.history import words as trend_words
    from deploymark.reports.page import figure_words

    console.print(
        f"[bold]{escape(machine.machine)}[/bold] {escape(machine.name)}: "
        f"{trend_words.runs_text(machine)}"
    )
    if not machine.series:
        console.print("no cell with these figures was measured\n")
        return
    table = Table(box=None, header_style="bold")
    table.add_column("cell", overflow="fold", min_width=_CELL_WIDTH)
    if several:
        table.add_column("figure", no_wrap=True)
    for title in ("runs", "first", "latest"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("changed", justify="right", no_wrap=True)
    table.add_column("trend", no_wrap=True)
    for series in machine.series:
        ends = (series.points[0].value, series.points[-1].value)
        table.add_row(
            escape(series.cell),
            *([figure_words.title(series.figure)] if several else []),
            str(len(series.points)),
            *(figure_words.amount(series.figure, value) for value in ends),
            _coloured(series, series.changes[-1]) if series.changes else "",
            trend_words.sparkline(series, longest=_TREND_WIDTH),
        )
    console.print(table)
    for heading, changes in trend_words.changes_by_place(machine):
        console.print(f"[bold]{escape(heading)}[/bold]", soft_wrap=True)
        for series, change in changes:
            figure = f"{figure_words.title(series.figure)} " if several else ""
            ends_text = f"{figure}{trend_words.from_to(series, change)}"
            told = f"{ends_text}, {trend_words.chance_text(change)}  {series.cell}"
            console.print(f"  {_coloured(series, change)}  {escape(told)}", soft_wrap=True)
    console.print()


def _coloured(series: Any, change: Any) -> str:
    from deploymark.reports.history import words as trend_words

    style = "red" if trend_words.is_worse(series, change) else "green"
    return f"[{style}]{trend_words.change_text(series, change)}[/]"

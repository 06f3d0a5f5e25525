"""``deploymark collect``: many runs in one data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from deploymark.bench.cli.shared import console, mends_errors


@mends_errors
def collect(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN…", help="Run directories, or folders of them."),
    ],
    into: Annotated[
        str,
        typer.Option(
            "--into",
            metavar="DATASET",
            help="A folder, or an address that pyarrow knows: s3://bucket/folder.",
        ),
    ],
) -> None:
    """Append the cells and launches of runs to a data set of Parquet files, by machine.

    A run that is in it already is not added again. history, compare and report read it.
    """
    from deploymark.bench.history.collected import collect as collect_runs

    done = collect_runs(runs, into)
    for item in done.skipped:
        text = escape(f"skipped {item.folder}: {item.reason}")
        console.print(f"[yellow]{text}[/]", soft_wrap=True)
    console.print(
        escape(f"{into}: {len(done.added)} runs added, {len(done.present)} were there already"),
        soft_wrap=True,
    )

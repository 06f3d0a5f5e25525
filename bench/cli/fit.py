"""``deploymark fit``: the smallest limit of memory that each cell works within."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.markup import escape
from rich.table import Table

from deploymark.bench.cli.options import Choice, ResultsOption, takes_choice
from deploymark.bench.cli.report import write_reports
from deploymark.bench.cli.run import carry_out
from deploymark.bench.cli.shared import EXIT_FAILED, console, mends_errors

if TYPE_CHECKING:
    from deploymark.bench.records.run import CellResult

_MIB = 1 << 20
_DASH = "\N{EN DASH}"


@mends_errors
@takes_choice
def fit(choice: Choice, results: ResultsOption = Path("results")) -> None:
    """Find the smallest limit of memory that each cell works within, by trying.

    Of a run (the newest by default) its cells are fitted and the figure goes into its cells.json.
    Of a matrix, or with --model, a short run is made first. Exit code 1: none was found for a cell.
    """
    folder = _run_folder(choice, results)
    if folder is None:
        folder = _short_run(choice, results)
        cells: Collection[str] | None = None
    else:
        cells = _fit_run(folder, choice.select)
    raise typer.Exit(_show(folder, cells))


def _run_folder(choice: Choice, results: Path) -> Path | None:
    """The run to fit; None where cells are named otherwise. Raises BadInputError."""
    from deploymark.bench.errors import BadInputError
    from deploymark.bench.records.run import RUN_FILE

    named = choice.matrix
    others = dataclasses.replace(choice, matrix=None, select="") != Choice()
    if named is not None and (Path(named) / RUN_FILE).is_file():
        if others:
            raise BadInputError(
                f"{named} is a run: its cells are fitted as they are, and -k chooses of them",
                remedy="Name a matrix to choose models, backends or sizes.",
            )
        return Path(named).resolve()
    if named is not None and Path(named).is_dir():
        raise BadInputError(
            f"{named} is neither a run nor a matrix: it has no {RUN_FILE}",
            remedy="Name a folder below results/, or results/latest.",
        )
    if named is not None or others:
        return None
    latest = results / "latest"
    if not (latest / RUN_FILE).is_file():
        raise BadInputError(
            f"there is no {latest} to fit",
            remedy="Name a run or a matrix: deploymark fit default -k onnxruntime",
        )
    return latest.resolve()  # a run that starts meanwhile moves the link


def _short_run(choice: Choice, results: Path) -> Path:
    """A run of the choice's cells with one launch each, fitted; its folder."""
    from deploymark.bench.run.session import start

    session = start(dataclasses.replace(choice.request(), fit=True), results)
    try:
        code = carry_out(session)
    finally:
        session.close()
    if session.measured is None:
        raise typer.Exit(code)
    return session.folder


def _fit_run(folder: Path, select: str) -> Collection[str]:
    """Fit the cells of a run that ``select`` chooses, and write its reports anew; their ids."""
    from deploymark.bench.choose.of_run import answer_again
    from deploymark.bench.run.session import fit_run

    chosen = fit_run(folder, select)
    answer_again(folder)  # a smallest limit may be what was asked for
    for path in write_reports(folder):
        console.print(escape(str(path)))
    return chosen


def _show(folder: Path, chosen: Collection[str] | None) -> int:
    """Print a table of the cells; the exit code."""
    from deploymark.bench.records.run import load_run

    cells = [row for row in load_run(folder).cells if chosen is None or row.cell in chosen]
    console.print(_table(cells))
    for way in dict.fromkeys(row.memory_enforced_by for row in cells if row.min_memory_mb):
        console.print(f"Sizes in MiB; limits enforced by {way}.")
    fitted = [row for row in cells if row.min_memory_mb is not None]
    tried = [row for row in cells if row.status not in {"unsupported", "unavailable"}]
    return 0 if fitted and len(fitted) == len(tried) else EXIT_FAILED


def _table(cells: Sequence[CellResult]) -> Table:
    table = Table(box=None)
    table.add_column("cell", no_wrap=True)
    for title in ("works within", "peak RSS", "unique set"):
        table.add_column(title, justify="right", no_wrap=True)
    if reasons := any(row.min_memory_mb is None for row in cells):
        table.add_column("why there is none")
    for row in cells:
        table.add_row(
            escape(row.cell),
            _DASH if row.min_memory_mb is None else str(row.min_memory_mb),
            *(_mib(size) for size in (row.peak_rss_bytes, row.uss_bytes)),
            *([escape(_why(row))] if reasons else []),
        )
    return table


def _why(row: CellResult) -> str:
    if row.min_memory_mb is not None:
        return ""
    return row.memory_reason or "" if row.status == "ok" else f"{row.status}: {row.reason}"


def _mib(size_bytes: int | None) -> str:
    return _DASH if size_bytes is None else f"{size_bytes / _MIB:.0f}"

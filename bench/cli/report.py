"""``deploymark report``: the pages of a run, rendered anew, or several runs on one page."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from deploymark.bench.cli.shared import console, mends_errors, write_file

_NEWEST = Path("results/latest")
_PAGE = Path("report.html")
_HEAD_CHARACTERS = 4096


@mends_errors
def report(
    run_folders: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="RUN",
            help="Run directory; the newest by default. With several: one page, a column a run.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Where the page of several runs goes; report.html here by default.",
        ),
    ] = None,
) -> None:
    """Render report.html and summary.md of a run anew, or put several runs side by side."""
    from deploymark.bench.history.collected import run_folders as in_folders
    from deploymark.bench.records.machines import expanded

    given = run_folders or [_NEWEST]
    with in_folders([str(folder) for folder in given]) as there:
        folders = expanded(there)
        if there == given and len(given) == 1 and folders != given:
            _check_no_output(output, given[0])
            write_of_fleet(given[0])
        elif len(folders) > 1:
            write_several(folders, output or _PAGE)
        elif there == given:
            _check_no_output(output, given[0])
            _write_one(given[0])
        else:
            _write_restored(folders[0], output or _PAGE)


def write_of_fleet(run_folder: Path) -> None:
    """The pages of a fleet's run: a column for each machine, and a page for each in its part."""
    from deploymark.bench.records.files import write_text_atomically
    from deploymark.bench.records.machines import parts
    from deploymark.bench.records.run import SUMMARY_FILE

    folders = parts(run_folder)
    for folder in folders:
        _write_one(folder)
    texts = [(folder / SUMMARY_FILE).read_text(encoding="utf-8") for folder in folders]
    write_text_atomically(run_folder / SUMMARY_FILE, "\n".join(texts))
    write_several(folders, run_folder / _PAGE)


def _check_no_output(output: Path | None, folder: Path) -> None:
    from deploymark.bench.errors import BadInputError

    if output is not None:
        raise BadInputError(
            "--output is for the page of several runs; that of one is in its folder",
            remedy=f"Leave it out, and open {folder / _PAGE}.",
        )


def _write_restored(folder: Path, path: Path) -> None:
    """The page of a run of a data set, which has no folder of its own."""
    from deploymark.bench.choose.of_run import complete
    from deploymark.bench.errors import BadInputError
    from deploymark.reports.run.render import write_report

    if path.exists():
        raise BadInputError(f"{path} is there: it stays", remedy="Name another: --output run.html")
    complete(folder)
    write_file("--output", path, write_report(folder).read_text(encoding="utf-8"))
    console.print(escape(str(path)))


def _write_one(run_folder: Path) -> None:
    from deploymark.bench.choose.of_run import complete
    from deploymark.bench.explain.explain import explain_run
    from deploymark.bench.records.under_way import under_way

    if under_way(run_folder):
        sys.stderr.write(f"{run_folder} is a run that is running: this is what it had before\n")
    complete(run_folder)
    explain_run(run_folder)
    for path in write_reports(run_folder):
        console.print(escape(str(path)))


def write_reports(run_folder: Path) -> tuple[Path, Path]:
    """Write ``report.html`` and ``summary.md`` with the history of the machine; where they are."""
    from deploymark.bench.history.history import write_history
    from deploymark.reports.run.render import write_report
    from deploymark.reports.run.summary import write_summary

    write_history(run_folder)
    summary = write_summary(run_folder)
    return write_report(run_folder), summary


def write_several(folders: Sequence[Path], path: Path) -> None:
    """Write one page over several runs, and tell the answer of each. The runs stay as they are.

    Raises BadInputError for a folder that is no run, the same run twice, and a file of that name
    that is no such page.
    """
    from deploymark.bench.choose.of_run import answer_of_run
    from deploymark.bench.compare.several import read_several
    from deploymark.bench.records.answer import read_answer
    from deploymark.reports.run.answer import headline
    from deploymark.reports.several.columns import RunColumn
    from deploymark.reports.several.page import MARK, render_several

    _check_place(path, MARK)
    several = read_several(folders)
    columns = [
        RunColumn(label.label, run, read_answer(run.folder) or answer_of_run(run), label.detail)
        for label, run in zip(several.labels, several.runs, strict=True)
    ]
    page = render_several(columns, several.differences, of_machines=several.of_machines)
    for column in columns:
        _tell(column.title, headline(column.answer) if column.answer else "no answer")
    write_file("--output", path, page)


def _tell(title: str, text: Any) -> None:
    console.print(f"[bold]{escape(title)}[/bold]: {escape(text)}", soft_wrap=True)


def _check_place(path: Path, mark: str) -> None:
    """Refuse to replace what is no page of ours, a run's own report among it."""
    from deploymark.bench.errors import BadInputError

    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            ours = mark in file.read(_HEAD_CHARACTERS)
    except FileNotFoundError:
        return
    except OSError as error:
        raise BadInputError(f"--output {path}: {error.strerror or error}") from error
    if not ours:
        raise BadInputError(
            f"{path} is there, and is no page of several runs: it stays",
            remedy="Name another file: --output devices.html",
        )

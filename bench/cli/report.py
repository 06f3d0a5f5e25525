"""``deploymark report``: the pages of a run, rendered anew."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from deploymark.bench.cli.shared import console, mends_errors


@mends_errors
def report(
    run_folder: Annotated[
        Path, typer.Argument(metavar="[RUN]", help="Run directory; the newest by default.")
    ] = Path("results/latest"),
) -> None:
    """Render report.html and summary.md of a run anew."""
    from deploymark.bench.choose.of_run import answer_run
    from deploymark.bench.explain.explain import explain_run
    from deploymark.bench.records.answer import read_answer

    if read_answer(run_folder) is None:
        answer_run(run_folder)
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

"""``deploymark fleet``: devices that measure one bundle together, into one run directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from deploymark.bench.cli.options import Choice, ResultsOption, takes_choice
from deploymark.bench.cli.shared import console, mends_errors

if TYPE_CHECKING:
    from deploymark.bench.fleet.roster import Fleet
    from deploymark.bench.fleet.session import FleetRun
    from deploymark.bench.progress import Progress
    from deploymark.bench.run.bundled import Unpacked

FileOption = str | None


@mends_errors
@takes_choice
def fleet(
    choice: Choice,
    scheduler: Annotated[
        str | None,
        typer.Option("--scheduler", metavar="ADDRESS", help="Dask's: tcp://… or tls://…"),
    ] = None,
    results: ResultsOption = Path("results"),
    resume: Annotated[
        Path | None,
        typer.Option("--resume", metavar="RUN", help="Go on with a run that was stopped."),
    ] = None,
    tls_ca: Annotated[
        FileOption, typer.Option("--tls-ca", metavar="FILE", help="Certificate of the authority.")
    ] = None,
    tls_cert: Annotated[
        FileOption, typer.Option("--tls-cert", metavar="FILE", help="Certificate of this machine.")
    ] = None,
    tls_key: Annotated[
        FileOption, typer.Option("--tls-key", metavar="FILE", help="Its key.")
    ] = None,
    wait_s: Annotated[
        float,
        typer.Option(
            "--wait-s", metavar="S", min=0, help="Wait so long for a device that has left."
        ),
    ] = 300.0,
) -> None:
    """Measure a matrix or a bundle on every device of a Dask scheduler, at once.

    Each device runs: dask worker ADDRESS --nthreads 1 --resources deploymark=1
    """
    from deploymark.bench.errors import BadInputError
    from deploymark.bench.fleet.preflight import check_tls, open_warning
    from deploymark.bench.fleet.roster import Fleet, Tls
    from deploymark.bench.fleet.session import carry_out
    from deploymark.bench.progress import Progress

    if scheduler is None:
        raise BadInputError(
            "no scheduler is named", remedy="--scheduler tcp://HOST:8786, as dask scheduler says."
        )
    check_tls(scheduler, tls_ca, tls_cert, tls_key)
    if warning := open_warning(scheduler):
        console.print(escape(f"warning: {warning}"), style="yellow")
    with Progress() as progress:
        prepared = _prepared(choice, resume, progress)
        with Fleet(scheduler, Tls(tls_ca, tls_cert, tls_key)) as devices:
            run = _begun(devices, prepared, choice, resume, results, wait_s, progress)
            _show(run)
            code = carry_out(run, devices, progress)
    _close(run.folder)
    raise typer.Exit(code)


def _prepared(
    choice: Choice, resume: Path | None, progress: Progress
) -> tuple[str, Unpacked] | None:
    """The bundle that is measured, and its file; None where a run goes on. Raises BadInputError."""
    from deploymark.bench.errors import BadInputError
    from deploymark.bench.fleet.session import bundle_of
    from deploymark.bench.matrix.request import RunRequest
    from deploymark.bench.store import Store

    request = choice.request()
    if resume is None:
        return bundle_of(request, Store(), progress)
    if request != RunRequest():
        raise BadInputError("--resume goes on with the cells of its run, and takes no others")
    return None


def _begun(
    devices: Fleet,
    prepared: tuple[str, Unpacked] | None,
    choice: Choice,
    resume: Path | None,
    results: Path,
    wait_s: float,
    progress: Progress,
) -> FleetRun:
    from deploymark.bench.fleet.session import begin, go_on

    if prepared is None:
        assert resume is not None  # noqa: S101 - for the type checker: as _prepared has it
        return go_on(devices, resume, wait_s, progress)
    file, bundle = prepared
    select = choice.select if file else ""  # what a matrix selects is all of its bundle
    return begin(devices, bundle, file, select, results, wait_s, progress)


def _show(run: FleetRun) -> None:
    """The devices, and what each measures."""
    from deploymark.bench.fleet.preflight import table_rows

    table = Table("device", "processor", "cells", "lacks", "address", box=None)
    for row in table_rows(run.members):
        table.add_row(*map(escape, row))
    console.print(table)


def _close(folder: Path) -> None:
    """Write the report, and say where it is."""
    from deploymark.reports.run.render import write_report
    from deploymark.reports.run.summary import write_summary

    write_summary(folder)
    console.print(escape(f"report: {write_report(folder)}"))

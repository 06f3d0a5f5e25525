"""``deploymark fleet``: devices that measure one bundle together, into one run directory."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from deploymark.bench.cli.options import Choice, ResultsOption, takes_choice
from deploymark.bench.cli.shared import EXIT_BAD_INPUT, EXIT_FAILED, console, mends_errors

if TYPE_CHECKING:
    from deploymark.bench.fleet.fleet_run import FleetRun
    from deploymark.bench.fleet.hosts_file import Host
    from deploymark.bench.fleet.roster import Fleet
    from deploymark.bench.progress import Progress
    from deploymark.bench.run.bundled import Unpacked

FileOption = str | None


@dataclasses.dataclass(frozen=True)
class _Way:
    """How the devices are reached: a scheduler and its certificates, or a file of hosts."""

    scheduler: str | None
    hosts: Path | None
    ca: str | None
    cert: str | None
    key: str | None

    def words(self) -> list[str]:
        """The options that say so."""
        options = {
            "--scheduler": self.scheduler,
            "--hosts": None if self.hosts is None else str(self.hosts.absolute()),
            "--tls-ca": self.ca,
            "--tls-cert": self.cert,
            "--tls-key": self.key,
        }
        return [word for name, value in options.items() if value for word in (name, value)]


@mends_errors
@takes_choice
def fleet(
    choice: Choice,
    scheduler: Annotated[
        str | None,
        typer.Option("--scheduler", metavar="ADDRESS", help="Dask's: tcp://… or tls://…"),
    ] = None,
    hosts: Annotated[
        Path | None,
        typer.Option("--hosts", metavar="FILE", help="Devices to reach over SSH (hosts.yaml)."),
    ] = None,
    collect: Annotated[
        bool,
        typer.Option(
            "--collect",
            help="Of --hosts without Dask: send the bundle, run Deploymark there, fetch the runs.",
        ),
    ] = False,
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
    """Measure a matrix or a bundle on many devices at once, into one run directory.

    Each device runs: dask worker ADDRESS --nthreads 1 --resources deploymark=1
    """
    from deploymark.bench.errors import BadInputError
    from deploymark.bench.progress import Progress

    way = _Way(scheduler, hosts, tls_ca, tls_cert, tls_key)
    if (scheduler is None) == (hosts is None):
        raise BadInputError(
            "a fleet is reached by a scheduler or by a file of hosts: name one of them",
            remedy="--scheduler tcp://HOST:8786, as dask scheduler says; or --hosts hosts.yaml.",
        )
    if collect:
        raise typer.Exit(_collect(choice, way, results, resume))
    with Progress() as progress:
        prepared = _prepared(choice, resume, progress)
        with _reached(way, progress) as devices:
            code, folder = _measure(
                devices, prepared, choice, resume, results, wait_s, way, progress
            )
    _close(folder)
    raise typer.Exit(code)


def _measure(
    devices: Fleet,
    prepared: tuple[str, Unpacked] | None,
    choice: Choice,
    resume: Path | None,
    results: Path,
    wait_s: float,
    way: _Way,
    progress: Progress,
) -> tuple[int, Path]:
    """Begin a run or go on with one, and carry it out; its exit code and its folder."""
    from deploymark.bench.fleet.session import begin, carry_out, go_on

    words = way.words()
    if prepared is not None:
        file, bundle = prepared
        select = choice.select if file else ""  # what a matrix selects is all of its bundle
        run = begin(devices, bundle, file, select, results, wait_s, words, progress)
    else:
        assert resume is not None  # noqa: S101 - for the type checker: as _prepared has it
        run = go_on(devices, resume, wait_s, words, progress)
    _show(run)
    try:
        return carry_out(run, devices, progress), run.folder
    except BaseException:
        run.close()
        raise


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


@contextlib.contextmanager
def _reached(way: _Way, progress: Progress) -> Iterator[Fleet]:
    """The devices of a scheduler, or of one that is started here for those of ``hosts``."""
    from deploymark.bench.fleet.hosts_file import read_hosts
    from deploymark.bench.fleet.knock import Tls
    from deploymark.bench.fleet.preflight import check_tls, open_warning
    from deploymark.bench.fleet.roster import Fleet
    from deploymark.bench.fleet.workers import over_ssh

    check_tls(way.scheduler or "", way.ca, way.cert, way.key)
    if way.hosts is not None:
        with over_ssh(read_hosts(way.hosts), progress.say) as devices:
            yield devices
        return
    address = str(way.scheduler)
    if warning := open_warning(address):
        progress.note(f"warning: {warning}")
    with Fleet(address, Tls(way.ca, way.cert, way.key)) as devices:
        yield devices


def _collect(choice: Choice, way: _Way, results: Path, resume: Path | None) -> int:
    """Measure a bundle on every host by itself, and fetch the runs; 1 where one failed."""
    from deploymark.bench.errors import BadInputError
    from deploymark.bench.fleet.collect import collect_from
    from deploymark.bench.fleet.hosts_file import read_hosts
    from deploymark.bench.matrix.request import RunRequest

    request = choice.request()
    if way.hosts is None or resume is not None:
        raise BadInputError("--collect takes --hosts FILE, and each of its runs is a new one")
    named = request.matrix is not None and request.matrix.endswith(".dmb")
    if not named or request != RunRequest(matrix=request.matrix, select=request.select):
        raise BadInputError(
            "--collect measures a bundle, and of the options that choose it takes -k alone",
            remedy="Make one first: deploymark bundle MATRIX -o FILE.dmb",
        )
    hosts: list[Host] = read_hosts(way.hosts)
    found = collect_from(
        hosts,
        Path(str(request.matrix)),
        request.select,
        results,
        lambda line: console.print(escape(line)),
    )
    folders = [str(item.folder) for item in found if item.folder is not None]
    if folders:
        console.print(escape(f"side by side: deploymark report {' '.join(folders)}"))
    if not folders:
        return EXIT_BAD_INPUT
    return EXIT_FAILED if any(item.error or item.code for item in found) else 0


def _show(run: FleetRun) -> None:
    """The devices, and what each measures."""
    from deploymark.bench.fleet.preflight import table_rows

    table = Table("device", "processor", "cells", "lacks", "address", box=None)
    for row in table_rows(run.members):
        table.add_row(*map(escape, row))
    console.print(table)


def _close(folder: Path) -> None:
    """Write the reports, tell the answer on each device, and say where the page of all is."""
    from deploymark.bench.cli.report import write_of_fleet

    write_of_fleet(folder)
    console.print(escape(f"report: {folder / 'report.html'}"))

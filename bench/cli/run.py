"""``deploymark run`` and ``deploymark list``: the cells of a matrix, measured or shown."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from deploymark.bench import interruptions
from deploymark.bench.cli.options import Choice, RequiresOption, ResultsOption, takes_choice
from deploymark.bench.cli.shared import (
    EXIT_BAD_INPUT,
    EXIT_FAILED,
    console,
    mends_errors,
)

if TYPE_CHECKING:
    from deploymark.bench.matrix.request import RunRequest
    from deploymark.bench.run.session import RunSession


@mends_errors
@takes_choice
def run(
    choice: Choice,
    results: ResultsOption = Path("results"),
    resume: Annotated[
        Path | None,
        typer.Option("--resume", metavar="RUN", help="Go on with a run that was stopped."),
    ] = None,
    pytest_options: Annotated[
        str,
        typer.Option(
            "--pytest", metavar="ARGS", help='More options of pytest: "-x --junitxml=j.xml".'
        ),
    ] = "",
    timings: Annotated[
        bool, typer.Option("--timings", help="Tell at the end where the time of the run went.")
    ] = False,
    python: Annotated[
        str | None,
        typer.Option("--python", metavar="FILE", help="Of a bundle: interpreter of all workers."),
    ] = None,
) -> None:
    """Build, measure and report every cell of a matrix (the embedded detector by default)."""
    from deploymark.bench.errors import BadInputError
    from deploymark.bench.run.session import resume as go_on
    from deploymark.bench.run.session import start

    request = choice.request()
    if resume is not None:
        from deploymark.bench.matrix.request import RunRequest

        if request != RunRequest():
            raise BadInputError(
                "--resume goes on with the cells and the strictness of its run, and takes no other "
                "choice of them"
            )
        session = go_on(resume)
        interruptions.advise(session.how_to_go_on)
    elif request.matrix is not None and request.matrix.endswith(".dmb"):
        session = _start_bundle(request, results, python)
    elif python is not None:
        raise BadInputError(
            "--python is for bundles",
            remedy="In a matrix the interpreter is a backend's: {name: openvino, python: FILE}.",
        )
    else:
        session = start(request, results)
    try:
        code = carry_out(session, pytest_options, timings=timings)
    finally:
        session.close()
    raise typer.Exit(code)


def _start_bundle(request: RunRequest, results: Path, python: str | None) -> RunSession:
    """The session of a bundle, which takes no other choice than ``-k``. Raises BadInputError."""
    from deploymark.bench.errors import BadInputError
    from deploymark.bench.matrix.request import RunRequest
    from deploymark.bench.run.session import start_bundle

    if request != RunRequest(matrix=request.matrix, select=request.select):
        raise BadInputError(
            "a bundle is measured as it was made: of the options that choose it takes -k alone",
            remedy="Make another bundle of what you want: deploymark bundle --help",
        )
    bundle = Path(str(request.matrix))
    return start_bundle(bundle, results, select=request.select, python=python)


def carry_out(session: Any, options: str = "", *, timings: bool = False) -> int:
    """Carry out the session as pytest tests; the exit code of the run.

    Raises KeyboardInterrupt where it was stopped.
    """
    import pytest

    code = _under_pytest(session, options, timings=timings)
    if code == pytest.ExitCode.INTERRUPTED:
        raise KeyboardInterrupt
    if session.measured is None:
        return EXIT_BAD_INPUT if code == pytest.ExitCode.USAGE_ERROR else EXIT_FAILED
    if code not in (
        pytest.ExitCode.OK,
        pytest.ExitCode.TESTS_FAILED,
        pytest.ExitCode.NO_TESTS_COLLECTED,
    ):
        return EXIT_FAILED
    return int(session.measured.exit_status)


def _under_pytest(session: Any, options: str, *, timings: bool) -> int:
    """The exit code of pytest."""
    import shlex

    import pytest

    from deploymark.bench import pytest_plugin
    from deploymark.bench.pytest_plugin.plugin import SessionPlugin

    plugin = SessionPlugin(session, timings=timings, told_outside=True)
    config = Path(pytest_plugin.__file__).with_name("pytest.ini")
    arguments = [
        "--pyargs",
        "deploymark.bench.pytest_plugin.test_cells",
        "--noconftest",
        f"-c={config}",
        "--no-header",
        "-q",
        "--benchmark-sort=mean",
        "--benchmark-columns=median,mean,stddev,min,max,rounds",
        *shlex.split(options),
    ]
    # what a user set for their own tests is not meant for this run
    for name in ("PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER"):
        os.environ.pop(name, None)
    code = pytest.main(arguments, plugins=[_Handover(plugin)])
    if plugin.error is not None:
        raise plugin.error
    return code


class _Handover:
    """Registers the session under the name that the plugin looks for, before it is configured."""

    def __init__(self, plugin: Any) -> None:
        self.plugin = plugin

    def pytest_addoption(self, pluginmanager: Any) -> None:
        """The first hook called with the plugin manager."""
        pluginmanager.register(self.plugin, "deploymark-session")


@mends_errors
@takes_choice
def list_cells(
    choice: Choice,
    results: ResultsOption = Path("results"),  # noqa: ARG001 - list takes what run takes
    resume: Annotated[
        Path | None, typer.Option("--resume", metavar="RUN", help="The cells of this run.")
    ] = None,
    pytest_options: Annotated[  # noqa: ARG001 - list takes what run takes
        str, typer.Option("--pytest", metavar="ARGS", help="Not used: list takes what run takes.")
    ] = "",
    timings: Annotated[  # noqa: ARG001 - list takes what run takes
        bool, typer.Option("--timings", help="Not used: list takes what run takes.")
    ] = False,
    requires: RequiresOption = False,
) -> None:
    """Show the cells of a matrix before anything runs."""
    from deploymark.bench.matrix.request import expand_resolved, resolve_matrix
    from deploymark.bench.run.listing import listing, required_extras
    from deploymark.bench.run.refusals import check_models
    from deploymark.bench.run.run_folder import reopen
    from deploymark.bench.yaml_source import YamlSource

    if resume is not None:
        info, stored = reopen(resume)
        resolved = expand_resolved(stored, YamlSource(info.matrix_file, None), info.selection)
    else:
        resolved = resolve_matrix(choice.request())
    if requires:
        sys.stdout.write(",".join(required_extras(resolved)) + "\n")
        return
    check_models(resolved)
    table = Table(box=None)
    table.add_column("cell", no_wrap=True)
    table.add_column("what will happen", no_wrap=True)
    table.add_column("why")
    rows = listing(resolved)
    for row in rows:
        table.add_row(escape(row.cell), row.state, escape(row.reason), style=row.style)
    console.print(table)
    count = sum(row.state == "measured" for row in rows)
    console.print(f"{count} cells of {escape(resolved.file)} would be measured")

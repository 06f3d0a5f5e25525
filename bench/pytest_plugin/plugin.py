"""The plugin: ``pytest --pyargs deploymark.bench --deploymark-matrix FILE`` has one test a cell.

It is loaded into every pytest run of the environment, so it imports nothing until a matrix is given
or a session is handed over, and its names are its own: a project may have a ``bench`` and a plugin
with an option ``--matrix``.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

if TYPE_CHECKING:
    from deploymark.bench.run.runner import Measured
    from deploymark.bench.run.session import RunSession

CELL_FIXTURE = "deploymark_cell"


class SessionPlugin:
    """A run handed over to pytest by the command line."""

    def __init__(
        self, session: RunSession, *, timings: bool = False, told_outside: bool = False
    ) -> None:
        self.session = session
        self.told_outside = told_outside
        self.timings = timings
        self.error: Exception | None = None
        """What ended the run before its figures were there: the command line tells it."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of a run under pytest."""
    group = parser.getgroup("deploymark", "Deploymark: one test per cell of a matrix")
    group.addoption(
        "--deploymark-matrix",
        metavar="FILE",
        default=None,
        help="matrix file, or the name of a shipped one (with: --pyargs deploymark.bench)",
    )
    group.addoption(
        "--deploymark-results",
        metavar="DIR",
        default="results",
        help="folder that gets the run directory (default: results)",
    )


def _session(config: pytest.Config) -> RunSession | None:
    found = config.pluginmanager.get_plugin("deploymark-session")
    return found.session if isinstance(found, SessionPlugin) else None


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Prepare the run before pytest-benchmark reads its options."""
    if _session(config) is None and config.getoption("deploymark_matrix"):
        _start(config)
    session = _session(config)
    if session is None:
        return
    if hasattr(config, "workerinput") or getattr(config.option, "numprocesses", None):
        raise pytest.UsageError("cells are measured one at a time: leave out -n (pytest-xdist)")
    if getattr(config.option, "benchmark_json", None) is None:
        config.option.benchmark_json = str(session.benchmark_file)


def _start(config: pytest.Config) -> None:
    from deploymark.bench.errors import BadInputError
    from deploymark.bench.matrix.request import RunRequest
    from deploymark.bench.run.session import start

    try:
        session = start(
            RunRequest(matrix=config.getoption("deploymark_matrix")),
            Path(config.getoption("deploymark_results")),
        )
    except BadInputError as error:
        raise pytest.UsageError(str(error)) from error
    config.pluginmanager.register(SessionPlugin(session), "deploymark-session")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test a cell, each with the clock that will play its samples back."""
    if CELL_FIXTURE not in metafunc.fixturenames:
        return
    session = _session(metafunc.config)
    if session is None:
        metafunc.parametrize(CELL_FIXTURE, [])
        return
    from deploymark.bench.pytest_plugin.replay import ReplayClock

    parameters = []
    for planned in session.plan.cells:
        clock = ReplayClock()
        cell = planned.cell
        mark = pytest.mark.benchmark(timer=clock, group=f"{cell.model} {cell.imgsz} px")
        parameters.append(pytest.param((planned.id, clock), id=planned.id, marks=mark))
    metafunc.parametrize(CELL_FIXTURE, parameters)


@pytest.fixture(scope="session")
def deploymark_measured(request: pytest.FixtureRequest) -> Measured:
    """The whole run, carried out before the first cell's test and for the selected cells only."""
    session = _session(request.config)
    if session is None:
        pytest.fail("no run: give --deploymark-matrix FILE")
    chosen = [
        _cell_of(item)
        for item in request.session.items
        if isinstance(item, pytest.Function)
        and hasattr(item, "callspec")
        and CELL_FIXTURE in item.callspec.params
    ]
    capture: Any = request.config.pluginmanager.get_plugin("capturemanager")
    try:
        with capture.global_and_fixture_disabled():
            return session.run(chosen)
    except KeyboardInterrupt:  # without the excerpt of our source that pytest would show
        pytest.exit("the run was stopped", returncode=pytest.ExitCode.INTERRUPTED)
    except Exception as error:  # noqa: BLE001 - an excerpt of our source tells a user nothing
        _stopped(request.config, session, error)
        pytest.exit("the run was stopped by an error", returncode=pytest.ExitCode.INTERRUPTED)


def _stopped(config: pytest.Config, session: RunSession, error: Exception) -> None:
    """Keep an error for the command line; tell it here where pytest was started by hand."""
    from deploymark.bench.last_words import RunStopped, last_words

    stopped = RunStopped(session.folder)
    stopped.__cause__ = error
    found = config.pluginmanager.get_plugin("deploymark-session")
    if isinstance(found, SessionPlugin) and found.told_outside:
        found.error = stopped
        return
    sys.stderr.write(f"deploymark: error: {last_words(stopped)}\n")


def _cell_of(item: pytest.Function) -> str:
    cell, _clock = cast("tuple[str, Any]", item.callspec.params[CELL_FIXTURE])
    return cell


def _answered(folder: Path) -> list[str]:
    """The lines of the answer. A run whose figures are there does not fail for want of one."""
    from deploymark.bench.choose.of_run import answer_run
    from deploymark.bench.errors import DeploymarkError
    from deploymark.reports.run.answer import answer_lines

    try:
        return answer_lines(answer_run(folder))
    except DeploymarkError as error:
        return [f"no answer: {error}"]


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Write the answer and the report, tell the answer, and say where the report is."""
    session = _session(config)
    if session is None or session.measured is None:
        return
    try:
        _close_run(terminalreporter, config, session)
    except Exception as error:  # noqa: BLE001 - as in the fixture above
        _stopped(config, session, error)


def _close_run(terminalreporter: Any, config: pytest.Config, session: RunSession) -> None:
    from deploymark.bench.explain.explain import explain_run
    from deploymark.bench.history.history import write_history
    from deploymark.bench.records.run import write_run_info
    from deploymark.bench.run.timings import Timings, timing_lines
    from deploymark.reports.run.render import write_report
    from deploymark.reports.run.summary import write_summary

    info = session.info
    timings = Timings(info.timings)
    with timings.part("answer_s"):
        answer = _answered(session.folder)
    with timings.part("report_s"):
        explain_run(session.folder)
        write_history(session.folder)
        write_summary(session.folder)
        report = write_report(session.folder)
    write_run_info(session.folder, info)
    terminalreporter.section("Deploymark")
    terminalreporter.line(
        f"{info.artifacts_built} artifacts built, {info.artifacts_reused} from the store"
    )
    if info.disturbed:
        terminalreporter.line(f"{info.disturbed}; what would mend it: deploymark doctor")
    for line in answer:
        terminalreporter.line(line)
    found = config.pluginmanager.get_plugin("deploymark-session")
    if isinstance(found, SessionPlugin) and found.timings:
        for line in timing_lines(info.timings):
            terminalreporter.line(line)
    terminalreporter.line(f"report: {report}")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove a run directory in which nothing was measured."""
    session = _session(config)
    if session is not None:
        session.close()
    found = config.pluginmanager.get_plugin("deploymark-session")
    if isinstance(found, SessionPlugin) and found.told_outside:
        # pytest-benchmark makes it where nothing is saved, too; one that holds anything stays
        with contextlib.suppress(OSError):
            (config.invocation_params.dir / ".benchmarks").rmdir()

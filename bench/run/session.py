"""One run from front door to report: what the command line and the pytest plugin share."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Collection
from pathlib import Path

from filelock import FileLock, Timeout

from deploymark.bench import interruptions
from deploymark.bench.errors import BadInputError, NothingToRunError, StorageError
from deploymark.bench.matrix.request import RunRequest, expand_resolved, resolve_matrix
from deploymark.bench.matrix.selection import matches
from deploymark.bench.progress import Progress
from deploymark.bench.records.run import (
    BENCHMARK_FILE,
    RunInfo,
    load_run,
    write_cells,
    write_run_info,
    write_variants,
)
from deploymark.bench.run import bundled
from deploymark.bench.run.built_cells import build_cells
from deploymark.bench.run.census import tell_census
from deploymark.bench.run.fit import fit_cells
from deploymark.bench.run.plan import Plan, prepare
from deploymark.bench.run.profile_pass import profile_cells
from deploymark.bench.run.run_folder import (
    check_same_inputs,
    create,
    describe,
    discard,
    has_launches,
    point_latest,
    reopen,
)
from deploymark.bench.run.runner import Measured, execute
from deploymark.bench.run.timings import Timings
from deploymark.bench.run.weighing import enforcement_note
from deploymark.bench.scratch import CHILD_PREFIX, WORKER_PREFIX, sweep
from deploymark.bench.store import Store
from deploymark.bench.yaml_source import YamlSource

DEFAULT_RESULTS = Path("results")


@dataclasses.dataclass
class RunSession:
    """A run that is ready to start or to go on.

    ``kept`` tells that its folder stays although nothing was measured: a hint names it.
    """

    plan: Plan
    info: RunInfo
    folder: Path
    store: Store
    resumed: bool = False
    measured: Measured | None = None
    kept: bool = False

    @property
    def benchmark_file(self) -> Path:
        """Where pytest-benchmark's export goes."""
        return self.folder / BENCHMARK_FILE

    def run(self, only: Collection[str] | None = None) -> Measured:
        """Carry out the plan. Raises BadInputError if another process is at the same run."""
        lock = FileLock(self.folder / ".lock")
        try:
            with lock.acquire(timeout=0), Progress() as progress:
                self.measured = execute(
                    self.plan, self.info, self.folder, self.store, progress, only
                )
                point_latest(self.folder)  # only now can it be reported
        except Timeout:
            raise BadInputError(f"{self.folder}: another process is at this run") from None
        except StorageError as error:
            self.kept = True
            raise StorageError(
                f"{error.message}; what was finished is kept",
                remedy=f"{error.remedy} Then go on: deploymark run --resume {self.folder}".strip(),
            ) from error
        return self.measured

    def how_to_go_on(self) -> str:
        """What is left of a run that was stopped, and the command that goes on; half a sentence.

        Whatever is not kept is discarded (``close``).
        """
        named = shlex.quote(str(self.folder))
        if self.measured is not None:
            return f"its figures are written; report them with: deploymark report {named}"
        if self.resumed or self.kept or has_launches(self.folder):
            return f"go on with: deploymark run --resume {named}"
        self.close()
        return (
            "nothing was measured yet, and its folder is removed; artifacts that were built are "
            "in the store: give the same command again"
        )

    def close(self) -> None:
        """Leave no empty run directory behind."""
        if self.measured is None and not (self.resumed or self.kept):
            discard(self.folder)


def sweep_leftovers(store: Store) -> None:
    """Remove the temporary folders of processes that are gone."""
    store.sweep()
    for prefix in (CHILD_PREFIX, WORKER_PREFIX):
        sweep(prefix)


def start(request: RunRequest, results: Path = DEFAULT_RESULTS) -> RunSession:
    """Check what a request names and make its run directory. Raises BadInputError."""
    resolved = resolve_matrix(request)
    store = Store()
    sweep_leftovers(store)
    timings = Timings({})
    with timings.part("plan_s"), Progress() as progress:
        plan = prepare(resolved, store, progress.say)
        tell_census(plan, progress)
    info = describe(plan)
    info.timings = timings.seconds
    return _begun(plan, info, results, store)


def _begun(plan: Plan, info: RunInfo, results: Path, store: Store) -> RunSession:
    """A session and its run directory: a signal finds both, or neither."""
    with interruptions.held():
        session = RunSession(plan, info, create(info, results), store)
        interruptions.advise(session.how_to_go_on)
    return session


def start_bundle(
    bundle: Path, results: Path = DEFAULT_RESULTS, *, select: str = "", python: str | None = None
) -> RunSession:
    """Unpack a bundle and make the run directory of its measurement. Raises BadInputError."""
    store = Store()
    sweep_leftovers(store)
    timings = Timings({})
    with timings.part("plan_s"), Progress() as progress:
        found = bundled.unpack(bundle, store, progress)
        plan = bundled.plan_of(found, select=select, python=python)
        tell_census(plan, progress)
    info = describe(plan)
    info.timings = timings.seconds
    info.bundle = {"file": str(bundle.absolute()), "sha256": found.sha256, "python": python}
    session = _begun(plan, info, results, store)
    try:
        bundled.hand_over(found, info, session.folder)
        write_run_info(session.folder, info)
        if found.manifest.variants:
            write_variants(session.folder, found.manifest.variants)
    except BaseException:
        session.close()
        raise
    return session


def fit_run(folder: Path, select: str = "") -> tuple[str, ...]:
    """Find the smallest limits of a finished run's cells that ``select`` chooses; their ids.

    The figures go into its ``cells.json``, how they were enforced into the notes of ``run.json``.
    Raises BadInputError where the run has not ended, or another process is at it.
    """
    run = load_run(folder)
    session = resume(folder)
    results = {row.cell: row for row in run.cells if matches(select, row.cell)}
    if not results:
        raise NothingToRunError(
            f"-k {select!r} selects none of the {len(run.cells)} cells of {folder}",
            remedy="See their ids in its cells.json.",
        )
    cells = [cell for cell in session.plan.cells if cell.id in results]
    try:
        with FileLock(session.folder / ".lock").acquire(timeout=0), Progress() as progress:
            built = build_cells(session.plan, cells, session.folder, session.store, progress)
            fit_cells(session.plan, cells, built, results, session.folder, progress)
            write_cells(session.folder, run.cells)
            if (note := enforcement_note()) not in run.info.notes:
                run.info.notes.append(note)
                write_run_info(session.folder, run.info)
    except Timeout:
        raise BadInputError(f"{folder}: another process is at this run") from None
    return tuple(results)


def profile_run(folder: Path, cells: Collection[str], *, again: bool = False) -> None:
    """Launch cells of a run once more, with their runtimes' profilers (``profiles.jsonl``).

    Their artifacts come from the store, or are built again where they left it. Raises BadInputError
    where that cannot be: a model has changed, the run is of another machine, or another process is
    at it.
    """
    session = resume(folder)
    chosen = [cell for cell in session.plan.cells if cell.id in cells]
    try:
        with FileLock(session.folder / ".lock").acquire(timeout=0), Progress() as progress:
            built = build_cells(session.plan, chosen, session.folder, session.store, progress)
            profile_cells(session.plan, chosen, built, cells, session.folder, progress, again=again)
    except Timeout:
        raise BadInputError(f"{folder}: another process is at this run") from None
    except OSError as error:
        raise BadInputError(
            f"{folder} cannot be written: {error.strerror or error}",
            remedy="Copy the run directory, and name the copy.",
        ) from error


def resume(folder: Path) -> RunSession:
    """Go on with a run that was stopped. Raises BadInputError where that cannot be."""
    info, matrix = reopen(folder)
    if info.machines:
        raise BadInputError(
            f"{folder} is the run of a fleet: this machine alone does not go on with it",
            remedy=f"deploymark fleet --resume {shlex.quote(str(folder))} --scheduler ADDRESS",
        )
    if info.bundle:
        return _resume_bundle(folder, info)
    where = YamlSource(file=info.matrix_file, document=None)
    resolved = expand_resolved(matrix, where, info.selection)
    store = Store()
    sweep_leftovers(store)
    with Progress() as progress:
        plan = prepare(resolved, store, progress.say)
        tell_census(plan, progress)
    check_same_inputs(info, plan)
    return RunSession(plan, info, folder.resolve(), store, resumed=True)


def _resume_bundle(folder: Path, info: RunInfo) -> RunSession:
    """Go on with a run of a bundle, from the store or from its file."""
    store = Store()
    sweep_leftovers(store)
    with Progress() as progress:
        found = bundled.again(info.bundle, store, progress)
        plan = bundled.plan_of(found, select=info.selection, python=info.bundle.get("python"))
        tell_census(plan, progress)
    check_same_inputs(info, plan)
    return RunSession(plan, info, folder.resolve(), store, resumed=True)

"""``deploymark history``: how the figures of each cell went over the runs of a machine.

Change points are those of ``bench.statistics.change_points``, on the logarithm of a figure, so that
they are relative. A figure without noise (size, mAP on the same images) changes where it changes.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

from deploymark.bench.compare.compare import known_figures
from deploymark.bench.errors import BadInputError, NothingToRunError
from deploymark.bench.history.causes import Between, Measured, found_at, origin_of
from deploymark.bench.history.dataset import is_dataset, runs_of, with_cells
from deploymark.bench.history.past_runs import (
    MOST_RUNS,
    FoundRun,
    MachineRuns,
    by_machine,
    find_runs,
    machine_id,
    machine_settings,
    read_cells,
    read_past_run,
)
from deploymark.bench.matrix.selection import matches
from deploymark.bench.records.comparison import DIFFERENCES, LATENCY
from deploymark.bench.records.machines import machine_of_part, title
from deploymark.bench.records.run import RUN_FILE, CellResult
from deploymark.bench.records.trends import (
    HISTORY_FILE,
    Change,
    History,
    MachineHistory,
    PastRun,
    Point,
    Series,
    Skipped,
    save_history,
)
from deploymark.bench.statistics.change_points import (
    MIN_SEGMENT,
    SIGNIFICANCE,
    Settings,
    change_points,
)
from deploymark.bench.statistics.change_points import ChangePoint as FoundPoint

MIN_CHANGE = 0.01
"""Smallest change told: the practical threshold of the gate; one point of mAP."""

TRENDS = (
    LATENCY,
    "latency_p95_ms",
    "e2e_p50_ms",
    "cold_ms",
    "load_ms",
    "peak_rss_bytes",
    "min_memory_mb",
    "device_memory_bytes",
    "energy_j_per_image",
    "artifact_bytes",
    "map50_95",
    "agreement",
)
"""Figures of the history in a run directory."""

EXACT = DIFFERENCES | {
    "artifact_bytes",
    "artifact_gzip_bytes",
    "artifact_zstd_bytes",
    "params",
    "macs",
    "map_images",
}
"""Figures that the same artifact has in every run: no test is needed to tell that they changed."""


def _value(cell: CellResult, figure: str) -> float | None:
    """A figure that can be followed: a finite number, and above zero where ratios count."""
    value = getattr(cell, figure, None)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value) if value > 0 or figure in DIFFERENCES else None


def _point(cell: CellResult, figure: str, run: int) -> Point | None:
    value = _value(cell, figure)
    if value is None:
        return None
    if figure != LATENCY:
        return Point(run, value)
    low, high = _value(cell, "latency_ci_low_ms"), _value(cell, "latency_ci_high_ms")
    if low is None or high is None:
        low = high = None
    return Point(run, value, low, high, disturbed=cell.disturbed)


def _steps(values: Sequence[float], min_change: float, *, relative: bool) -> list[FoundPoint]:
    """Where a figure without noise left the level that it had, slowly or at once."""
    found = []
    level = values[0]
    for index, value in enumerate(values):
        change = value / level - 1 if relative else value - level
        if value != level and abs(change) >= min_change * (1 - 1e-9):
            found.append(FoundPoint(index, level, value, math.nan))
            level = value
    return found


def _changes(
    points: Sequence[FoundPoint], measured: Sequence[Measured], figure: str, between: Between
) -> list[Change]:
    changes = []
    for point in points:
        exact = math.isnan(point.p_value)
        ends = (point.before, point.after)
        before, after = ends if exact else (math.exp(end) for end in ends)
        change = after - before if figure in DIFFERENCES else after / before - 1
        found = found_at(between, measured, point.index, figure, sure=exact)
        run = measured[point.index].point.run
        changes.append(Change(run, before, after, change, None if exact else point.p_value, found))
    return changes


def _followed(
    rows: dict[tuple[str, str], list[Measured]],
    between: Between,
    settings: Settings,
    min_change: float,
) -> Iterator[Series]:
    """The series of a machine with their change points, all noisy ones tested in one go."""
    noisy = [key for key in rows if key[1] not in EXACT]
    logs = [[math.log(item.point.value) for item in rows[key]] for key in noisy]
    tested = dict(zip(noisy, change_points(logs, settings), strict=True))
    for (name, figure), measured in rows.items():
        values = [item.point.value for item in measured]
        relative = figure not in DIFFERENCES
        points = tested.get((name, figure))
        if points is None:
            points = _steps(values, min_change, relative=relative)
        origin = measured[-1].origin
        yield Series(
            cell=name,
            figure=figure,
            backend=origin.backend,
            precision=origin.precision,
            relative=relative,
            points=[item.point for item in measured],
            changes=_changes(points, measured, figure, between),
        )


def followed_figures(figures: Sequence[str]) -> tuple[str, ...]:
    """The figures, once each. Raises BadInputError for none, or what is no column with numbers."""
    followed = known_figures(figures, "--figure", LATENCY)
    if not followed:
        raise BadInputError("--figure names no figure", remedy=f"Write: --figure {LATENCY}")
    return followed


@dataclasses.dataclass(frozen=True)
class Choice:
    """What to follow, and what counts as a change (relative, or points of mAP as 0.01)."""

    figures: tuple[str, ...] = TRENDS
    significance: float = SIGNIFICANCE
    min_change: float = MIN_CHANGE
    seed: int = 0

    @property
    def settings(self) -> Settings:
        """The same for the test, on logarithms."""
        return Settings(self.significance, math.log1p(self.min_change), seed=self.seed)


def _machine_history(
    machine: MachineRuns, wanted: Callable[[str], bool], choice: Choice
) -> tuple[MachineHistory, list[Skipped]]:
    rows: dict[tuple[str, str], list[Measured]] = {}
    kept: list[FoundRun] = []
    skipped = []
    for run in machine.runs:
        try:
            cells = read_cells(run)
        except BadInputError as error:
            skipped.append(Skipped(str(run.folder), error.message))
            continue
        for cell in cells:
            if cell.status != "ok" or not wanted(cell.cell):
                continue
            origin = origin_of(cell)
            for figure in choice.figures:
                point = _point(cell, figure, len(kept))
                if point is not None:
                    rows.setdefault((cell.cell, figure), []).append(Measured(point, origin))
        kept.append(run)
    series = list(_followed(rows, Between(kept), choice.settings, choice.min_change))
    past = [PastRun(r.name, r.info.started, r.info.git_commit, r.host) for r in kept]
    found = MachineHistory(
        machine.machine, machine.name, machine.settings, machine.hosts, past, series
    )
    return found, skipped


def _history(
    machines: Sequence[MachineHistory], choice: Choice, skipped: Sequence[Skipped] = ()
) -> History:
    return History(
        machines=list(machines),
        significance=choice.significance,
        min_change=choice.min_change,
        min_segment=MIN_SEGMENT,
        seed=choice.seed,
        skipped=list(skipped),
    )


def _chosen(machines: Sequence[MachineRuns], text: str) -> list[MachineRuns]:
    """The machines whose id begins with a text, or whose name or host holds it."""
    word = text.lower()
    chosen = [
        item
        for item in machines
        if item.machine.startswith(word)
        or any(word in name.lower() for name in (item.name, *item.hosts))
    ]
    if not chosen:
        known = "; ".join(f"{item.machine} ({item.name})" for item in machines)
        raise BadInputError(f"--machine {text}: no such machine", remedy=f"There are: {known}")
    return chosen


def history(
    results: Path | str,
    choice: Choice,
    *,
    select: str = "",
    machine: str = "",
    by_host: bool = False,
    most_runs: int = MOST_RUNS,
) -> History:
    """The history of the runs below a folder, or of those that were collected into a data set.

    ``select`` is an expression as of ``-k``, ``machine`` the beginning of a machine's id or part of
    its name. Runs that have no end or cannot be read are skipped and named. Raises BadInputError
    where there is no run, NothingToRunError where ``select`` leaves no cell.
    """
    matches(select, "")  # what is malformed is told before anything is read
    dataset = str(results) if is_dataset(str(results)) else None
    runs, skipped = (runs_of(dataset), []) if dataset else _runs_below(Path(results))
    if not runs:
        left = "".join(f"\n  {item.folder}: {item.reason}" for item in skipped)
        raise BadInputError(f"{results} holds no finished run{left}")
    machines = by_machine(runs, by_host=by_host, most_runs=most_runs)
    if machine:
        machines = _chosen(machines, machine)
    wanted = functools.cache(functools.partial(matches, select))
    found = []
    for item in machines:
        if dataset:
            read = with_cells(dataset, item.runs, choice.figures, wanted)
            item = dataclasses.replace(item, runs=tuple(read))  # noqa: PLW2901
        one, unreadable = _machine_history(item, wanted, choice)
        found.append(one)
        skipped += unreadable
    if select and not any(item.series for item in found):
        raise NothingToRunError(f"-k {select!r} selects no measured cell of the runs")
    return _history(found, choice, skipped)


def _runs_below(results: Path) -> tuple[list[FoundRun], list[Skipped]]:
    """The runs of a folder. Raises BadInputError where it is none, or a run itself."""
    if (results / RUN_FILE).is_file():
        raise BadInputError(
            f"{results} is one run; a history is over a folder of them",
            remedy=f"Name the folder around it: {results.resolve().parent}",
        )
    if not results.is_dir():
        raise BadInputError(f"{results} is no folder", remedy="Name the folder that holds runs.")
    return find_runs(results)


def _earlier(folder: Path, own: FoundRun) -> list[FoundRun]:
    """The run and those beside it that began before, on machines like its own; oldest first."""
    machine = machine_id(machine_settings(own.info.machine))
    results = folder.parents[2] if machine_of_part(folder) else folder.parent
    beside, _ = find_runs(results, depth=1)
    earlier = [
        run
        for run in beside
        if run.name != title(folder)
        and run.started <= own.started
        and machine_id(machine_settings(run.info.machine)) == machine
    ]
    return [*earlier, own]


def write_history(folder: Path, choice: Choice | None = None) -> Path | None:
    """Write ``history.json`` into a run directory: its cells in it and in the runs beside it.

    Those are the runs of the folder around it that began before, on machines like its own, the last
    ``MOST_RUNS``. Nothing is written where there is none. Raises BadInputError where the run itself
    cannot be read.
    """
    choice = choice or Choice()
    folder = folder.resolve()
    own = read_past_run(folder)
    cells: Collection[str] = {cell.cell for cell in read_cells(own)}
    (machine,) = by_machine(_earlier(folder, own), most_runs=MOST_RUNS)
    found, _ = _machine_history(machine, cells.__contains__, choice)
    if len(found.runs) < 2:  # noqa: PLR2004 - one run is no history
        (folder / HISTORY_FILE).unlink(missing_ok=True)
        return None
    return save_history(folder, _history([found], choice))

"""The smallest limit of memory that a cell works within: ``deploymark fit`` and ``fit: true``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import psutil

from deploymark.bench.build.artifacts import Built
from deploymark.bench.children.memory_limit import MIB, enforcement
from deploymark.bench.progress import Progress
from deploymark.bench.records.launches import Record, append_launch, drop_torn_line, read_launches
from deploymark.bench.records.memory import FIT_LINES_FILE, Fit
from deploymark.bench.records.outcomes import Outcome
from deploymark.bench.records.run import LOGS_FOLDER, CellResult
from deploymark.bench.run.launch import now
from deploymark.bench.run.memory_pass import Weighed, memory_job, read_weighed
from deploymark.bench.run.plan import Plan, PlannedCell
from deploymark.bench.run.weighing import blamed, weigh
from deploymark.bench.score.memory import add_fit
from deploymark.bench.statistics.smallest import smallest

LEAST_MB = 8
"""MiB below which no limit is tried: no interpreter starts within them."""

_PATIENCE_S, _PATIENCE = 20.0, 10.0
"""Seconds that a launch under a limit gets, and how often those that it takes without one.

Where every page must be fetched again a launch goes on for hours: that is no limit that works.
"""


def fit_cells(
    plan: Plan,
    cells: Sequence[PlannedCell],
    built: Mapping[str, Built],
    results: Mapping[str, CellResult],
    folder: Path,
    progress: Progress,
) -> list[Fit]:
    """Find the smallest limit of every cell that is ok; the figures go into ``results``.

    Launches found in the folder count, so that a search that was stopped goes on.
    """
    able = [
        cell
        for cell in cells
        if cell.id in built and (row := results.get(cell.id)) is not None and row.status == "ok"
    ]
    progress.phase("smallest limits", len(able))
    weighed = read_weighed(folder)
    drop_torn_line(folder, FIT_LINES_FILE)
    before = list(read_launches(folder, FIT_LINES_FILE))
    fits = []
    with (folder / FIT_LINES_FILE).open("a", encoding="utf-8") as stream:
        for cell in able:
            lines = [line for line in before if line["cell"] == cell.id]
            artifact = built[cell.id].artifact
            if artifact is None or artifact.sha256 != results[cell.id].artifact_sha256:
                fit = Fit(cell.id, None, reason="no smallest limit: its artifact is another by now")
            else:
                trial = _Trial(plan, cell, built[cell.id], lines, folder, stream, progress)
                fit = _fit(trial, weighed)
            add_fit(results[cell.id], fit)
            progress.done(f"{cell.id}: {_said(fit)}")
            fits.append(fit)
    return fits


def _fit(trial: _Trial, weighed: Weighed) -> Fit:
    cell, how = trial.cell.id, enforcement()
    if how.way is None:
        return Fit(cell, None, reason=how.reason)
    line = next((item for item in weighed.get(cell, ()) if item["status"] == "ok"), None)
    if line is None:  # of a run without a memory pass, or one that an older version made
        end = trial.weigh(None)
        if not end.outcome.ok or end.result is None:
            why = f"without a limit it ends {end.outcome.status}: {end.outcome.reason}"
            return Fit(cell, None, reason=f"no smallest limit: {why}")
        line = {**end.result, "duration_s": end.duration_s}
    trial.timeout_s = min(
        trial.cell.cell.limits.launch_timeout_s, _PATIENCE_S + _PATIENCE * line["duration_s"]
    )
    most = psutil.virtual_memory().total // MIB
    found = smallest(trial.works, _guess_mb(line, how.way), least=LEAST_MB, most=most)
    reason = "" if found.limit else f"no limit up to the machine's {most} MiB works"
    return Fit(cell, found.limit, found.fails_at, found.launches, how.way, reason)


def _guess_mb(line: Record, way: str) -> int:
    """Where the search begins: what counts against the limit when the cell infers."""
    held = line.get("data_bytes" if way == "rlimit-data" else "peak_rss_bytes")
    return math.ceil((held or 256 * MIB) / MIB)


class _Trial:
    """Launches of one cell under limits, those that are on disk already first."""

    def __init__(
        self,
        plan: Plan,
        cell: PlannedCell,
        built: Built,
        before: Sequence[Record],
        folder: Path,
        stream: TextIO,
        progress: Progress,
    ) -> None:
        self.cell, self.timeout_s = cell, cell.cell.limits.launch_timeout_s
        self._job = memory_job(plan, cell, built)
        self._log = folder / LOGS_FOLDER / f"{cell.id}.log"
        self._before, self._stream, self._progress = list(before), stream, progress

    def weigh(self, limit_mb: int | None) -> Any:
        """One launch, within a limit or without."""
        cell = self.cell
        # A bound of the matrix on runaway children is no part of what the cell needs.
        job = {**self._job, "memory_mb": None}
        return weigh(
            job, cell.cell, cell.threads, self._log, limit_mb=limit_mb, timeout_s=self.timeout_s
        )

    def works(self, limit_mb: int) -> bool:
        """Whether a launch within so many MiB ends well; on disk before this returns."""
        for index, line in enumerate(self._before):
            if line["memory_limit_mb"] == limit_mb:
                del self._before[index]
                return bool(line["status"] == "ok")
        self._progress.now(f"{self.cell.id} within {limit_mb} MiB")
        started, end = now(), self.weigh(limit_mb)
        # Without a limit it went well before the search began.
        outcome = blamed(end.outcome, limit_mb, lambda: Outcome("ok"), enforcement().way)
        append_launch(
            self._stream,
            {
                "cell": self.cell.id,
                "memory_limit_mb": limit_mb,
                "status": outcome.status,
                "reason": outcome.reason,
                "enforced_by": enforcement().way,
                "started": started,
                "duration_s": round(end.duration_s, 3),
                "peak_rss_bytes": (end.result or {}).get("peak_rss_bytes"),
            },
        )
        self._progress.tell(f"{self.cell.id} within {limit_mb} MiB: {outcome.status}")
        return outcome.ok


def _said(fit: Fit) -> str:
    if fit.min_memory_mb is None:
        return fit.reason
    fails = "" if fit.fails_at_mb is None else f", not within {fit.fails_at_mb}"
    return (
        f"works within {fit.min_memory_mb} MiB{fails} ({fit.enforced_by}, {fit.launches} launches)"
    )

"""Profiles of a run's cells: launches of their own, after all that measures."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from deploymark.bench.build.artifacts import Built
from deploymark.bench.children.spawn import WORKER, run_child, thread_environment
from deploymark.bench.progress import Progress
from deploymark.bench.records.launches import (
    Record,
    append_launch,
    drop_torn_line,
    read_launches,
    went_well,
)
from deploymark.bench.records.profiles import PROFILE_LINES_FILE
from deploymark.bench.records.run import LOGS_FOLDER
from deploymark.bench.run.launch import now, record, session_job
from deploymark.bench.run.plan import Plan, PlannedCell
from deploymark.bench.run.retries import is_limited, remembered
from deploymark.bench.run.schedule import LaunchSlot

INFERENCES = 30
"""Profiled at least: a median of so many leaves a tenth of a second of disturbance out."""


ATTEMPTS = 2
"""Launches of a cell, where other processes kept processors busy during the first."""


def profile_cells(
    plan: Plan,
    cells: Sequence[PlannedCell],
    built: Mapping[str, Built],
    wanted: Collection[str],
    folder: Path,
    progress: Progress,
    *,
    again: bool = False,
) -> None:
    """Launch each of the ``wanted`` cells once with its runtime's profiler.

    Those that have a profile in the folder are passed over, or one that failed for good, unless
    ``again``. The lines go into ``profiles.jsonl``, each on the disk before the next launch starts.
    """
    drop_torn_line(folder, PROFILE_LINES_FILE)
    before: dict[str, list[Record]] = {}
    for line in () if again else read_launches(folder, PROFILE_LINES_FILE):
        before.setdefault(str(line["cell"]), []).append(line)
    chosen = [
        cell
        for cell in cells
        if cell.id in wanted
        and not remembered(before.get(cell.id, ()), limited=is_limited(cell.cell))
    ]
    if not chosen:
        return
    progress.phase("profile", len(chosen))
    with (folder / PROFILE_LINES_FILE).open("a", encoding="utf-8") as stream:
        for cell in chosen:
            line = _best_of(plan, cell, built[cell.id], folder)
            append_launch(stream, line)
            progress.done(f"{cell.id} profile: {said(line)}")


def measured_cells(launches: Mapping[str, Sequence[Record]], closed: Mapping[str, str]) -> set[str]:
    """The cells that are worth a profile: measured, and not closed by the run's decision."""
    return {
        cell for cell, records in launches.items() if went_well(records) and not closed.get(cell)
    }


def _best_of(plan: Plan, planned: PlannedCell, built: Built, folder: Path) -> dict[str, Any]:
    """A launch that other processes left alone, or of ``ATTEMPTS`` the one that they did most."""
    limit = plan.matrix.validity.max_foreign_load_cores
    lines: list[dict[str, Any]] = []
    for attempt in range(ATTEMPTS):
        lines.append({**profile_launch(plan, planned, built, folder), "attempt": attempt})
        load = _foreign_load(lines[-1])
        if lines[-1]["status"] != "ok" or limit is None or load <= limit:
            return lines[-1]
    return min(lines, key=_foreign_load)


def _foreign_load(line: Record) -> float:
    """How many processors other processes kept busy meanwhile; 0 where that is not told."""
    return (line.get("conditions") or {}).get("foreign_load_cores") or 0.0


def profile_launch(plan: Plan, planned: PlannedCell, built: Built, folder: Path) -> dict[str, Any]:
    """One launch: the record is a line of ``profiles.jsonl``, whatever the worker does."""
    cell, started = planned.cell, now()
    if built.artifact is None:
        return {**record(LaunchSlot(cell.id, 0), built.outcome), "started": started}
    images = plan.models[cell.model].scored[cell.imgsz].path
    job = session_job("profile", cell, planned.threads, built.artifact, images)
    end = run_child(
        WORKER,
        {**job, "inferences": INFERENCES},
        timeout_s=cell.limits.launch_timeout_s,
        log=folder / LOGS_FOLDER / f"{cell.id}.log",
        python=cell.python,
        env=thread_environment(planned.threads),
    )
    return {
        **record(LaunchSlot(cell.id, 0), end.outcome),
        "started": started,
        "duration_s": round(end.duration_s, 3),
        **(end.result or {}),
    }


def said(line: Record) -> str:
    """How a launch with a profiler ended, in a few words."""
    if line["status"] != "ok":
        return f"{line['status']}: {line['reason']}"
    if line["no_profile"]:
        return f"none: {line['no_profile']}"
    return f"{len(line['layers'])} layers, {line['layers_ms']:.3g} ms of {line['wall_ms']:.3g}"

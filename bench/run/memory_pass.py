"""The memory pass of a run: launches of their own, after those that time."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from deploymark.bench.build.artifacts import Built
from deploymark.bench.progress import Progress
from deploymark.bench.records.launches import (
    Record,
    append_launch,
    drop_torn_line,
    read_launches,
    went_well,
)
from deploymark.bench.records.memory import MEMORY_LINES_FILE
from deploymark.bench.records.run import LOGS_FOLDER
from deploymark.bench.run.executor import HERE, Executor, file_stem
from deploymark.bench.run.launch import now, record, session_job
from deploymark.bench.run.plan import Plan, PlannedCell
from deploymark.bench.run.retries import is_limited, remembered
from deploymark.bench.run.schedule import LaunchSlot
from deploymark.bench.run.weighing import weigh

Weighed = dict[str, list[dict[str, Any]]]
"""The lines of the memory pass, by cell."""


def weigh_cells(
    plan: Plan,
    cells: Sequence[PlannedCell],
    built: Mapping[str, Built],
    launches: Mapping[str, Sequence[Record]],
    closed: Mapping[str, str],
    folder: Path,
    progress: Progress,
    executor: Executor = HERE,
    known: Mapping[str, list[dict[str, Any]]] | None = None,
) -> Weighed:
    """Weigh the cells whose launches went well, in random order from the seed.

    ``closed`` are the cells that cannot be the answer to the run's question, and why: their memory
    is what the timing launches read in passing. Lines found in the folder (or ``known``, which is
    kept up to date) are kept and not made again, but for failures that may have gone; a cell that
    failed gets no further one.
    """
    before = read_weighed(folder) if known is None else dict(known)
    done: Weighed = known if isinstance(known, dict) else {}
    done |= {
        cell.id: remembered(before.get(cell.id, ()), limited=is_limited(cell.cell))
        for cell in cells
    }
    slots = [
        (cell, LaunchSlot(cell.id, number, _attempt(before.get(cell.id, ()), number)))
        for cell in cells
        if went_well(launches.get(cell.id, ())) and not closed.get(cell.id)
        for number in range(len(done[cell.id]), cell.cell.measure.weighings)
    ]
    random.Random(f"{plan.matrix.seed}/memory").shuffle(slots)  # noqa: S311 - no secret
    progress.phase("memory", len(slots))
    with (folder / MEMORY_LINES_FILE).open("a", encoding="utf-8") as stream:
        for cell, slot in slots:
            if any(line["status"] != "ok" for line in done[cell.id]):
                progress.done(f"{cell.id}: not again")
                continue
            line = _weigh(plan, cell, built[cell.id], slot, folder, stream, executor)
            done[cell.id].append(line)
            progress.done(f"{cell.id} memory {slot.launch + 1}: {_said(line)}")
    return done


def _attempt(before: Sequence[Record], number: int) -> int:
    """Which attempt at a launch the next one is."""
    return sum(line["launch"] == number for line in before)


def read_weighed(folder: Path) -> Weighed:
    """The lines of the memory pass that a run directory has."""
    drop_torn_line(folder, MEMORY_LINES_FILE)
    done: Weighed = {}
    for line in read_launches(folder, MEMORY_LINES_FILE):
        done.setdefault(line["cell"], []).append(line)
    return done


def memory_job(plan: Plan, planned: PlannedCell, built: Built) -> dict[str, Any]:
    """What a worker is told that weighs a cell."""
    assert built.artifact is not None  # noqa: S101 - for the type checker: its outcome was ok
    images = plan.models[planned.cell.model].scored[planned.cell.imgsz].path
    return session_job("memory", planned.cell, planned.threads, built.artifact, images)


def _weigh(
    plan: Plan,
    planned: PlannedCell,
    built: Built,
    slot: LaunchSlot,
    folder: Path,
    stream: TextIO,
    executor: Executor,
) -> dict[str, Any]:
    cell, started = planned.cell, now()
    end = weigh(
        memory_job(plan, planned, built),
        cell,
        planned.threads,
        folder / LOGS_FOLDER / f"{file_stem(cell.id, executor)}.log",
        limit_mb=cell.limit_mb,
        copies=True,
        executor=executor,
    )
    line = {
        **record(slot, end.outcome, executor.machine),
        "started": started,
        "duration_s": round(end.duration_s, 3),
        **(end.result or {}),
    }
    append_launch(stream, line)
    return line


def _said(line: Record) -> str:
    if line["status"] != "ok":
        return f"{line['status']}: {line['reason']}"
    peak = line["peak_rss_bytes"]
    return "peak untold" if peak is None else f"peak {peak / 2**20:.0f} MiB"

"""One launch: a fresh worker for one artifact, and the record it leaves."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from deploymark.backends import registry
from deploymark.backends.base import Detector
from deploymark.bench.children.spawn import ChildEnd
from deploymark.bench.matrix.cells import Cell
from deploymark.bench.records.files import sha256_of
from deploymark.bench.records.outcomes import Outcome
from deploymark.bench.run.executor import HERE, Executor, OnMessage
from deploymark.bench.run.schedule import LaunchSlot
from deploymark.bench.run.weighing import blamed, weigh
from deploymark.bench.store import StoredArtifact

SCORE_APART_S = 20.0
CONTENDED_CORES = 0.25
"""Seconds that inferring on the scored images may take after the timing. Where it would be more,
and other processes kept more than so many processors busy meanwhile, a second worker does it, whose
threads give way to others (``Backend.giving_way``). Without contention it would be the slower way.
"""


@dataclasses.dataclass(frozen=True)
class LaunchTask:
    """What a worker needs to know. ``images`` is the ``.npy`` of the scored images, letterboxed.

    ``score`` asks for predictions on all of them; ``inspect`` for the precision that really ran.
    Both are the same in every launch of a cell, so one launch does them. ``burst_limits`` are those
    of ``bench.worker.measure.bursts``; without any, every burst is quiet.
    """

    slot: LaunchSlot
    cell: Cell
    threads: int
    artifact: StoredArtifact
    images: Path
    e2e_images: Sequence[Path]
    predictions: Path | None
    inspect: bool
    burst_limits: Mapping[str, float | None] = dataclasses.field(default_factory=dict)


def now() -> str:
    """The time, ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def session_job(
    kind: str, cell: Cell, threads: int, artifact: StoredArtifact, images: Path
) -> dict[str, Any]:
    """What every job says of a worker that opens an artifact; ``images`` as in ``LaunchTask``."""
    detector = Detector.read(artifact.detector)
    return {
        "kind": kind,
        "spec": registry.specs()[cell.backend],
        "artifact": str(artifact.folder),
        "entry": artifact.entry,
        "device": cell.device,
        "precision": cell.precision,
        "threads": threads,
        "imgsz": list(cell.imgsz),
        "batch": cell.batch,
        "runtime_options": dict(cell.runtime_options),
        "images": str(images),
        "output": dataclasses.asdict(detector.output),
        "input": dataclasses.asdict(detector.spec.at(cell.imgsz)),
        "measure": cell.measure.model_dump(),
        "memory_mb": cell.limits.memory_mb,
    }


def launch(
    task: LaunchTask,
    log: Path,
    on_message: OnMessage | None = None,
    executor: Executor = HERE,
) -> dict[str, Any]:
    """Measure once: the record is one line of ``launches.jsonl``, whatever the worker does."""
    cell = task.cell
    job = {
        **session_job("measure", cell, task.threads, task.artifact, task.images),
        "e2e_images": [str(path) for path in task.e2e_images],
        "predictions": None if task.predictions is None else str(task.predictions),
        "inspect": task.inspect,
        "score_apart_s": SCORE_APART_S,
        "contended_cores": CONTENDED_CORES,
        "burst_limits": dict(task.burst_limits),
    }
    started = now()
    end = _worker(task, job, log, on_message, executor)
    figures, seconds, outcome = dict(end.result or {}), end.duration_s, end.outcome
    if figures.pop("score_apart", False):
        scored = _worker(task, {**job, "kind": "score"}, log, on_message, executor)
        seconds, outcome = seconds + scored.duration_s, scored.outcome
        figures |= scored.result or {}
    return {
        **record(task.slot, outcome, executor.machine),
        "started": started,
        "duration_s": round(seconds, 3),
        "predictions": None
        if task.predictions is None or not outcome.ok
        else task.predictions.name,
        "predictions_sha256": sha256_of(task.predictions)
        if outcome.ok and task.predictions is not None and task.predictions.is_file()
        else None,
        **(figures if outcome.ok else {}),
    }


def _worker(
    task: LaunchTask,
    job: Mapping[str, Any],
    log: Path,
    on_message: OnMessage | None,
    executor: Executor,
) -> ChildEnd:
    """A fresh worker that does one job, within the cell's limit of memory."""
    cell = task.cell
    end = executor.work(
        job,
        timeout_s=cell.limits.launch_timeout_s,
        log=log,
        python=cell.python,
        threads=task.threads,
        on_message=on_message,
        memory_limit_mb=cell.limit_mb,
    )
    control = {**job, "kind": "memory"}
    outcome = blamed(
        end.outcome,
        cell.limit_mb,
        lambda: weigh(control, cell, task.threads, log, limit_mb=None, executor=executor).outcome,
        executor.memory_way,
    )
    return dataclasses.replace(end, outcome=outcome)


def record(slot: LaunchSlot, outcome: Outcome, machine: str = "") -> dict[str, Any]:
    """The head of a launch's record; ``machine`` in a fleet's run."""
    return {
        "cell": slot.cell,
        **({"machine": machine} if machine else {}),
        "launch": slot.launch,
        "attempt": slot.attempt,
        **dataclasses.asdict(outcome),
    }

"""Artifacts: one child process each, kept in the store, taken from it the next time."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil

from deploymark.backends import registry
from deploymark.backends.inputs import Size
from deploymark.bench.build.making import make
from deploymark.bench.children.spawn import children_stop_with, source_hash
from deploymark.bench.machine.fingerprint import usable_cpus
from deploymark.bench.matrix.model_source import ModelSource
from deploymark.bench.records.outcomes import Outcome
from deploymark.bench.room import require_room
from deploymark.bench.store import FILES, ArtifactKey, Store, StoredArtifact, digest

_CHILD_BYTES = 3 << 30
"""Memory of an export child that quantizes, seen at its largest, rounded up."""

_MAX_JOBS = 4

_ROOM_FACTOR = 6
"""Disk that an export takes while it is at work, in sizes of the checkpoint (FP16 weights): the
artifact in FP32, and the files on the way to it. An estimate; nothing is refused that fits in it.
"""

_EXPORTER_SOURCE = (
    "backends/**/*.py",
    "bench/build/child.py",
    "bench/variants/checkpoint.py",
    "bench/worker/detections.py",
    "bench/worker/letterbox.py",
    "bench/variants/model_counts.py",
    "bench/variants/prune.py",
    "bench/variants/qat*.py",
    "bench/variants/sources/*.py",
)
"""Our own source that shapes an artifact: a change of it makes another version key."""


@dataclasses.dataclass(frozen=True)
class BuildTask:
    """One artifact to be had. ``recipe`` is what its key is made from.

    ``calibration`` is the ``.npy`` of letterboxed calibration images. ``can_export`` is False where
    this machine has no exporter: ``missing`` then says so, with ``remedy``. ``model`` is the model,
    or what a recipe made of it; ``blocked`` tells why there is none.
    """

    key: ArtifactKey
    recipe: Mapping[str, Any]
    versions: Mapping[str, str]
    model: ModelSource
    calibration: Path | None
    timeout_s: float
    memory_mb: int | None
    label: str
    can_export: bool = True
    missing: str = ""
    remedy: str = ""
    blocked: Outcome | None = None


@dataclasses.dataclass(frozen=True)
class Built:
    """An artifact, or why there is none. ``reused`` tells that it lay in the store."""

    outcome: Outcome
    artifact: StoredArtifact | None = None
    reused: bool = False


def exporter_source_hash() -> str:
    """SHA-256 over our own source that shapes artifacts, shortened."""
    return source_hash(_EXPORTER_SOURCE)


def artifact_key(
    recipe: Mapping[str, Any], versions: Mapping[str, str], *, can_export: bool
) -> ArtifactKey:
    """The place of an artifact in the store."""
    return ArtifactKey(
        recipe=digest(recipe)[:40], version=digest(versions)[:16] if can_export else None
    )


def parallel_jobs() -> int:
    """Export children at a time: they are not measured, so they may share the machine."""
    by_memory = int(psutil.virtual_memory().available // _CHILD_BYTES)
    return max(1, min(usable_cpus(), by_memory, _MAX_JOBS))


def _export(task: BuildTask, store: Store, log: Path) -> Built:
    recipe = task.recipe
    _check_room(task, store)
    with store.workspace() as workspace:
        files = workspace / FILES
        files.mkdir()
        job = {
            "kind": "export",
            "spec": registry.specs()[recipe["backend"]],
            "model": dataclasses.asdict(task.model),
            "precision": recipe["precision"],
            "device": recipe["device"],
            "imgsz": list(Size.of(recipe["imgsz"])),
            "batch": recipe["batch"],
            "options": recipe["options"],
            "calibration": None if task.calibration is None else str(task.calibration),
            "folder": str(files),
            "memory_mb": task.memory_mb,
        }
        end = make(job, timeout_s=task.timeout_s, log=log)
        if end.result is None:
            return Built(end.outcome)
        artifact = store.add(
            task.key,
            workspace,
            entry=end.result["entry"],
            detector=end.result["detector"],
            recipe=recipe,
            versions=task.versions,
            build_s=end.duration_s,
            notes=end.result["notes"],
        )
    return Built(Outcome("ok"), artifact)


def _check_room(task: BuildTask, store: Store) -> None:
    """Raise StorageError where the export will not fit, by the size of the checkpoint."""
    if task.model.path is None:  # of a loader nobody knows
        return
    path = Path(task.model.path)
    with contextlib.suppress(OSError):
        files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
        size = sum(file.stat().st_size for file in files)
        require_room(store.home, size * _ROOM_FACTOR, f"the export of {task.label}")


def build_one(task: BuildTask, store: Store, log: Path) -> Built:
    """The artifact of a task: from the store, or exported now."""
    with store.lock(task.key.recipe):
        found = store.find(task.key)
        if found is not None:
            return Built(Outcome("ok"), found, reused=True)
        if not task.can_export:
            return Built(Outcome("unavailable", task.missing, task.remedy))
        if task.blocked is not None:
            return Built(task.blocked)
        return _export(task, store, log)


def build_all(
    tasks: Sequence[BuildTask],
    store: Store,
    logs: Path,
    *,
    on_done: Callable[[BuildTask, Built, float], None],
    jobs: int | None = None,
) -> dict[ArtifactKey, Built]:
    """All artifacts, several at a time. ``on_done`` is called for each, with its seconds."""

    def one(task: BuildTask) -> Built:
        started = time.monotonic()
        built = build_one(task, store, logs / f"build-{task.label}.log")
        on_done(task, built, time.monotonic() - started)
        return built

    with (
        ThreadPoolExecutor(max_workers=jobs or parallel_jobs()) as pool,
        children_stop_with(pool),
    ):
        return dict(zip((task.key for task in tasks), pool.map(one, tasks), strict=True))

"""Recipes: the checkpoints that steps make, one child process a step, kept in the store.

Recipes that begin alike share their first steps. A step whose result lies in the store is not
carried out again, and nothing of a recipe is where all its artifacts are in the store.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from deploymark.bench.build.making import make
from deploymark.bench.children.spawn import children_stop_with, source_hash
from deploymark.bench.data.training_data import TrainingData
from deploymark.bench.errors import BadInputError
from deploymark.bench.machine.probing import package_versions
from deploymark.bench.matrix.plugin_steps import PluginStep
from deploymark.bench.matrix.steps import Step, files_of, uses_data, with_files
from deploymark.bench.records.files import dump_json
from deploymark.bench.records.outcomes import Outcome
from deploymark.bench.store import FILES, ArtifactKey, Store, StoredArtifact, digest, file_sha256

PACKAGES = ("torch", "ultralytics", "torch-pruning")
"""Distributions whose versions shape what a recipe makes."""

_SOURCE = ("bench/data/training_data.py", "bench/matrix/steps.py", "bench/variants/*.py")
"""Our own source that does: an edit of an exporter trains nothing anew.

That of a step from another package is part of its recipe."""

RECORD = "record.json"
STEP_LOG = "step.log"


@dataclasses.dataclass(frozen=True)
class RecipeStep:
    """One step and what its result is kept under. ``step`` names files by absolute paths."""

    step: Step
    key: ArtifactKey
    recipe: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What is done to a model before it is exported.

    ``data`` are its train split's images in the model's classes, None where no step uses any.
    ``outcome`` is there where it cannot be carried out at all.
    """

    model: str
    variant: str
    path: Path
    head: str
    seed: int
    steps: tuple[RecipeStep, ...]
    versions: Mapping[str, str]
    data: TrainingData | None
    timeout_s: float
    memory_mb: int | None
    can_train: bool
    outcome: Outcome | None = None


@dataclasses.dataclass(frozen=True)
class StepDone:
    """How a step ended, and what it left in the store."""

    outcome: Outcome
    stored: StoredArtifact | None = None
    record: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0
    reused: bool = False

    @property
    def checkpoint(self) -> Path | None:
        """The checkpoint that the step made."""
        return None if self.stored is None else self.stored.folder / self.stored.entry


def recipe_versions() -> dict[str, str]:
    """What shapes the result of a step, besides its recipe."""
    return {**package_versions(PACKAGES), "deploymark-recipes": source_hash(_SOURCE)}


def plan_steps(
    steps: Sequence[Step],
    *,
    model_sha256: str,
    head: str,
    seed: int,
    training_hash: str | None,
    versions: Mapping[str, str],
) -> tuple[RecipeStep, ...]:
    """The keys of a recipe's steps: what was done up to each, to which bytes, with which data."""
    planned: list[RecipeStep] = []
    plain: list[dict[str, Any]] = []
    for index, step in enumerate(steps):
        hashes = {name: f"sha256:{file_sha256(Path(name))}" for name in files_of(step)}
        said = with_files(step, hashes).model_dump(mode="json")
        plain.append({**said, "source": step.source} if isinstance(step, PluginStep) else said)
        trained = any(uses_data(item) for item in steps[: index + 1])
        recipe = {
            "model": model_sha256,
            "head": head,
            "steps": list(plain),
            "training": training_hash if trained else None,
            "seed": seed if trained else None,
        }
        key = ArtifactKey(recipe=digest(recipe)[:40], version=digest(versions)[:16])
        planned.append(RecipeStep(step, key, recipe))
    return tuple(planned)


def carry_out(
    recipes: Sequence[Recipe],
    store: Store,
    logs: Path,
    *,
    jobs: int,
    on_message: Callable[[str, str], None],
    on_done: Callable[[str, StepDone], None],
) -> dict[ArtifactKey, StepDone]:
    """Carry out the steps of all recipes, each once, several at a time.

    Of the steps that are ready, those go first that most others wait for. ``on_message`` is told
    of progress within a step, ``on_done`` of each step's end; both with the step's label. A failed
    step leaves out those that follow it. Returns what came of each.
    """
    done: dict[ArtifactKey, StepDone] = {}
    waiting = _by_key(recipes)
    with (
        tempfile.TemporaryDirectory(prefix="deploymark-recipes-") as folder,
        ThreadPoolExecutor(max_workers=jobs) as pool,
        children_stop_with(pool),
    ):
        data = _write_data(recipes, Path(folder))
        running: dict[Future[StepDone], ArtifactKey] = {}
        while waiting or running:
            ready = [key for key, work in waiting.items() if work.ready(done)]
            ready.sort(key=lambda key: -waiting[key].height)
            for key in ready[: jobs - len(running)]:
                work = waiting.pop(key)
                before = done.get(work.parent) if work.parent else None
                future = pool.submit(_one, work, before, store, logs, data, on_message)
                running[future] = key
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                key = running.pop(future)
                done[key] = future.result()
                on_done(_by_label(recipes, key), done[key])
                if not done[key].outcome.ok:
                    _leave_out(waiting, key, done)
    return done


@dataclasses.dataclass(frozen=True)
class _Work:
    """A step to be carried out; ``height`` counts the steps that wait for it, one after another."""

    recipe: Recipe
    index: int
    parent: ArtifactKey | None
    height: int

    @property
    def step(self) -> RecipeStep:
        return self.recipe.steps[self.index]

    def ready(self, done: Mapping[ArtifactKey, StepDone]) -> bool:
        return self.parent is None or self.parent in done


def label(recipe: Recipe, index: int) -> str:
    """A step's name in logs and progress: ``digits-structured_30-1-finetune``."""
    kind = recipe.steps[index].step.kind.replace(":", "_")
    return f"{recipe.model}-{recipe.variant}-{index + 1}-{kind}"


def _by_key(recipes: Sequence[Recipe]) -> dict[ArtifactKey, _Work]:
    """Each distinct step, under the first recipe that has it."""
    found: dict[ArtifactKey, _Work] = {}
    for recipe in recipes:
        for index, step in enumerate(recipe.steps):
            parent = recipe.steps[index - 1].key if index else None
            height = len(recipe.steps) - index
            known = found.get(step.key)
            if known is None:
                found[step.key] = _Work(recipe, index, parent, height)
            elif known.height < height:
                found[step.key] = dataclasses.replace(known, height=height)
    return found


def _by_label(recipes: Sequence[Recipe], key: ArtifactKey) -> str:
    return next(
        label(recipe, index)
        for recipe in recipes
        for index, step in enumerate(recipe.steps)
        if step.key == key
    )


def _leave_out(
    waiting: dict[ArtifactKey, _Work], failed: ArtifactKey, done: dict[ArtifactKey, StepDone]
) -> None:
    """What waits for a failed step has its outcome, and so on down."""
    for key in [key for key, work in waiting.items() if work.parent == failed]:
        waiting.pop(key)
        done[key] = StepDone(done[failed].outcome)
        _leave_out(waiting, key, done)


def _write_data(recipes: Sequence[Recipe], folder: Path) -> dict[int, Path]:
    """One file for each distinct data set, by the identity of it."""
    files: dict[int, Path] = {}
    for recipe in recipes:
        if recipe.data is not None and id(recipe.data) not in files:
            files[id(recipe.data)] = folder / f"training-{len(files)}.json"
            recipe.data.write(files[id(recipe.data)])
    return files


def _one(
    work: _Work,
    before: StepDone | None,
    store: Store,
    logs: Path,
    data: Mapping[int, Path],
    on_message: Callable[[str, str], None],
) -> StepDone:
    """The result of one step: from the store, or carried out now."""
    name = label(work.recipe, work.index)
    log = logs / f"recipe-{name}.log"
    with store.lock(work.step.key.recipe):
        found = store.find(work.step.key, "variants")
        if found is not None:
            if (found.folder / STEP_LOG).is_file():
                shutil.copyfile(found.folder / STEP_LOG, log)
            return StepDone(Outcome("ok"), found, read_record(found), found.build_s, reused=True)
        if not work.recipe.can_train:
            return StepDone(
                Outcome(
                    "unavailable",
                    "carrying out a recipe needs torch and Ultralytics",
                    "pip install 'deploymark[variants]', or copy a cache that has the artifact",
                )
            )
        started = time.monotonic()
        try:
            done = _carry_out(work, before, store, log, data, lambda what: on_message(name, what))
        except BadInputError as error:  # a teacher that is no checkpoint, an image that is none
            done = StepDone(Outcome("export_failed", error.message, error.remedy))
        return dataclasses.replace(done, seconds=time.monotonic() - started)


def _carry_out(
    work: _Work,
    before: StepDone | None,
    store: Store,
    log: Path,
    data: Mapping[int, Path],
    say: Callable[[str], None],
) -> StepDone:
    recipe, step = work.recipe, work.step
    start = before.checkpoint if before is not None else None
    with store.workspace() as workspace:
        files, scratch = workspace / FILES, workspace / "scratch"
        files.mkdir()
        scratch.mkdir()
        job = {
            "kind": "variant",
            "model": str(start or recipe.path),
            "original": str(recipe.path),
            "step": step.step.model_dump(mode="json"),
            "data": None if recipe.data is None else str(data[id(recipe.data)]),
            "seed": recipe.seed,
            "head": recipe.head,
            "folder": str(files),
            "scratch": str(scratch),
            "memory_mb": recipe.memory_mb,
        }
        end = make(
            job,
            timeout_s=recipe.timeout_s,
            log=log,
            on_message=lambda message: say(str(message.get("phase", ""))),
        )
        if end.result is None:
            return StepDone(end.outcome)
        shutil.rmtree(scratch, ignore_errors=True)
        record: dict[str, Any] = end.result["record"]
        (files / RECORD).write_text(dump_json(record) + "\n", encoding="utf-8")
        if log.is_file():
            shutil.copyfile(log, files / STEP_LOG)
        stored = store.add(
            step.key,
            workspace,
            "variants",
            entry=end.result["entry"],
            detector=end.result["detector"],
            recipe=step.recipe,
            versions=recipe.versions,
            build_s=end.duration_s,
        )
    return StepDone(Outcome("ok"), stored, record)


def read_record(stored: StoredArtifact) -> dict[str, Any]:
    """What a step wrote down; empty where that is lost."""
    try:
        record: dict[str, Any] = json.loads((stored.folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record


def in_store(recipe: Recipe, store: Store) -> dict[ArtifactKey, StepDone]:
    """Those steps of a recipe whose results lie in the store, without carrying out any."""
    found = {}
    for step in recipe.steps:
        stored = store.find(step.key, "variants")
        if stored is not None:
            record = read_record(stored)
            found[step.key] = StepDone(Outcome("ok"), stored, record, stored.build_s, reused=True)
    return found


def recipe_facts(recipe: Recipe, done: Mapping[ArtifactKey, StepDone]) -> dict[str, Any]:
    """What ``variants.json`` says of a recipe."""
    steps = [_step_facts(step, done.get(step.key)) for step in recipe.steps]
    ends = [done[step.key].outcome for step in recipe.steps if step.key in done]
    outcome = recipe.outcome or next((end for end in ends if not end.ok), Outcome("ok"))
    return {
        "model": recipe.model,
        "variant": recipe.variant,
        "status": outcome.status,
        "reason": outcome.reason or None,
        "remedy": outcome.remedy or None,
        "steps": steps,
    }


def _step_facts(step: RecipeStep, done: StepDone | None) -> dict[str, Any]:
    stored = done.stored if done is not None else None
    detector: Mapping[str, Any] = stored.detector if stored is not None else {}
    return {
        "step": step.step.model_dump(mode="json"),
        "status": done.outcome.status if done is not None else None,
        "seconds": round(done.seconds, 1) if done is not None else None,
        "reused": done.reused if done is not None else None,
        "checkpoint": str(done.checkpoint) if done is not None and done.checkpoint else None,
        "params": detector.get("params"),
        "macs": detector.get("macs"),
        "nonzero_fraction": detector.get("nonzero_fraction"),
        "record": dict(done.record) if done is not None else {},
    }

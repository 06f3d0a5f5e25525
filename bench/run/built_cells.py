"""What the cells of a plan are measured on: made, exported, or found in the store."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from deploymark.bench.build.artifacts import BuildTask, Built, build_all, build_one, parallel_jobs
from deploymark.bench.build.recipes import Recipe, StepDone, carry_out, in_store, recipe_facts
from deploymark.bench.progress import Progress, duration_text
from deploymark.bench.records.outcomes import Outcome
from deploymark.bench.records.run import LOGS_FOLDER, write_variants
from deploymark.bench.run.plan import Plan, PlannedCell
from deploymark.bench.store import ArtifactKey, Store


def build_cells(
    plan: Plan, cells: Sequence[PlannedCell], folder: Path, store: Store, progress: Progress
) -> dict[str, Built]:
    """What is measured of each cell that has an artifact, or how its export failed, by id.

    ``folder`` gets the logs, and ``variants.json`` where a cell has a recipe.
    """
    made = _carry_out_recipes(cells, folder, store, progress)
    tasks: dict[str, BuildTask] = {}
    for cell in cells:
        if cell.key is not None:
            tasks.setdefault(cell.key.recipe, _build_task(plan, cell, made))
    progress.phase(f"build ({parallel_jobs()} at a time)", len(tasks))

    def on_done(task: BuildTask, item: Built, seconds: float) -> None:
        how = (
            "in the store" if item.reused else f"{item.outcome.status} in {duration_text(seconds)}"
        )
        progress.done(f"{task.label}: {how}")

    by_key = build_all(list(tasks.values()), store, folder / LOGS_FOLDER, on_done=on_done)
    built = {cell.id: by_key[cell.key] for cell in cells if cell.key is not None}
    given = {
        cell.id: Built(Outcome("ok"), cell.artifact) for cell in cells if cell.artifact is not None
    }
    return {**built, **given}


def rebuild(plan: Plan, cell: PlannedCell, folder: Path, store: Store, progress: Progress) -> Built:
    """What is measured of a cell whose artifact is gone, made again; ``folder`` gets the logs."""
    logs, made = folder / LOGS_FOLDER, {}
    if cell.recipe_of_model is not None:
        made = carry_out(
            [cell.recipe_of_model],
            store,
            logs,
            jobs=1,
            on_message=lambda name, what: progress.now(f"{name}: {what}"),
            on_done=lambda name, done: progress.now(f"{name}: {done.outcome.status}"),
        )
    progress.now(f"{cell.id}: export")
    return build_one(_build_task(plan, cell, made), store, logs / f"build-{cell.id}.log")


def _carry_out_recipes(
    cells: Sequence[PlannedCell], folder: Path, store: Store, progress: Progress
) -> dict[ArtifactKey, StepDone]:
    """What the recipes of the cells make, where an artifact is still to be built from it."""
    recipes: dict[tuple[str, str], Recipe] = {}
    needed: set[tuple[str, str]] = set()
    for cell in cells:
        recipe = cell.recipe_of_model
        if recipe is None:
            continue
        recipes[recipe.model, recipe.variant] = recipe
        if cell.key is not None and cell.can_export and store.find(cell.key) is None:
            needed.add((recipe.model, recipe.variant))
    chosen = [recipe for name, recipe in recipes.items() if name in needed]
    jobs = parallel_jobs()
    steps = {step.key for recipe in chosen for step in recipe.steps}
    if steps:
        progress.phase(f"recipes ({jobs} at a time)", len(steps))

    def on_done(name: str, done: StepDone) -> None:
        took = "in the store" if done.reused else duration_text(done.seconds)
        reason = f": {done.outcome.reason}" if done.outcome.reason else ""
        progress.done(f"{name}: {done.outcome.status}, {took}{reason}")

    made = carry_out(
        chosen,
        store,
        folder / LOGS_FOLDER,
        jobs=jobs,
        on_message=lambda name, what: progress.tell(f"{name}: {what}"),
        on_done=on_done,
    )
    known = dict(made)
    for recipe in recipes.values():
        if (recipe.model, recipe.variant) not in needed:
            known.update(in_store(recipe, store))
    if recipes:
        write_variants(folder, [recipe_facts(recipe, known) for recipe in recipes.values()])
    return made


def _build_task(
    plan: Plan, planned: PlannedCell, made: Mapping[ArtifactKey, StepDone]
) -> BuildTask:
    cell, model = planned.cell, plan.models[planned.cell.model]
    recipe = planned.recipe_of_model
    assert model.source is not None  # noqa: S101 - files made elsewhere have no recipe
    blocked, source = None, model.source
    if recipe is not None:
        lost = StepDone(
            Outcome("export_failed", "the recipe's result left the store", "Run again.")
        )
        last = made.get(recipe.steps[-1].key, lost)
        blocked = None if last.outcome.ok else last.outcome
        if last.checkpoint is not None:
            source = dataclasses.replace(source, path=str(last.checkpoint))
    assert planned.key is not None  # noqa: S101 - for the type checker: the caller asked
    calibration = model.calibration.get(cell.imgsz) if planned.recipe["calibration"] else None
    return BuildTask(
        key=planned.key,
        recipe=planned.recipe,
        versions=planned.versions,
        model=source,
        blocked=blocked,
        calibration=None if calibration is None else calibration.path,
        timeout_s=cell.limits.build_timeout_s,
        memory_mb=cell.limits.memory_mb,
        label=planned.id,
        can_export=planned.can_export,
        missing=planned.export_reason,
        remedy=planned.export_remedy,
    )

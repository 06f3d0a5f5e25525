"""The scenarios of a run: after the launches, one fresh worker for each run of LoadGen.

What was done is a line of ``scenarios.jsonl`` and is not done again when the run goes on, but where
it was only ``unavailable`` or failed for a reason that may have gone; all of it together is
``scenarios.json``.
"""

from __future__ import annotations

import dataclasses
import random
import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from deploymark.bench.build.artifacts import Built
from deploymark.bench.children.spawn import WORKER, run_child, thread_environment
from deploymark.bench.matrix.scenario_settings import Scenario, named
from deploymark.bench.matrix.validity import Validity, disturbances
from deploymark.bench.progress import Progress, duration_text
from deploymark.bench.records.launches import (
    Record,
    append_launch,
    drop_torn_line,
    read_launches,
    went_well,
)
from deploymark.bench.records.outcomes import Outcome
from deploymark.bench.records.run import LOGS_FOLDER
from deploymark.bench.records.scenarios import (
    SCENARIO_LINES_FILE,
    ScenarioResult,
    scenario_of,
    write_scenarios,
)
from deploymark.bench.run.launch import now, session_job
from deploymark.bench.run.plan import Plan, PlannedCell
from deploymark.bench.run.retries import is_limited, remembered
from deploymark.bench.run.scenario_log import read_figures
from deploymark.bench.store import StoredArtifact

_TIMEOUT_DURATIONS = 5.0
"""Durations of a scenario that it gets on top of ``limits.launch_timeout_s``: a slow cell takes
longer for the queries asked for, and an overloaded server longer to answer them all."""


@dataclasses.dataclass(frozen=True)
class ScenarioTask:
    """One run of LoadGen. ``name`` is that of the scenario within the cell."""

    planned: PlannedCell
    name: str
    scenario: Scenario
    streams: int

    @property
    def key(self) -> tuple[str, str, int]:
        """Tells it from the others of a run."""
        return self.planned.id, self.name, self.streams


def run_scenarios(
    plan: Plan,
    cells: Sequence[PlannedCell],
    built: Mapping[str, Built],
    folder: Path,
    progress: Progress,
) -> list[ScenarioResult]:
    """Run the scenarios of the cells that have any and whose launches went well.

    Their order is random, from the seed; the results are in the order of the cells and stand in
    ``folder``. Nothing is written where no cell has a scenario.
    """
    records: dict[str, list[Record]] = {}
    for record in read_launches(folder):
        records.setdefault(record["cell"], []).append(record)
    failed = {cell for cell, of_cell in records.items() if not went_well(of_cell)}
    tasks = [
        ScenarioTask(cell, name, scenario, streams)
        for cell in cells
        if cell.outcome is None and cell.id in built and built[cell.id].outcome.ok
        if cell.id not in failed
        for name, scenario in named(cell.cell.scenarios)
        for streams in scenario.streams
    ]
    if not tasks:
        return []
    done = _done(folder, {cell.id for cell in cells if is_limited(cell.cell)})
    waiting = [task for task in tasks if task.key not in done]
    # As the launches are: the drift of the machine hits every scenario alike.
    random.Random(f"{plan.matrix.seed}/scenarios").shuffle(waiting)  # noqa: S311 - no secret
    progress.phase("scenarios", len(waiting))
    with (folder / SCENARIO_LINES_FILE).open("a", encoding="utf-8") as stream:
        for task in waiting:
            done[task.key] = _run(plan, task, built[task.planned.id], folder, progress, stream)
    results = [done[task.key] for task in tasks]
    write_scenarios(folder, results)
    return results


def _done(folder: Path, limited: Collection[str]) -> dict[tuple[str, str, int], ScenarioResult]:
    """What stands in the folder, without what may end otherwise now."""
    drop_torn_line(folder, SCENARIO_LINES_FILE)
    lines: dict[tuple[str, str, int], list[Record]] = {}
    for line in read_launches(folder, SCENARIO_LINES_FILE):
        result = scenario_of(line)
        lines.setdefault((result.cell, result.name, result.streams), []).append(line)
    last = {key: remembered(found, limited=key[0] in limited) for key, found in lines.items()}
    results = {key: scenario_of(found[-1]) for key, found in last.items() if found}
    return {key: result for key, result in results.items() if result.status != "unavailable"}


def _run(
    plan: Plan, task: ScenarioTask, built: Built, folder: Path, progress: Progress, stream: TextIO
) -> ScenarioResult:
    assert built.artifact is not None  # noqa: S101 - for the type checker: its outcome was ok
    planned = task.planned
    where = f"{planned.id} {task.name}, {task.streams} at a time"
    progress.now(where)
    images = plan.models[planned.cell.model].scored[planned.cell.imgsz].path
    matrix = plan.matrix
    result = run_scenario(task, built.artifact, images, matrix.seed, matrix.validity, folder)
    append_launch(stream, dataclasses.asdict(result))
    progress.done(f"{where}: {_said(result)}")
    return result


def run_scenario(
    task: ScenarioTask,
    artifact: StoredArtifact,
    images: Path,
    seed: int,
    validity: Validity,
    folder: Path,
) -> ScenarioResult:
    """One run of LoadGen in a fresh worker: its figures, or how it failed."""
    planned, cell, scenario = task.planned, task.planned.cell, task.scenario
    result = _head(task, seed)
    if scenario.kind == "single-stream" and cell.batch != 1:
        return dataclasses.replace(
            result,
            status="unsupported",
            reason=f"a query of a single stream is one image, and the cell infers {cell.batch}",
            remedy="Give the scenario to cells of batch 1, with `overrides`.",
        )
    logs = Path(LOGS_FOLDER) / cell.id / f"loadgen-{task.name}-{task.streams}"
    shutil.rmtree(folder / logs, ignore_errors=True)
    (folder / logs).mkdir(parents=True)
    limit_s = cell.limits.launch_timeout_s + _TIMEOUT_DURATIONS * scenario.duration_s
    end = run_child(
        WORKER,
        {
            **session_job("scenario", cell, planned.threads, artifact, images),
            "scenario": _settings(scenario),
            "streams": task.streams,
            "seed": seed,
            "folder": str((folder / logs).resolve()),
        },
        timeout_s=limit_s,
        log=folder / LOGS_FOLDER / f"{cell.id}.log",
        python=cell.python,
        env=thread_environment(planned.threads),
        memory_limit_mb=cell.limit_mb,
    )
    outcome, figures = end.outcome, dict(end.result or {})
    if outcome.ok:
        try:
            figures |= read_figures(folder / logs)
        except (ValueError, KeyError, TypeError) as error:
            outcome = Outcome("crashed", f"LoadGen came to no result: {error}")
    if conditions := figures.get("conditions"):
        figures["disturbed"] = disturbances(conditions, validity)
    known = {field.name for field in dataclasses.fields(ScenarioResult)}
    return dataclasses.replace(
        result,
        **{name: value for name, value in figures.items() if name in known and value is not None},
        status=outcome.status,
        reason=outcome.reason or None,
        remedy=outcome.remedy or None,
        logs=logs.as_posix(),
        duration_s=round(end.duration_s, 3),
    )


def _settings(scenario: Scenario) -> dict[str, Any]:
    """The settings as the worker takes them: those of the matrix, and what ``official`` makes."""
    derived = {name: getattr(scenario, name) for name in ("duration_s", "queries", "percentile")}
    return {**scenario.model_dump(mode="json"), **derived}


def _head(task: ScenarioTask, seed: int) -> ScenarioResult:
    """What is known of a run of LoadGen before it begins."""
    cell, scenario = task.planned.cell, task.scenario
    return ScenarioResult(
        cell=cell.id,
        scenario=scenario.kind,
        name=task.name,
        streams=task.streams,
        status="ok",
        **task.planned.axes(),
        target_qps=getattr(scenario, "target_qps", None),
        target_latency_ms=getattr(scenario, "target_latency_ms", None),
        target_percentile=scenario.percentile,
        min_duration_s=scenario.duration_s,
        min_queries=scenario.queries,
        official=scenario.official,
        seed=seed,
        started=now(),
    )


def _said(result: ScenarioResult) -> str:
    if result.status != "ok":
        return f"{result.status}: {result.reason}"
    verdict = "VALID" if result.valid else f"INVALID: {result.invalid_reason}"
    took = duration_text(result.duration_s or 0)
    disturbed = f", disturbed: {'; '.join(result.disturbed)}" if result.disturbed else ""
    return f"{result.samples_per_second:.1f} images/s ({took}), {verdict}{disturbed}"

"""Carrying out a plan: build, launch in rounds, score, write; and going on after a stop."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from deploymark.bench.build.artifacts import Built
from deploymark.bench.matrix.steps import asked_sparsity
from deploymark.bench.progress import Progress
from deploymark.bench.records.run import (
    NOT_FAILURES,
    PREDICTIONS_FOLDER,
    CellResult,
    Outcome,
    RunInfo,
    ScenarioResult,
    counted,
    write_cells,
    write_run_info,
)
from deploymark.bench.run.built_cells import build_cells
from deploymark.bench.run.confidence import is_marked, judge, marked_cells, stopping_rule
from deploymark.bench.run.launch import now
from deploymark.bench.run.plan import Plan, PlannedCell
from deploymark.bench.run.rounds import Launches, launch_all
from deploymark.bench.run.run_folder import write_samples
from deploymark.bench.run.scenarios import run_scenarios
from deploymark.bench.score.aggregate import add_launches, settings_text
from deploymark.bench.score.average_precision import Scores, score
from deploymark.bench.score.fidelity import CellImages, add_fidelity
from deploymark.bench.store import Store
from deploymark.bench.worker.detections import load_detections

EXIT_OK = 0
EXIT_FAILED = 1


@dataclasses.dataclass(frozen=True)
class Measured:
    """All that a run measured: results by cell, and each cell's samples in nanoseconds."""

    results: Mapping[str, CellResult]
    samples: Mapping[str, list[int]]
    exit_status: int


def execute(
    plan: Plan,
    info: RunInfo,
    folder: Path,
    store: Store,
    progress: Progress,
    only: Collection[str] | None = None,
) -> Measured:
    """Build, launch and score the cells of a plan (those in ``only``), and write the run directory.

    Launches found in the folder are kept and not made again. Every finished launch is on disk
    before the next starts.
    """
    cells = [cell for cell in plan.cells if only is None or cell.id in only]
    built = build_cells(plan, cells, folder, store, progress)
    exported = {cell.key: built[cell.id] for cell in cells if cell.key is not None}
    info.artifacts_built = sum(
        item.artifact is not None and not item.reused for item in exported.values()
    )
    info.artifacts_reused = sum(item.reused for item in exported.values())
    launches = launch_all(plan, cells, built, folder, progress)
    scenarios = run_scenarios(plan, cells, built, folder, progress)
    predictions = _predictions(cells, launches, folder)
    scores = _score_all(plan, cells, predictions, progress)
    results = {
        cell.id: _result(
            plan, cell, built.get(cell.id), launches.get(cell.id, []), scores.get(cell.id)
        )
        for cell in cells
    }
    _compare_all(plan, cells, predictions, list(results.values()), folder, progress)
    status = exit_status([*results.values(), *scenarios])
    used = {
        cell: counted(records, disturbed=results[cell].disturbed)
        for cell, records in launches.items()
    }
    write_samples(
        folder,
        [
            (cell, record["launch"], record["latency_ns"])
            for cell, records in used.items()
            for record in records
        ],
    )
    write_cells(folder, list(results.values()))
    info.disturbed = marked_cells(list(results.values()), launches, plan.matrix.validity)
    info.finished, info.exit_status = now(), status
    write_run_info(folder, info)
    return Measured(
        results=results,
        samples={
            cell: [time for record in records for time in record["latency_ns"]]
            for cell, records in used.items()
        },
        exit_status=status,
    )


def exit_status(results: Collection[CellResult | ScenarioResult]) -> int:
    """1 where a cell or a scenario failed or no cell was measured, else 0."""
    failed = any(result.status not in NOT_FAILURES for result in results)
    measured = any(result.status == "ok" for result in results)
    return EXIT_OK if measured and not failed else EXIT_FAILED


def _predictions(cells: list[PlannedCell], launches: Launches, folder: Path) -> dict[str, Path]:
    """The files of boxes of the cells that have one."""
    return {
        cell.id: folder / PREDICTIONS_FOLDER / record["predictions"]
        for cell in cells
        for record in launches.get(cell.id, [])
        if record["status"] == "ok" and record["predictions"]
    }


def _score_all(
    plan: Plan, cells: list[PlannedCell], files: Mapping[str, Path], progress: Progress
) -> dict[str, Scores]:
    """The scores of the cells whose images are labelled."""
    scored = [
        cell for cell in cells if cell.id in files and plan.models[cell.cell.model].dataset.labelled
    ]
    progress.phase("score", len(scored))
    scores: dict[str, Scores] = {}
    for cell in scored:
        model = plan.models[cell.cell.model]
        scores[cell.id] = score(
            model.dataset.scored,
            load_detections(files[cell.id]),
            model.scored[cell.cell.imgsz].geometries,
            model.class_map,
        )
        progress.done(f"{cell.id}: mAP50-95 {scores[cell.id].map50_95:.4f}")
    return scores


def _compare_all(
    plan: Plan,
    cells: list[PlannedCell],
    files: Mapping[str, Path],
    results: list[CellResult],
    folder: Path,
    progress: Progress,
) -> None:
    """Compare the cells with the dense FP32 ones; the figures go into ``results``."""
    images = {}
    for cell in cells:
        if cell.id in files:
            model = plan.models[cell.cell.model]
            names = [image.path.name for image in model.dataset.scored]
            images[cell.id] = CellImages(files[cell.id], names, model.scored[cell.cell.imgsz].path)
    progress.phase("compare", len(images))
    add_fidelity(results, images, folder, progress.done)


def _result(
    plan: Plan,
    planned: PlannedCell,
    built: Built | None,
    launches: list[dict[str, Any]],
    scores: Scores | None,
) -> CellResult:
    cell = planned.cell
    failed_export = built is not None and not built.outcome.ok
    outcome = built.outcome if built and failed_export else planned.outcome or Outcome("ok")
    result = CellResult(
        cell=cell.id,
        status=outcome.status,
        reason=outcome.reason or None,
        remedy=outcome.remedy or None,
        model=cell.model,
        variant=cell.variant,
        sparsity=None if cell.given is not None else asked_sparsity(cell.steps),
        precision=cell.precision,
        backend=cell.backend,
        device=cell.device,
        imgsz=cell.imgsz,
        batch=cell.batch,
        threads=planned.threads,
        runtime_axes=settings_text(dict(cell.runtime_axes)) or None,
        warnings=list(planned.warnings),
    )
    if built is not None and built.artifact is not None:
        artifact = built.artifact
        result.artifact_sha256 = artifact.sha256
        result.artifact_bytes = artifact.bytes
        result.artifact_gzip_bytes = artifact.gzip_bytes
        for name in ("params", "macs", "nonzero_fraction"):
            setattr(result, name, artifact.detector[name])
        result.notes = list(artifact.notes)
        if result.sparsity is None and cell.given is None and result.nonzero_fraction is not None:
            result.sparsity = round(1 - result.nonzero_fraction, 4)  # the recipe chose it
        rule = stopping_rule(cell, plan.matrix)
        add_launches(result, launches, disturbed=is_marked(launches, rule))
        judge(result, launches, rule, plan.matrix.validity)
    if scores is not None:
        result.map50_95, result.map50 = scores.map50_95, scores.map50
        result.map_images = scores.images
    return result

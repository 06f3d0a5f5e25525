"""From launches to the results of cells: at the end of a run, and on the way."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from deploymark.backends.base import Detector
from deploymark.bench.build.artifacts import Built
from deploymark.bench.children.memory_limit import enforcement
from deploymark.bench.matrix.steps import asked_sparsity
from deploymark.bench.progress import Progress
from deploymark.bench.records.launches import Record, standing
from deploymark.bench.records.outcomes import Outcome
from deploymark.bench.records.run import PREDICTIONS_FOLDER, CellResult, Run, RunInfo
from deploymark.bench.run.confidence import is_marked, judge, stopping_rule
from deploymark.bench.run.guarding import Launches, OutputGuards
from deploymark.bench.run.plan import Plan, PlannedCell
from deploymark.bench.run.retries import told_of_retries
from deploymark.bench.run.schedule import StoppingRule
from deploymark.bench.score.aggregate import add_launches, settings_text
from deploymark.bench.score.average_precision import Scores, score
from deploymark.bench.worker.detections import load_detections


class InterimResults:
    """The results of a run on its way, of the launches made so far; boxes are scored once."""

    def __init__(
        self,
        plan: Plan,
        cells: Sequence[PlannedCell],
        built: Mapping[str, Built],
        folder: Path,
        info: RunInfo,
    ) -> None:
        self._plan, self._cells, self._built = plan, cells, built
        self._folder, self._info = folder, info
        self._scores: dict[str, Scores] = {}
        self._guards = OutputGuards(plan, cells, built)

    def __call__(self, launches: Launches, with_boxes: Launches) -> Run:
        """The run as it would be reported without further launches, agreement aside.

        Boxes are those of ``with_boxes``, which may have later launches.
        """
        files = predictions_of(self._cells, with_boxes, self._folder)
        for cell in labelled(self._plan, self._cells, files):
            if cell.id not in self._scores:
                self._scores[cell.id] = _score(self._plan, cell, files[cell.id])
        results = results_of(self._plan, self._cells, self._built, launches, self._scores)
        self._guards.judge(results, with_boxes, self._scores, files)
        return Run(self._folder, self._info, tuple(results.values()))


def results_of(
    plan: Plan,
    cells: Sequence[PlannedCell],
    built: Mapping[str, Built],
    launches: Launches,
    scores: Mapping[str, Scores],
    closed: Mapping[str, str] | None = None,
) -> dict[str, CellResult]:
    """The result of each cell, agreement aside; ``closed`` says which were stopped, and why."""
    results: dict[str, CellResult] = {}
    for cell in cells:
        every = launches.get(cell.id, ())
        records = standing(every)
        rule = stopping_rule(cell.cell, plan.matrix)
        if closed is not None and cell.id in closed:
            rule = dataclasses.replace(rule, least=_made(records), target=None)
        results[cell.id] = _result(
            plan, cell, built.get(cell.id), records, scores.get(cell.id), rule
        )
        results[cell.id].notes += told_of_retries(every)
        if closed is not None:
            results[cell.id].stopped = closed.get(cell.id) or None
    return results


def _made(records: Sequence[Record]) -> int:
    """Launches made, at one or more attempts."""
    return max(1, len({record["launch"] for record in records}))


def predictions_of(
    cells: Sequence[PlannedCell], launches: Launches, folder: Path
) -> dict[str, Path]:
    """The files of boxes of the cells that have one."""
    return {
        cell.id: folder / PREDICTIONS_FOLDER / record["predictions"]
        for cell in cells
        for record in launches.get(cell.id, [])
        if record["status"] == "ok" and record["predictions"]
    }


def labelled(
    plan: Plan, cells: Sequence[PlannedCell], files: Mapping[str, Path]
) -> list[PlannedCell]:
    """The cells that have boxes, on images that have labels."""
    return [
        cell for cell in cells if cell.id in files and plan.models[cell.cell.model].dataset.labelled
    ]


def score_all(
    plan: Plan, cells: Sequence[PlannedCell], files: Mapping[str, Path], progress: Progress
) -> dict[str, Scores]:
    """The scores of the cells whose images are labelled."""
    scored = labelled(plan, cells, files)
    progress.phase("score", len(scored))
    scores: dict[str, Scores] = {}
    for cell in scored:
        scores[cell.id] = _score(plan, cell, files[cell.id])
        progress.done(f"{cell.id}: mAP50-95 {scores[cell.id].map50_95:.4f}")
    return scores


def _score(plan: Plan, cell: PlannedCell, boxes: Path) -> Scores:
    model = plan.models[cell.cell.model]
    return score(
        model.dataset.scored,
        load_detections(boxes),
        model.scored[cell.cell.imgsz].geometries,
        model.class_map,
    )


def _result(
    plan: Plan,
    planned: PlannedCell,
    built: Built | None,
    launches: Sequence[Record],
    scores: Scores | None,
    rule: StoppingRule,
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
        sparsity=None if cell.given is not None else asked_sparsity(cell.steps),
        **planned.axes(),
        memory_limit_mb=cell.limit_mb,
        memory_enforced_by=enforcement().way if cell.limit_mb is not None else None,
        runtime_axes=settings_text(dict(cell.runtime_axes)) or None,
        warnings=list(planned.warnings),
    )
    if (model := plan.models.get(cell.model)) is not None:
        result.licence = model.licence or None
        if (detector := model.detectors.get(cell.imgsz)) is not None:
            _add_contracts(result, detector)
    if built is not None and built.artifact is not None:
        artifact = built.artifact
        result.artifact_sha256 = artifact.sha256
        result.artifact_bytes = artifact.bytes
        result.artifact_gzip_bytes = artifact.gzip_bytes
        result.artifact_zstd_bytes = artifact.zstd_bytes
        for name in ("params", "macs", "nonzero_fraction"):
            setattr(result, name, artifact.detector[name])
        _add_contracts(result, Detector.read(artifact.detector))
        result.notes = list(artifact.notes)
        if result.sparsity is None and cell.given is None and result.nonzero_fraction is not None:
            result.sparsity = round(1 - result.nonzero_fraction, 4)  # the recipe chose it
        add_launches(result, launches, disturbed=is_marked(launches, rule))
        judge(result, launches, rule, plan.matrix.validity)
    if scores is not None:
        result.map50_95, result.map50 = scores.map50_95, scores.map50
        result.map_images = scores.images
    return result


def _add_contracts(result: CellResult, detector: Detector) -> None:
    result.family = detector.family or None
    result.input_contract = detector.spec.told()
    result.output_contract = detector.output.told()

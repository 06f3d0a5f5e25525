"""Guards applied to the cells of a run: what makes one invalid, what is a warning.

Judged are the facts that ``launches.jsonl`` has of the outputs, so that a run that is taken up
again judges as it would have.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from deploymark.backends.base import Detector
from deploymark.bench.build.artifacts import Built
from deploymark.bench.data.datasets import Dataset
from deploymark.bench.matrix.cells import Cell
from deploymark.bench.records.files import known
from deploymark.bench.records.launches import Record
from deploymark.bench.records.run import CellResult
from deploymark.bench.run.plan import Plan, PlannedCell
from deploymark.bench.score.average_precision import Scores
from deploymark.bench.score.between_cells import disagreement, drift, nothing_beside_others
from deploymark.bench.score.findings import Finding, Subject
from deploymark.bench.score.guards import judge_outputs
from deploymark.bench.score.misreadings import Evidence, labels_to_find, misread
from deploymark.bench.score.score_guards import judge_scores
from deploymark.bench.worker.detections import load_detections
from deploymark.bench.worker.outputs import OutputFacts

Launches = Mapping[str, Sequence[Record]]


class OutputGuards:
    """Judges the cells of a plan; what needs the boxes again is asked once a cell."""

    def __init__(
        self, plan: Plan, cells: Sequence[PlannedCell], built: Mapping[str, Built]
    ) -> None:
        self._plan = plan
        self._cells = {
            cell.id: cell
            for cell in cells
            if cell.id in built and built[cell.id].artifact is not None
        }
        self._built = built
        self._labels: dict[str, int | None] = {}
        self._by_labels: dict[str, list[Finding]] = {}

    def judge(
        self,
        results: Mapping[str, CellResult],
        launches: Launches,
        scores: Mapping[str, Scores],
        files: Mapping[str, Path],
    ) -> None:
        """Mark the results, in place; before any agreement is measured."""
        facts = {
            cell: found
            for cell in self._cells
            if (found := facts_of(launches.get(cell, ()))) is not None
        }
        for name, cell in self._cells.items():
            mark(
                results[name],
                self._findings(cell, facts.get(name), scores.get(name), files.get(name)),
            )
        measured = [result for result in results.values() if result.status == "ok"]
        beside = [
            (result, nothing_beside_others(result, measured, facts, given=self._given(result)))
            for result in measured
        ]
        for result, finding in beside:
            mark(result, [finding] if finding is not None else [])

    def compare(self, results: Mapping[str, CellResult]) -> None:
        """Warn of cells that disagree and of scores that drift, once agreement is there."""
        measured = [result for result in results.values() if result.status == "ok"]
        for result in measured:
            for finding in (disagreement(result, measured), drift(result)):
                mark(result, [finding] if finding is not None else [])

    def _given(self, result: CellResult) -> bool:
        return result.cell in self._cells and self._cells[result.cell].cell.given is not None

    def _findings(
        self,
        planned: PlannedCell,
        facts: OutputFacts | None,
        scores: Scores | None,
        boxes: Path | None,
    ) -> list[Finding]:
        cell, artifact = planned.cell, self._built[planned.id].artifact
        assert artifact is not None  # noqa: S101 - for the type checker: chosen by it
        model = self._plan.models[cell.model]
        if cell.model not in self._labels:
            self._labels[cell.model] = labels_of(model.dataset, model.class_map)
        subject = subject_of(cell, artifact.detector, self._labels[cell.model])
        found = [] if facts is None else judge_outputs(facts, subject)
        if scores is None or boxes is None or any(item.hard for item in found):
            return found
        if planned.id not in self._by_labels:
            evidence = Evidence(
                model.dataset.scored,
                lambda: load_detections(boxes),
                model.scored[cell.imgsz].geometries,
                model.class_map,
            )
            self._by_labels[planned.id] = judge_labels(evidence, facts, scores, subject)
        return [*found, *self._by_labels[planned.id]]


def labels_of(dataset: Dataset, class_map: Mapping[int, int]) -> int | None:
    """How many labelled boxes a model could find; None where its images have no labels."""
    return labels_to_find(dataset.scored, class_map) if dataset.labelled else None


def subject_of(cell: Cell, detector: Mapping[str, Any], labels: int | None) -> Subject:
    """What the guards need to know of a cell; ``detector`` is that of its stored artifact."""
    told = Detector.read(detector)
    return Subject(
        output=told.output,
        classes=len(told.names),
        size=cell.imgsz,
        precision=cell.precision,
        variant=cell.variant,
        given=cell.given is not None,
        labels=labels,
    )


def judge_labels(
    evidence: Evidence, facts: OutputFacts | None, scores: Scores, subject: Subject
) -> list[Finding]:
    """What labels tell of boxes: that they are to be read another way, or that none is right."""
    other = misread(evidence, scores, subject)
    return [other] if other is not None else judge_scores(facts, scores, subject)


def facts_of(records: Iterable[Record]) -> OutputFacts | None:
    """The facts of the launch that made a cell's boxes, the last one; None where none has any."""
    told = [
        record["outputs"]
        for record in records
        if record["status"] == "ok" and record.get("outputs")
    ]
    return OutputFacts(**known(OutputFacts, told[-1])) if told else None


def mark(result: CellResult, findings: Sequence[Finding]) -> None:
    """Make a cell invalid by what is hard, and warn of what is not.

    Its mAP is no figure then; what was timed stays. What else was wrong with it becomes a warning.
    """
    hard = [finding for finding in findings if finding.hard]
    for finding in findings:
        if not finding.hard:
            result.warnings.append(f"{finding.words}. {finding.remedy}")
        if finding.cuts:
            result.accuracy_doubt = finding.words
    if not hard:
        return
    said = "; ".join(finding.words for finding in hard)
    result.map50_95 = result.map50 = result.map_images = None
    if result.status != "ok":
        result.warnings.append(said)
        return
    if result.reason:
        result.warnings.append(result.reason)
    result.status, result.reason = "invalid", said
    result.remedy = " ".join(dict.fromkeys(finding.remedy for finding in hard))

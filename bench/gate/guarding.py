"""Guards on the boxes of a gate's two sides: nonsense on both is not unchanged."""

from __future__ import annotations

from collections.abc import Sequence

from deploymark.bench.gate.scores import Boxes
from deploymark.bench.gate.sides import SideCell
from deploymark.bench.run.guarding import facts_of, judge_labels, labels_of, subject_of
from deploymark.bench.score.average_precision import Scores
from deploymark.bench.score.coco_matches import Predictions
from deploymark.bench.score.findings import Finding
from deploymark.bench.score.guards import judge_outputs
from deploymark.bench.score.misreadings import Evidence


def findings_of(
    item: SideCell, boxes: Boxes, read: Predictions, scores: Scores | None
) -> Sequence[Finding]:
    """What is wrong with the boxes of a side, as a run would find it.

    Boxes that a run left had their outputs judged there; they are held against the labels only.
    """
    dataset, cell = item.scored_on.dataset, item.cell
    labels = labels_of(dataset, item.scored_on.class_map)
    subject = subject_of(cell, item.measurable.artifact.detector, labels)
    facts = facts_of([boxes.record]) if boxes.record else None
    found = [] if facts is None else judge_outputs(facts, subject)
    if scores is None or any(one.hard for one in found):
        return found
    evidence = Evidence(
        dataset.scored, lambda: read.detections, read.geometries, item.scored_on.class_map
    )
    return [*found, *judge_labels(evidence, facts, scores, subject)]

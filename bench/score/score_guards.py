"""Guards on a mAP: nothing found right, or nothing that a threshold would show."""

from __future__ import annotations

from deploymark.bench.score.average_precision import Scores
from deploymark.bench.score.findings import (
    FEW_BOXES,
    FEW_IMAGES,
    FEW_LABELS,
    Finding,
    Subject,
    labelled,
    likely_causes,
    remedy_of,
)
from deploymark.bench.worker.detections import DEPLOYMENT_CONFIDENCE
from deploymark.bench.worker.outputs import OUTSIDE, OutputFacts

NO_MAP50 = 0.001
"""mAP50 below which nothing was found right."""

LITTLE_MAP50 = 0.05
LITTLE_SHOWN = 0.01
"""mAP50, and boxes above 0.25 for each labelled one, below which together nothing was found right,
either: a COCO detector that was given 0 to 1 in place of 0 to 255 had 0.0011, and no such box."""

LOW_SCORE = 0.55
LOW_MAP50 = 0.3
"""A detector of that mAP50 or more has boxes that it is surer of than the former."""

LOST_SHARE = 0.2
"""Share of the boxes that stick out by a twentieth of the picture, beside a mAP of 0."""


def judge_scores(facts: OutputFacts | None, scores: Scores, subject: Subject) -> list[Finding]:
    """What is wrong with a mAP: nothing found right, or nothing that a user would be shown."""
    if facts is not None and not facts.boxes:
        return []  # which was told of the outputs
    said = _nothing_right(facts, scores, subject)
    if said:
        few = (subject.labels or 0) < FEW_LABELS
        return [
            Finding(
                "nothing-right",
                said,
                f"{_where_boxes_lie(facts, subject)}{likely_causes(subject)}",
                remedy_of(subject),
                hard=not few and not subject.changed,
            )
        ]
    if facts is None or facts.boxes < FEW_BOXES or facts.kept_high is None or subject.changed:
        return []
    surest = LOW_SCORE if scores.map50 >= LOW_MAP50 else DEPLOYMENT_CONFIDENCE
    if facts.kept_high <= surest:
        return [
            Finding(
                "low-scores",
                f"no score is above {facts.kept_high:.2f}, though mAP50 is {scores.map50:.3f}",
                "the scores are scaled down (as a product of two that count for one, say); a "
                "threshold set for the model loses boxes",
                "Set the threshold of the application for this file, or export it again.",
                hard=False,
            )
        ]
    return []


def _nothing_right(facts: OutputFacts | None, scores: Scores, subject: Subject) -> str:
    """What was seen where nothing was found right; empty where something was."""
    if scores.map50 < NO_MAP50:
        return f"mAP50 is {scores.map50:.4f}: of {labelled(subject)} none was found right"
    labels = subject.labels or 0
    if facts is None or scores.map50 >= LITTLE_MAP50 or facts.images < FEW_IMAGES:
        return ""
    if facts.shown_above > LITTLE_SHOWN * labels:
        return ""
    return (
        f"mAP50 is {scores.map50:.4f}, and {facts.shown_above} boxes have a score above "
        f"{DEPLOYMENT_CONFIDENCE:g} on {facts.images} images with {labelled(subject)}"
    )


def _where_boxes_lie(facts: OutputFacts | None, subject: Subject) -> str:
    """What of the facts points to a cause."""
    if facts is None or facts.x_high is None or facts.y_high is None or facts.images < FEW_IMAGES:
        return ""
    said = []
    if facts.kept_high is not None and facts.kept_high <= DEPLOYMENT_CONFIDENCE:
        return f"no score is above {facts.kept_high:.2g}, which points to the input; "
    size = subject.size
    if facts.x_high < size.width / 2 and facts.y_high < size.height / 2:
        said.append(
            f"no box reaches beyond {facts.x_high:.0f} of {size.width} px from left to right and "
            f"{facts.y_high:.0f} of {size.height} px from top to bottom (the scale of boxes)"
        )
    elif facts.outside > LOST_SHARE * facts.shown:
        said.append(
            f"{facts.outside} of {facts.shown} boxes stick out of the picture by {OUTSIDE:g} of it "
            "(the scale of boxes, or another layout)"
        )
    if facts.classes_found == 1 and subject.classes > 1:
        said.append("all boxes are of one class (another layout)")
    return f"{', '.join(said)}; " if said else ""

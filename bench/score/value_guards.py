"""Guards on scores and class numbers: values that these cannot have."""

from __future__ import annotations

from deploymark.backends.layout import ROLES
from deploymark.backends.outputs import ROWS
from deploymark.bench.score.findings import Finding, Subject
from deploymark.bench.worker.outputs import OutputFacts

SCORE_SLACK = 0.02
"""By how much a score may leave [0, 1]: the steps of INT8 outputs (1/127) round it off."""

TWICE_SQUASHED = 0.7311
"""The sigmoid of 1: scores that went through two lie between 0.5 and this."""


def scores_are_shares(facts: OutputFacts, subject: Subject) -> Finding | None:
    """Scores outside [0, 1], or squeezed into a part of it."""
    low, high = facts.score_low, facts.score_high
    if low is None or high is None:
        return None
    if low >= -SCORE_SLACK and high <= 1 + SCORE_SLACK:
        return _twice_squashed(low, high, subject)
    seen = f"scores run from {low:.4g} to {high:.4g}, outside [0, 1]"
    rows = subject.output.layout in ROWS
    if rows and high == round(high) and high < max(2, subject.classes):
        cause = f"the {_parts(subject)} of score and class may be the other way round"
        remedy = _rows_remedy(subject)
    elif low < -SCORE_SLACK:
        cause = "they are logits: the sigmoid is missing at the end of the file"
        remedy = "Export the model with the sigmoid of its head."
    else:
        cause = "they are no probabilities: per cent, sums, or the scale of a quantized output"
        remedy = "Export the model with scores in [0, 1]; keep its output in float."
    return Finding("scores", seen, cause, remedy)


def _twice_squashed(low: float, high: float, subject: Subject) -> Finding | None:
    """Logits that are none: each score went through a sigmoid twice."""
    sigmoid = subject.output.layout == "detr" and subject.output.scores == "sigmoid"
    if not sigmoid or low < 0.5 or high > TWICE_SQUASHED + SCORE_SLACK:  # noqa: PLR2004 - sigmoid of 0
        return None
    return Finding(
        "scores",
        f"scores run from {low:.4g} to {high:.4g}, and none is below 0.5",
        "the file gives probabilities, and another sigmoid was taken of them",
        "Export the model with the logits of its head as they are.",
    )


def _parts(subject: Subject) -> str:
    """What rows are made of: columns, or outputs of their own."""
    return (
        "columns" if subject.output.arrays == 1 or subject.output.layout == "paddle" else "outputs"
    )


def _rows_remedy(subject: Subject) -> str:
    """How a file should give its rows."""
    layout = subject.output.layout
    if layout == "detections":
        return "Export it with rows of x1, y1, x2, y2, score, class."
    if layout == "queries-ranked":
        return "Export it with rows of centre-x, centre-y, width, height, score, class."
    if layout == "paddle":
        return "Export it with rows of class, score, x1, y1, x2, y2."
    return (
        "Export it with outputs that have their family's names: " + ", ".join(ROLES[layout]) + "."
    )


def classes_are_known(facts: OutputFacts, subject: Subject) -> Finding | None:
    """Class numbers that are not whole, or none of the model's."""
    layout = subject.output.layout
    if layout not in ROWS or facts.class_low is None or facts.class_high is None:
        return None
    if facts.classes_not_whole:
        cause, remedy = "that output is no class: another one, or quantized", _rows_remedy(subject)
        if layout == "detections":
            cause = (
                "the sixth column is no class: another family's layout (YOLOv5 of one class has "
                "six columns, too), other columns, or an output that was quantized"
            )
            remedy = (
                f"{remedy[:-1]}; `family: yolov5` of the model's entry in the matrix, where rows "
                "are x, y, width, height, objectness, score."
            )
        return Finding(
            "classes",
            f"{facts.classes_not_whole} of {facts.boxes} boxes have a class that is no whole "
            f"number ({facts.class_low:.4g} to {facts.class_high:.4g})",
            cause,
            remedy,
        )
    if facts.class_low < 0 or facts.class_high > subject.classes - 1:
        return Finding(
            "classes",
            f"classes run from {facts.class_low:g} to {facts.class_high:g}, the model has 0 to "
            f"{subject.classes - 1}",
            "they count from another number, or the file is of other classes than are named",
            "Export it with classes that count from 0, or give the data set of its classes.",
        )
    return None

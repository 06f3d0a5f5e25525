"""Guards: what outputs cannot look like, what is likely wrong then, and the option that mends it.

Judged are the facts that a worker collected on the scored images (``bench.worker.outputs``), and
what they came to beside labels. A finding that is ``hard`` makes a cell ``invalid``: its boxes are
no figure. Weights that a recipe changed may truly find nothing, or nonsense: of them only what no
weights can explain is hard.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from deploymark.bench.matrix.cells import AS_IS, DENSE
from deploymark.bench.score.average_precision import Scores
from deploymark.bench.worker.detections import (
    BOX_CHANNELS,
    DEPLOYMENT_CONFIDENCE,
    MAX_DETECTIONS,
    SCORING_CONFIDENCE,
)
from deploymark.bench.worker.outputs import FAR, OUTSIDE, OutputFacts

SCORE_SLACK = 0.02
"""By how much a score may leave [0, 1]: the steps of INT8 outputs (1/127) round it off."""

BOX_SHARE = 0.05
"""Share of the boxes shown that may be of no sense: a one-to-one head without distribution focal
loss (YOLO26) predicts distances that may be negative, and does so where it finds nothing."""

FAR_SHARE = 0.1
OUTSIDE_SHARE = 0.2
"""Shares of boxes shown that stick out of the picture by half of it, or by a twentieth. Detectors
leave a picture by a few pixels; of good files less than 1 % were outside by a twentieth."""

CORNER_SHARE = 0.98
"""Share of boxes with a width and a height beyond their centre: all of them where two corners are
read as centre and size, but for what rounding does."""

UNIT = 1.5
"""Highest coordinate of boxes that are shares of a picture: they leave it by a little, too."""

FLOOR = 0.01
INT8_FLOOR = 0.03
"""Lowest score from which on a floor is baked in: most boxes above 0.001 are below 0.01. INT8
outputs have steps, and none may lie between."""

FEW_BOXES = 20
"""Boxes from which on their scores are told to be constant, or to have a floor."""

CAP = 100
"""COCO scores the best 100 boxes of an image, so that more than these are no cap."""

CAPPED_SHARE = 0.5
FEW_IMAGES = 5
"""Share of the images with exactly as many boxes, and images in all, that tell a cap of boxes."""

NO_MAP50 = 0.001
"""mAP50 below which nothing was found right."""

FEW_LABELS = 10
"""Labelled boxes from which on a detector that finds none of them is nonsense, not bad luck."""

STRIDES = (8, 16, 32)
"""Of the heads of an anchor layout: they make the number of places."""

MOST_CLASSES = 20_000
"""No detection data set has as many (V3Det: 13,204)."""

LOW_SCORE = 0.55
LOW_MAP50 = 0.3
"""A detector of that mAP50 or more has boxes that it is surer of than the former."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """What a guard saw. ``seen`` and ``cause`` make a sentence, ``remedy`` is what mends it.

    ``hard`` makes the cell invalid. ``cuts`` tells that the file leaves boxes out, so that its mAP
    is not that of the detector: it counts for no constraint, and for no other cell.
    """

    guard: str
    seen: str
    cause: str
    remedy: str
    hard: bool = True
    cuts: bool = False

    @property
    def words(self) -> str:
        """The sentence."""
        return f"{self.seen}: {self.cause}"


@dataclasses.dataclass(frozen=True)
class Subject:
    """The cell that is judged.

    ``classes`` is the number of the model's classes, ``imgsz`` the size of its input in pixels;
    ``labels`` counts the labelled boxes that it could find, None where images have no labels.
    ``given`` tells that the file was made elsewhere.
    """

    layout: str
    classes: int
    imgsz: int
    precision: str
    variant: str = DENSE
    given: bool = False
    labels: int | None = None

    @property
    def changed(self) -> bool:
        """Whether a recipe changed the weights."""
        return is_changed(self.variant)


def is_changed(variant: str) -> bool:
    """Whether a recipe changed the weights of a variant."""
    return variant not in {DENSE, AS_IS}


def judge_outputs(facts: OutputFacts, subject: Subject) -> list[Finding]:
    """What the outputs of a cell cannot be; empty where nothing is wrong.

    Where something is hard, what is soft is left out: it is of the same nonsense.
    """
    if facts.images == 0:
        return []
    for alone in (_not_finite, _transposed):
        if found := alone(facts, subject):
            return [found]
    found_all = [found for guard in _GUARDS if (found := guard(facts, subject)) is not None]
    hard = [found for found in found_all if found.hard]
    return hard or found_all


def judge_scores(facts: OutputFacts | None, scores: Scores, subject: Subject) -> list[Finding]:
    """What is wrong with a mAP: nothing found right, or nothing that a user would be shown."""
    if scores.map50 < NO_MAP50 and (facts is None or facts.boxes):
        few = (subject.labels or 0) < FEW_LABELS
        said = _where_boxes_lie(facts, subject)
        return [
            Finding(
                "nothing-right",
                f"mAP50 is {scores.map50:.4f}: of {_labelled(subject)} none was found right",
                f"{said}{_causes(subject)}",
                _remedy(subject),
                hard=not few and not subject.changed,
            )
        ]
    low = facts is not None and facts.boxes >= FEW_BOXES and (facts.kept_high or 0) <= LOW_SCORE
    if low and scores.map50 >= LOW_MAP50 and facts is not None and not subject.changed:
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


def _not_finite(facts: OutputFacts, subject: Subject) -> Finding | None:
    count = facts.not_finite_images
    if not count and not facts.not_finite_elsewhere:
        return None
    overflow = "16-bit arithmetic that overflows, or " if "16" in subject.precision else ""
    if not count:
        return Finding(
            "not-finite-elsewhere",
            f"values that are not finite on {facts.not_finite_elsewhere} of {facts.images} images",
            f"where no score counts, so no box is touched; {overflow}a division by zero",
            "Watch them where boxes are decoded by others.",
            hard=False,
        )
    return Finding(
        "not-finite",
        f"outputs are not finite on {count} of {facts.images} images",
        f"the file computes NaN or infinity: {overflow}weights or a decode that are broken",
        "Export the model again, at fp32 to begin with, and compare.",
    )


def _transposed(facts: OutputFacts, subject: Subject) -> Finding | None:
    if subject.layout != "anchors" or len(facts.shape) != 2:  # noqa: PLR2004 - rows, columns
        return None
    rows, columns = facts.shape
    places = sum((subject.imgsz // stride) ** 2 for stride in STRIDES)
    classes = rows - BOX_CHANNELS
    if columns % places == 0 or (classes <= columns and classes <= MOST_CLASSES):
        return None
    return Finding(
        "transposed",
        f"{classes} classes at {columns} places, as the output reads, ({rows}, {columns}); an "
        f"input of {subject.imgsz} px has {places} places",
        "the output is (places, channels), transposed, or that of another family (YOLOv5 has "
        "(places, 5 + classes))",
        "`family: yolov5` of the model's entry in the matrix, where it is one; else export it as "
        "(batch, 4 + classes, places).",
    )


def _scores(facts: OutputFacts, subject: Subject) -> Finding | None:
    low, high = facts.score_low, facts.score_high
    if low is None or high is None or (low >= -SCORE_SLACK and high <= 1 + SCORE_SLACK):
        return None
    seen = f"scores run from {low:.4g} to {high:.4g}, outside [0, 1]"
    if subject.layout == "detections" and high == round(high) and high < max(2, subject.classes):
        cause = "the columns of score and class may be the other way round"
        remedy = "Export it with rows of x1, y1, x2, y2, score, class."
    elif low < -SCORE_SLACK:
        cause = "they are logits: the sigmoid is missing at the end of the file"
        remedy = "Export the model with the sigmoid of its head."
    else:
        cause = "they are no probabilities: per cent, sums, or the scale of a quantized output"
        remedy = "Export the model with scores in [0, 1]; keep its output in float."
    return Finding("scores", seen, cause, remedy)


def _class_numbers(facts: OutputFacts, subject: Subject) -> Finding | None:
    if subject.layout != "detections" or facts.class_low is None or facts.class_high is None:
        return None
    remedy = (
        "Export it with rows of x1, y1, x2, y2, score, class; `family: yolov5` of the model's "
        "entry in the matrix, where rows are x, y, width, height, objectness, score."
    )
    if facts.classes_not_whole:
        return Finding(
            "classes",
            f"{facts.classes_not_whole} of {facts.boxes} boxes have a class that is no whole "
            f"number ({facts.class_low:.4g} to {facts.class_high:.4g})",
            "the sixth column is no class: another family's layout (YOLOv5 of one class has six "
            "columns, too), other columns, or an output that was quantized",
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


def _inverted(facts: OutputFacts, subject: Subject) -> Finding | None:
    if not facts.shown or facts.inverted <= BOX_SHARE * facts.shown:
        return None
    seen = f"{facts.inverted} of {facts.shown} boxes end before they begin"
    if subject.layout == "detections":
        cause = (
            "x2 < x1 or y2 < y1: they are centre or corner with width and height, read as corners"
        )
        remedy = "Export it with corners, x1, y1, x2, y2."
    else:
        cause = "a width or a height is below 0: the channels of the boxes are others"
        remedy = "Export it with boxes of centre-x, centre-y, width, height."
    return Finding("inverted", seen, cause, remedy, hard=not subject.changed)


def _normalised(facts: OutputFacts, subject: Subject) -> Finding | None:
    high = facts.coordinate_high
    if high is None or high > UNIT or (facts.coordinate_low or 0) < -UNIT:
        return None
    return Finding(
        "normalised",
        f"all {facts.shown} boxes lie within 0..1 of a picture of {subject.imgsz} px",
        "they are shares of the picture, not pixels",
        "`boxes: normalised` of the model's entry in the matrix."
        if subject.given
        else "Measure the model under another backend: this one's export changed its boxes.",
        hard=not subject.changed,
    )


def _corners(facts: OutputFacts, subject: Subject) -> Finding | None:
    """Two corners that are read as centre and size."""
    if subject.layout != "anchors" or not facts.shown:
        return None
    corners = facts.corner_like >= CORNER_SHARE * facts.shown
    if not corners or facts.outside < OUTSIDE_SHARE * facts.shown:
        return None
    return Finding(
        "corners",
        f"{facts.corner_like} of {facts.shown} boxes are wider than their centre is far from the "
        f"edge, and {facts.outside} stick out of the picture",
        "x1, y1, x2, y2 are read as centre, width and height",
        "Export it with boxes of centre-x, centre-y, width, height.",
        hard=not subject.changed,
    )


def _far(facts: OutputFacts, subject: Subject) -> Finding | None:
    low, high = facts.coordinate_low, facts.coordinate_high
    if low is None or high is None or facts.far_outside < FAR_SHARE * facts.shown:
        return None
    if _corners(facts, subject) is not None:
        return None
    return Finding(
        "far-outside",
        f"{facts.far_outside} of {facts.shown} boxes lie more than {FAR:g} of a picture outside of "
        f"it (from {low:.4g} to {high:.4g} px of {subject.imgsz})",
        "another scale of boxes (multiplied by the size once more, or of another input size), or "
        "another layout of them",
        "Export it with boxes in pixels of its input; `boxes: normalised` of the model's entry in "
        "the matrix where the file gives shares of the picture.",
        hard=not subject.changed,
    )


def _constant(facts: OutputFacts, subject: Subject) -> Finding | None:
    if facts.boxes < FEW_BOXES or facts.kept_low is None or facts.kept_low != facts.kept_high:
        return None
    return Finding(
        "constant",
        f"all {facts.boxes} boxes have the same score, {facts.kept_low:.4g}",
        "the scores are no scores (thresholded, an objectness of 1, a channel that is constant)",
        "Export the model with its scores as they are.",
        hard=not subject.changed,
    )


def _floor(facts: OutputFacts, subject: Subject) -> Finding | None:
    floor = INT8_FLOOR if subject.precision.startswith("int8") else FLOOR
    low = facts.kept_low
    if low is None or facts.boxes < FEW_BOXES or low < floor or low == facts.kept_high:
        return None
    return Finding(
        "floor",
        f"no box has a score between {SCORING_CONFIDENCE:g} and {low:.4g}, of {facts.boxes} boxes "
        f"on {facts.images} images",
        f"the file keeps scores above a floor only (Ultralytics' `nms=True` bakes in "
        f"{DEPLOYMENT_CONFIDENCE:g}), so that its mAP is cut and not comparable",
        "Export it without `nms=True`, or with `conf=0.001`.",
        hard=False,
        cuts=True,
    )


def _cap(facts: OutputFacts, subject: Subject) -> Finding | None:
    most, images = facts.most_candidates, facts.images_with_most
    if not 1 < most < min(CAP, MAX_DETECTIONS) or facts.images < FEW_IMAGES:
        return None
    del subject
    if images < CAPPED_SHARE * facts.images:
        return None
    return Finding(
        "cap",
        f"{images} of {facts.images} images have exactly {most} boxes, none has more",
        "the file keeps no more of an image, so that its mAP is cut and not comparable",
        "Export it with a higher number of boxes (`max_det=300`), or without `nms=True`.",
        hard=False,
        cuts=True,
    )


def _nothing(facts: OutputFacts, subject: Subject) -> Finding | None:
    if facts.boxes:
        return _nothing_shown(facts, subject)
    enough = facts.images >= FEW_IMAGES if subject.labels is None else subject.labels > 0
    labels = f", which have {_labelled(subject)}" if subject.labels is not None else ""
    return Finding(
        "nothing",
        f"no box above a score of {SCORING_CONFIDENCE:g} on any of {facts.images} images{labels}",
        _causes(subject),
        _remedy(subject),
        hard=enough and not subject.changed,
    )


def _nothing_shown(facts: OutputFacts, subject: Subject) -> Finding | None:
    """No box that a user would see; where images have labels, mAP tells more."""
    if subject.labels is not None or facts.shown_above or facts.images < FEW_IMAGES:
        return None
    return Finding(
        "nothing-shown",
        f"no box above a score of {DEPLOYMENT_CONFIDENCE:g} on any of {facts.images} images",
        _causes(subject),
        _remedy(subject),
        hard=False,
    )


_GUARDS: Sequence[Callable[[OutputFacts, Subject], Finding | None]] = (
    _scores,
    _class_numbers,
    _inverted,
    _normalised,
    _corners,
    _far,
    _constant,
    _nothing,
    _floor,
    _cap,
)


def _labelled(subject: Subject) -> str:
    return f"{subject.labels or 0} labelled boxes"


def _where_boxes_lie(facts: OutputFacts | None, subject: Subject) -> str:
    """What of the facts points to a cause."""
    if facts is None or facts.coordinate_high is None or facts.images < FEW_IMAGES:
        return ""
    said = []
    if facts.coordinate_high < subject.imgsz / 2:
        said.append(
            f"no box reaches beyond {facts.coordinate_high:.0f} of {subject.imgsz} px (the scale "
            "of boxes)"
        )
    elif facts.outside > OUTSIDE_SHARE * facts.shown:
        said.append(
            f"{facts.outside} of {facts.shown} boxes stick out of the picture by {OUTSIDE:g} of it "
            "(the scale of boxes, or another layout)"
        )
    if facts.classes_found == 1 and subject.classes > 1:
        said.append("all boxes are of one class (another layout)")
    return f"{', '.join(said)}; " if said else ""


def _causes(subject: Subject) -> str:
    if subject.changed:
        return "the recipe may have taken that much of the weights"
    if subject.given:
        return (
            "likely causes are another range of the input (0 to 255), colour order or "
            "normalisation, another scale of boxes, another layout or order of classes"
        )
    if subject.precision != "fp32":
        return f"the export lost it at {subject.precision}, or the data set is of other pictures"
    return "the export lost it, or the data set is of other pictures than the model knows"


def _remedy(subject: Subject) -> str:
    if subject.changed:
        return "Fine-tune after it, or take a smaller amount."
    if subject.given:
        return (
            "Say in the model's entry in the matrix what the file takes and gives: "
            "`input: {range: [0, 255]}`, `boxes: normalised`, `family: yolov5`."
        )
    return "Measure the model at fp32 and under another backend, and look at its images and labels."

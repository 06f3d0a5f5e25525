"""Guards: what outputs cannot look like, what is likely wrong then, and the option that mends it.

Judged are the facts that a worker collected on the scored images (``bench.worker.outputs``), and
what they came to beside labels. A finding that is ``hard`` makes a cell ``invalid``: its boxes are
no figure. Weights that a recipe changed may truly find nothing, or nonsense: of them only what no
weights can explain is hard.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from deploymark.backends.outputs import CORNERS, QUERIES, places_by_stride
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
from deploymark.bench.score.value_guards import classes_are_known, scores_are_shares
from deploymark.bench.worker.detections import (
    BOX_CHANNELS,
    DEPLOYMENT_CONFIDENCE,
    MAX_DETECTIONS,
    SCORING_CONFIDENCE,
)
from deploymark.bench.worker.outputs import FAR, OutputFacts

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

CAP = 100
"""COCO scores the best 100 boxes of an image, so that more than these are no cap."""

CAPPED_SHARE = 0.5
"""Share of the images with exactly as many boxes that tells a cap of boxes."""

PLACES = frozenset({"anchors", "anchors-last", "yolov5"})
"""Layouts whose number of places the size tells (that of ``yolox`` is checked as it is decoded)."""

CENTRED = PLACES | {"queries", "queries-ranked", "detr"}
"""Layouts whose boxes the file gives as centre and sides."""

MOST_CLASSES = 20_000
"""No detection data set has as many (V3Det: 13,204)."""


def judge_outputs(facts: OutputFacts, subject: Subject) -> list[Finding]:
    """What the outputs of a cell cannot be; empty where nothing is wrong.

    Where something is hard, what is soft is left out: it is of the same nonsense.
    """
    if facts.images == 0:
        return []
    for alone in (_not_finite, _transposed):
        if found := alone(facts, subject):
            return [found]  # nothing else that is seen of such values means anything
    found_all = [found for guard in _GUARDS if (found := guard(facts, subject)) is not None]
    hard = [found for found in found_all if found.hard]
    return hard or found_all


def _not_finite(facts: OutputFacts, subject: Subject) -> Finding | None:
    if not facts.not_finite_images:
        return None
    return Finding(
        "not-finite",
        f"outputs are not finite on {facts.not_finite_images} of {facts.images} images",
        f"the file computes NaN or infinity: {_overflow(subject)}weights or a decode that are "
        "broken",
        "Export the model again, at fp32 to begin with, and compare.",
    )


def _not_finite_elsewhere(facts: OutputFacts, subject: Subject) -> Finding | None:
    if not facts.not_finite_elsewhere:
        return None
    return Finding(
        "not-finite-elsewhere",
        f"values that are not finite on {facts.not_finite_elsewhere} of {facts.images} images",
        f"where no score counts, so no box is touched; {_overflow(subject)}a division by zero",
        "Watch them where boxes are decoded by others.",
        hard=False,
    )


def _overflow(subject: Subject) -> str:
    return "16-bit arithmetic that overflows, or " if "16" in subject.precision else ""


def _transposed(facts: OutputFacts, subject: Subject) -> Finding | None:
    if subject.output.layout not in PLACES or len(facts.shape) != 2:  # noqa: PLR2004 - rows, columns
        return None
    rows, columns = facts.shape
    places = sum(height * width for _, height, width in places_by_stride(subject.size))
    classes = rows - BOX_CHANNELS
    if columns % places == 0 or (classes <= columns and classes <= MOST_CLASSES):
        return None
    return Finding(
        "transposed",
        f"{classes} classes at {columns} places, as the output reads, ({rows}, {columns}); an "
        f"input of {subject.size} px has {places} places",
        "the output is (places, channels), transposed, or that of another family (YOLOv5 has "
        "(places, 5 + classes))",
        "`family: yolov5` of the model's entry in the matrix, where it is one; else export it as "
        "(batch, 4 + classes, places).",
    )


def _inverted(facts: OutputFacts, subject: Subject) -> Finding | None:
    if not facts.shown or facts.inverted <= BOX_SHARE * facts.shown:
        return None
    seen = f"{facts.inverted} of {facts.shown} boxes end before they begin"
    if subject.output.layout in CORNERS:
        order = "y1, x1, y2, x2" if subject.output.layout == "ssd" else "x1, y1, x2, y2"
        cause = (
            "x2 < x1 or y2 < y1: they are centre or corner with width and height, read as corners"
        )
        remedy = f"Export it with corners, {order}."
    else:
        cause = "a width or a height is below 0: the channels of the boxes are others"
        remedy = "Export it with boxes of centre-x, centre-y, width, height."
    return Finding("inverted", seen, cause, remedy, hard=not subject.changed)


def _normalised(facts: OutputFacts, subject: Subject) -> Finding | None:
    spread = _spread(facts)
    if spread is None or spread[1] > UNIT or spread[0] < -UNIT:
        return None
    cause, remedy = (
        "they are shares of the picture, not pixels",
        (
            "`boxes: normalised` of the model's entry in the matrix."
            if subject.given
            else "Measure the model under another backend: this one's export changed its boxes."
        ),
    )
    if subject.output.boxes == "normalised":
        cause = "they are the size of the picture too small, though shares of it were multiplied"
        remedy = "Export it with boxes as shares of the picture, divided by its size once."
    return Finding(
        "normalised",
        f"all {facts.shown} boxes lie within 0..1 of a picture of {subject.size} px",
        cause,
        remedy,
        hard=not subject.changed,
    )


def _spread(facts: OutputFacts) -> tuple[float, float] | None:
    """The lowest and the highest coordinate of the boxes shown, along either side."""
    known = [
        value
        for value in (facts.x_low, facts.y_low, facts.x_high, facts.y_high)
        if value is not None
    ]
    return (min(known), max(known)) if known else None


def _corners(facts: OutputFacts, subject: Subject) -> Finding | None:
    """Two corners that are read as centre and size."""
    if subject.output.layout not in CENTRED or not facts.shown:
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
    spread = _spread(facts)
    if spread is None or facts.far_outside < FAR_SHARE * facts.shown:
        return None
    if _corners(facts, subject) is not None:
        return None
    remedy = (
        "Export it with boxes in pixels of its input; `boxes: normalised` of the model's entry in "
        "the matrix where the file gives shares of the picture."
    )
    if subject.output.boxes == "normalised":
        remedy = (
            "Export it with boxes as shares of its input; `boxes: pixels` of the model's entry in "
            "the matrix where the file gives pixels."
        )
    return Finding(
        "far-outside",
        f"{facts.far_outside} of {facts.shown} boxes lie more than {FAR:g} of a picture outside of "
        f"it (from {spread[0]:.4g} to {spread[1]:.4g} px of {subject.size})",
        "another scale of boxes (multiplied by the size once more, or of another input size), or "
        "another layout of them",
        remedy,
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
    if subject.output.layout in QUERIES:  # the best of them, however good they are: no floor
        return None
    if low is None or facts.boxes < FEW_BOXES or low < floor or low == facts.kept_high:
        return None
    baked = f" (Ultralytics' `nms=True` bakes in {DEPLOYMENT_CONFIDENCE:g})"
    remedy = "Export it without `nms=True`, or with `conf=0.001`."
    if subject.output.arrays > 1:
        baked, remedy = "", f"Export it with a threshold of {SCORING_CONFIDENCE:g} of its scores."
    return Finding(
        "floor",
        f"no box has a score between {SCORING_CONFIDENCE:g} and {low:.4g}, of {facts.boxes} boxes "
        f"on {facts.images} images",
        f"the file keeps scores above a floor only{baked}, so that its mAP is cut and not "
        "comparable",
        remedy,
        hard=False,
        cuts=True,
    )


def _cap(facts: OutputFacts, subject: Subject) -> Finding | None:
    most, images = facts.most_candidates, facts.images_with_most
    if not 1 < most < min(CAP, MAX_DETECTIONS) or facts.images < FEW_IMAGES:
        return None
    if subject.output.layout in QUERIES:  # as many boxes as it has queries
        return None
    if images < CAPPED_SHARE * facts.images:
        return None
    remedy = "Export it with a higher number of boxes (`max_det=300`), or without `nms=True`."
    if subject.output.arrays > 1:
        remedy = f"Export it with a higher number of boxes, {MAX_DETECTIONS} of an image."
    return Finding(
        "cap",
        f"{images} of {facts.images} images have exactly {most} boxes, none has more",
        "the file keeps no more of an image, so that its mAP is cut and not comparable",
        remedy,
        hard=False,
        cuts=True,
    )


def _nothing(facts: OutputFacts, subject: Subject) -> Finding | None:
    if facts.boxes:
        return _nothing_shown(facts, subject)
    enough = facts.images >= FEW_IMAGES or (subject.labels or 0) >= FEW_LABELS
    labels = f", which have {labelled(subject)}" if subject.labels is not None else ""
    return Finding(
        "nothing",
        f"no box above a score of {SCORING_CONFIDENCE:g} on any of {facts.images} images{labels}",
        likely_causes(subject),
        remedy_of(subject),
        hard=enough and not subject.changed,
    )


def _nothing_shown(facts: OutputFacts, subject: Subject) -> Finding | None:
    """No box that a user would see; where images have labels, mAP tells more."""
    if subject.labels is not None or facts.shown_above or facts.images < FEW_IMAGES:
        return None
    return Finding(
        "nothing-shown",
        f"no box above a score of {DEPLOYMENT_CONFIDENCE:g} on any of {facts.images} images",
        likely_causes(subject),
        remedy_of(subject),
        hard=False,
    )


_GUARDS: Sequence[Callable[[OutputFacts, Subject], Finding | None]] = (
    scores_are_shares,
    classes_are_known,
    _inverted,
    _normalised,
    _corners,
    _far,
    _constant,
    _nothing,
    _not_finite_elsewhere,
    _floor,
    _cap,
)

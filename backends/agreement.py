"""How far a changed detector finds what the unchanged one found: average precision without labels.

The unchanged detector's boxes stand for the truth, the changed one's are scored against them as
COCO scores boxes against labels. 1 is the same boxes in the same order of scores. It is stricter
than mAP, where an object that both miss costs both the same: INT8 exports of a YOLO11n whose mAP
was within 0.01 of FP32's agreed by 0.93 to 0.97.

For choices made on images that are neither labelled nor scored: which layers stay in float, which
recipe quantizes best. Written for Python 3.10 and numpy alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from deploymark.backends.layout import (
    BOX_CHANNELS,
    IOU_THRESHOLD,
    MAX_DETECTIONS,
    OutputLayout,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

IOU_THRESHOLDS = tuple(0.5 + 0.05 * step for step in range(10))
"""Overlaps from which on a box counts as found; the result is the mean over them (COCO's)."""

TRUTH_CONFIDENCE = 0.25
"""Lowest score of a box that counts as the truth: what ``yolo predict`` would show."""

FOUND_CONFIDENCE = 0.05
"""Lowest score of a box that may find one. Lower, as a truth of 0.26 is still there at 0.24."""


@dataclasses.dataclass(frozen=True, eq=False)
class Boxes:
    """The boxes of one image, best score first.

    ``corners``: float (n, 4), x1, y1, x2, y2 in pixels; ``scores``: float (n,); ``classes``:
    integers (n,).
    """

    corners: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    classes: npt.NDArray[np.int64]

    def above(self, confidence: float) -> Boxes:
        """Those with a score above ``confidence``."""
        kept = self.scores > confidence
        return Boxes(self.corners[kept], self.scores[kept], self.classes[kept])


def agreement(
    reference: Sequence[npt.NDArray[np.float32]],
    candidate: Sequence[npt.NDArray[np.float32]],
    layout: OutputLayout,
) -> float:
    """Average precision of ``candidate``'s boxes with ``reference``'s as the truth, in [0, 1].

    Both are raw outputs of the same images, float32 of one shape in ``layout`` (see
    ``backends.base.OutputLayout``), one array a batch. The mean over ``IOU_THRESHOLDS`` of the area
    under the precision-recall curve of all boxes of all images, of all classes in one ranking: on
    few images a mean over classes would hang on those seen once. A box finds one of its own class
    only. Where the reference finds nothing, 1 if the candidate finds nothing either, else 0.
    Raises ValueError where the two differ in number or shape.
    """
    if [array.shape for array in reference] != [array.shape for array in candidate]:
        raise ValueError("agreement() takes outputs of the same images, of the same shapes")
    return box_agreement(
        [boxes_of(image, layout) for batch in reference for image in batch],
        [boxes_of(image, layout) for batch in candidate for image in batch],
    )


def box_agreement(reference: Sequence[Boxes], candidate: Sequence[Boxes]) -> float:
    """``agreement`` of boxes that are decoded already, one entry an image.

    Raises ValueError where the two differ in the number of images.
    """
    import numpy as np

    truths = 0
    scores: list[npt.NDArray[np.float32]] = []
    hits: list[npt.NDArray[np.bool_]] = []
    for one, found in zip(reference, candidate, strict=True):
        truth = one.above(TRUTH_CONFIDENCE)
        truths += len(truth.scores)
        scores.append(found.scores)
        hits.append(_hits(truth, found))
    ranked = np.concatenate(scores) if scores else np.zeros(0, np.float32)
    if truths == 0:
        return float(not (ranked > TRUTH_CONFIDENCE).any())
    order = np.argsort(-ranked, kind="stable")
    return _average_precision(np.concatenate(hits)[order], truths)


def matches(truth: Boxes, found: Boxes, iou: float) -> list[tuple[int, int]]:
    """Which box finds which: pairs (index in ``found``, index in ``truth``), best score first.

    A box takes the truth of its class that it overlaps most of those that no better one has taken,
    if by ``iou`` or more.
    """
    return _pairs(_class_overlaps(truth, found), iou)


def boxes_of(raw: npt.NDArray[np.float32], layout: OutputLayout) -> Boxes:
    """The boxes of one image above ``FOUND_CONFIDENCE``, after suppression within each class.

    ``raw``: float32 (4 + classes, places) for ``anchors``, (n, 6) for ``detections``.
    """
    import numpy as np

    if layout == "detections":
        rows = raw[raw[:, 4] > FOUND_CONFIDENCE]
        rows = rows[np.argsort(-rows[:, 4], kind="stable")][:MAX_DETECTIONS]
        return Boxes(rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int64))
    best = raw[BOX_CHANNELS:].max(axis=0)
    places = np.flatnonzero(best > FOUND_CONFIDENCE)
    places = places[np.argsort(-best[places], kind="stable")]
    x, y, width, height = raw[:BOX_CHANNELS, places]
    corners = np.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], axis=1)
    classes = raw[BOX_CHANNELS:, places].argmax(axis=0)
    kept: list[int] = []
    rest = np.arange(len(places))
    while len(rest) and len(kept) < MAX_DETECTIONS:
        first, rest = rest[0], rest[1:]
        kept.append(int(first))
        same = classes[rest] == classes[first]
        rest = rest[~(same & (overlaps(corners[[first]], corners[rest])[0] > IOU_THRESHOLD))]
    return Boxes(corners[kept], best[places][kept], classes[kept])


def overlaps(
    one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Intersection over union of every box (n, 4) with every other (m, 4), as (n, m)."""
    import numpy as np

    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    common = np.prod(np.clip(high - low, 0, None), axis=2)
    areas = [
        np.prod(np.clip(boxes[:, 2:] - boxes[:, :2], 0, None), axis=1) for boxes in (one, other)
    ]
    union = areas[0][:, None] + areas[1][None] - common
    shares: npt.NDArray[np.float32] = common / np.maximum(union, np.float32(1e-9))
    return shares


def _class_overlaps(truth: Boxes, found: Boxes) -> npt.NDArray[np.float32]:
    """Overlap of every found box with every truth, (found, truths); -1 for those of two classes."""
    shares = overlaps(found.corners, truth.corners)
    shares[found.classes[:, None] != truth.classes[None]] = -1
    return shares


def _pairs(shares: npt.NDArray[np.float32], iou: float) -> list[tuple[int, int]]:
    """``matches`` from the overlaps (found, truths)."""
    import numpy as np

    pairs: list[tuple[int, int]] = []
    free = shares.copy()
    for row in np.flatnonzero((shares >= iou).any(axis=1)):
        taken = int(free[row].argmax())
        if free[row, taken] >= iou:
            pairs.append((int(row), taken))
            free[:, taken] = -1
    return pairs


def _hits(truth: Boxes, found: Boxes) -> npt.NDArray[np.bool_]:
    """Whether each found box is a truth not found before, by threshold: (boxes, thresholds)."""
    import numpy as np

    hits = np.zeros((len(found.scores), len(IOU_THRESHOLDS)), np.bool_)
    shares = _class_overlaps(truth, found)
    for column, threshold in enumerate(IOU_THRESHOLDS):
        hits[[row for row, _ in _pairs(shares, threshold)], column] = True
    return hits


def _average_precision(hits: npt.NDArray[np.bool_], truths: int) -> float:
    """Mean area under the precision-recall curves; ``hits`` (boxes, thresholds), best first.

    The curve's precision at a recall is the best one from there on, as COCO's.
    """
    import numpy as np

    if not len(hits):
        return 0.0
    precision = np.cumsum(hits, axis=0) / np.arange(1, len(hits) + 1)[:, None]
    envelope = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    return float((envelope * hits).sum() / (truths * hits.shape[1]))

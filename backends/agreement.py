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

from deploymark.backends.candidates import candidates
from deploymark.backends.layout import MAX_DETECTIONS, SUPPRESSED, OutputSpec
from deploymark.backends.suppression import nms

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from deploymark.backends.inputs import Size
    from deploymark.backends.session import Outputs

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
    reference: Sequence[Outputs], candidate: Sequence[Outputs], output: OutputSpec, size: Size
) -> float:
    """Average precision of ``candidate``'s boxes with ``reference``'s as the truth, in [0, 1].

    Both are raw outputs of the same images by one contract (see ``backends.layout``), one entry a
    batch; ``size`` is that of the input. The mean over ``IOU_THRESHOLDS`` of the area under the
    precision-recall curve of all boxes of all images, of all classes in one ranking: on few images
    a mean over classes would hang on those seen once. A box finds one of its own class only. Where
    the reference finds nothing, 1 if the candidate finds nothing either, else 0. Raises ValueError
    where the two differ in number or shape, or do not fit the contract.
    """
    if _shapes(reference, output) != _shapes(candidate, output):
        raise ValueError("agreement() takes outputs of the same images, of the same shapes")
    return box_agreement(
        [image for batch in reference for image in boxes_of(batch, output, size)],
        [image for batch in candidate for image in boxes_of(batch, output, size)],
    )


def _shapes(batches: Sequence[Outputs], output: OutputSpec) -> list[list[tuple[int, ...]]]:
    """The shapes of each batch's arrays; those of any number of rows without it."""
    free = output.layout in {"torchvision", "paddle"}
    return [
        [
            array.shape[1:] if free else array.shape
            for array in (batch if isinstance(batch, tuple) else (batch,))
        ]
        for batch in batches
    ]


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


def boxes_of(raw: Outputs, output: OutputSpec, size: Size) -> list[Boxes]:
    """The boxes of each image of a batch above ``FOUND_CONFIDENCE``, one class a place.

    Those of layouts in ``SUPPRESSED`` are reduced within each class. Raises ValueError where the
    shapes do not fit the layout.
    """
    import numpy as np

    found = []
    with np.errstate(invalid="ignore", over="ignore"):
        for image in candidates(raw, output, size, FOUND_CONFIDENCE):
            boxes, scores, classes = image.labelled(FOUND_CONFIDENCE, multi_label=False)
            order = np.argsort(-scores, kind="stable")
            if output.layout in SUPPRESSED:
                order = order[_kept(boxes[order], classes[order], output.iou)]
            order = order[:MAX_DETECTIONS]
            found.append(Boxes(boxes[order], scores[order], classes[order]))
    return found


def _kept(
    boxes: npt.NDArray[np.float32], classes: npt.NDArray[np.int64], iou: float
) -> npt.NDArray[np.int64]:
    """Indices of what suppression within each class leaves, in order."""
    import numpy as np

    kept = [np.zeros(0, np.int64)]
    for number in np.unique(classes):
        members = np.flatnonzero(classes == number)
        kept.append(members[nms(boxes[members], iou)])
    return np.sort(np.concatenate(kept))


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

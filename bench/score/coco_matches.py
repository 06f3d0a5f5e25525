"""Which detections find which boxes, by COCO's rule, in arrays that can be counted again and again.

``bench.score.average_precision`` scores once, and faster-coco-eval does it; a bootstrap scores
thousands of times, and all that changes is how often each image counts. So the matching is done
once, here, as ``pycocotools.cocoeval.COCOeval.evaluateImg`` does it, and kept.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from deploymark.bench.data.labels import ImageLabels
from deploymark.bench.worker.detections import Detections
from deploymark.bench.worker.letterbox import Geometry, unletterbox_boxes

if TYPE_CHECKING:
    import numpy.typing as npt

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""Of COCO's AP, ascending (``cocoeval.Params``)."""

RECALLS = np.linspace(0.0, 1.0, 101)
"""Recall points at which COCO reads the precision (``cocoeval.Params``)."""

_MAX_DETECTIONS = 100
"""Best detections of an image and class that count (``cocoeval.Params.maxDets``)."""

_JUST_BELOW_ONE = 1 - 1e-10
"""Highest overlap that a match is asked for (``evaluateImg``)."""


@dataclasses.dataclass(frozen=True, eq=False)
class Predictions:
    """The boxes that one detector found, and what it takes to read them.

    ``detections`` are in pixels of the letterboxed images that ``geometries`` describe, both entry
    by entry of the images scored; ``class_map`` gives the detector's class for each class of the
    data set that it has.
    """

    detections: Sequence[Detections]
    geometries: Sequence[Geometry]
    class_map: Mapping[int, int]


@dataclasses.dataclass(frozen=True, eq=False)
class ClassMatches:
    """The detections of one class on all images, best score first, n of them.

    ``image``: int64 (n,), positions of their images; ``found``: bool (10, n), at each of
    ``IOU_THRESHOLDS`` whether a box is found; ``ignored``: bool (10, n), whether only a crowd
    region is, which counts neither way. ``truth``: int64 (images,), boxes to find on each image.
    """

    image: npt.NDArray[np.int64]
    found: npt.NDArray[np.bool_]
    ignored: npt.NDArray[np.bool_]
    truth: npt.NDArray[np.int64]


def match(images: Sequence[ImageLabels], predictions: Predictions) -> list[ClassMatches]:
    """Match the detections of each class that has a box on some image, crowd regions aside.

    Raises ValueError if the lists differ in length.
    """
    truth = _all_labels(images, predictions.class_map)
    detected = _all_detections(images, predictions)
    wanted = np.unique(truth.classes[~truth.crowd])
    return [_match_class(truth.of(index), detected.of(index), len(images)) for index in wanted]


@dataclasses.dataclass(frozen=True, eq=False)
class _Boxes:
    """Boxes of all images, in the images' order: float64 (n, 4) x, y, width, height."""

    image: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.float64]
    classes: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]
    crowd: npt.NDArray[np.bool_]

    def of(self, index: int) -> _Boxes:
        """Those of one class."""
        return self.take(np.flatnonzero(self.classes == index))

    def take(self, places: npt.NDArray[np.int64] | slice) -> _Boxes:
        """Those at ``places``."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return _Boxes(**{name: value[places] for name, value in values.items()})


def _all_labels(images: Sequence[ImageLabels], class_map: Mapping[int, int]) -> _Boxes:
    classes = np.concatenate([image.classes for image in images])
    known = np.isin(classes, np.array(list(class_map), dtype=np.int64))
    position = np.repeat(np.arange(len(images)), [len(image.classes) for image in images])
    return _Boxes(
        image=position[known],
        boxes=_with_sizes(np.concatenate([image.boxes for image in images])[known]),
        classes=np.array([class_map[int(index)] for index in classes[known]], dtype=np.int64),
        scores=np.zeros(int(known.sum())),
        crowd=np.concatenate([image.crowd for image in images])[known],
    )


def _all_detections(images: Sequence[ImageLabels], predictions: Predictions) -> _Boxes:
    places = zip(images, predictions.detections, predictions.geometries, strict=True)
    corners = [unletterbox_boxes(one.boxes, place) for _, one, place in places]
    counts = [len(one) for one in predictions.detections]
    scores = np.concatenate([one.scores for one in predictions.detections])
    return _Boxes(
        image=np.repeat(np.arange(len(images)), counts),
        boxes=_with_sizes(np.concatenate(corners)),
        classes=np.concatenate([one.classes for one in predictions.detections]).astype(np.int64),
        scores=scores.astype(np.float64),
        crowd=np.zeros(len(scores), dtype=np.bool_),
    )


def _with_sizes(corners: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.hstack((corners[:, :2], corners[:, 2:] - corners[:, :2]))


def _match_class(truth: _Boxes, detected: _Boxes, images: int) -> ClassMatches:
    """Match one class's detections with its boxes."""
    detected = _best(detected)
    # Crowd regions last: a detection takes one only where no box is left.
    truth = truth.take(np.lexsort((truth.crowd, truth.image)))
    found = np.zeros((len(IOU_THRESHOLDS), len(detected.scores)), dtype=np.bool_)
    ignored = np.zeros_like(found)
    for image in np.intersect1d(truth.image, detected.image):
        mine, theirs = _span(detected.image, image), _span(truth.image, image)
        crowd = truth.crowd[theirs]
        overlaps = _overlaps(detected.boxes[mine], truth.boxes[theirs], crowd)
        _match_image(overlaps, crowd, found[:, mine], ignored[:, mine])
    # Ties in the order of the images, as COCO's stable sort leaves them.
    order = np.argsort(-detected.scores, kind="stable")
    return ClassMatches(
        image=detected.image[order],
        found=found[:, order],
        ignored=ignored[:, order],
        truth=np.bincount(truth.image[~truth.crowd], minlength=images),
    )


def _best(detected: _Boxes) -> _Boxes:
    """The detections of one class that count, by image and best first."""
    detected = detected.take(np.lexsort((-detected.scores, detected.image)))
    first = np.searchsorted(detected.image, detected.image)
    rank = np.arange(len(detected.image)) - first
    return detected.take(np.flatnonzero(rank < _MAX_DETECTIONS))


def _span(images: npt.NDArray[np.int64], image: int) -> slice:
    """Where ``image`` lies in the sorted ``images``."""
    start, end = np.searchsorted(images, [image, image + 1])
    return slice(int(start), int(end))


def _overlaps(
    found: npt.NDArray[np.float64], truth: npt.NDArray[np.float64], crowd: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """Intersection over union (over the detection's own area for a crowd), (found, truth)."""
    from faster_coco_eval.core import mask

    overlaps = mask.iou(found, truth, crowd.astype(np.uint8).tolist())
    return np.asarray(overlaps, dtype=np.float64)


def _match_image(
    overlaps: npt.NDArray[np.float64],
    crowd: npt.NDArray[np.bool_],
    found: npt.NDArray[np.bool_],
    ignored: npt.NDArray[np.bool_],
) -> None:
    """Fill in ``found`` and ``ignored``: each detection in turn takes the best box left to it.

    ``overlaps`` is (detections, boxes), the other two (10, detections):
    all thresholds at once. Of equal overlaps the later box is taken, as in ``evaluateImg``.
    """
    boxes = int((~crowd).sum())
    thresholds = np.minimum(IOU_THRESHOLDS, _JUST_BELOW_ONE)
    free = np.ones((len(thresholds), boxes), dtype=np.bool_)
    rows = np.arange(len(thresholds))
    for index in np.flatnonzero(overlaps.max(axis=1) >= thresholds[0]):
        row = overlaps[index]
        if boxes:
            left = np.where(free, row[:boxes], -1.0)
            best = boxes - 1 - left[:, ::-1].argmax(axis=1)
            taken = left[rows, best] >= thresholds
            found[taken, index] = True
            free[rows[taken], best[taken]] = False
        if boxes < len(crowd):
            ignored[:, index] = ~found[:, index] & (row[boxes:].max() >= thresholds)

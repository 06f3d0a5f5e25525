"""Other readings of a cell's boxes, held against the labels: which convention was missed.

Two axes or two columns the other way round make boxes that look like boxes. Only labels tell: where
another reading of the same boxes finds what was labelled and the one at hand does not, the file is
of the other convention. Asked where mAP is low alone, as each reading is scored.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from deploymark.backends.agreement import overlaps
from deploymark.backends.inputs import Size
from deploymark.bench.data.labels import ImageLabels
from deploymark.bench.score.average_precision import Scores, score
from deploymark.bench.score.findings import FEW_LABELS, Finding, Subject
from deploymark.bench.worker.detections import Detections
from deploymark.bench.worker.letterbox import Geometry, unletterbox_boxes

if TYPE_CHECKING:
    import numpy.typing as npt

    BoxArray = npt.NDArray[np.float32]

LOW_MAP50 = 0.25
"""mAP50 below which other readings are tried."""

FOUND_MAP50 = 0.3
TIMES = 4
"""What another reading must reach, and how many times that of the one at hand: no real detector
gets better by swapping its axes."""

WRONG_SHARE = 0.1
RENAMED_SHARE = 0.7
"""Boxes that lie right: so few have their class, so many would if each class had another number. A
detector that confuses classes has the first share far above, or the second far below."""

MATCH_IOU = 0.5

_CORNERS = "Export it with boxes in the order x, y; corners for (n, 6), centre and size else."
_SIDES = (
    "Give `orig_target_sizes` in its other order (`order` of `extra`, `input` of the model's entry "
    "in the matrix), or export it with boxes in pixels of its input."
)
_PIXELS = "Export it with boxes in pixels of its input."


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What is scored, as for ``average_precision.score``; boxes are read where they are needed."""

    scored: Sequence[ImageLabels]
    detections: Callable[[], Sequence[Detections]]
    geometries: Sequence[Geometry]
    class_map: Mapping[int, int]


def labels_to_find(scored: Sequence[ImageLabels], class_map: Mapping[int, int]) -> int:
    """How many labelled boxes a model could find: of its classes, crowds aside."""
    known = list(class_map)
    return sum(int((np.isin(image.classes, known) & ~image.crowd).sum()) for image in scored)


def misread(evidence: Evidence, scores: Scores, subject: Subject) -> Finding | None:
    """How the boxes of a cell are to be read, where that is another way; None where it is not.

    ``scores`` are those of the boxes as they were read. Of weights that a recipe changed, or of a
    few labels, nothing is said.
    """
    few = (subject.labels or 0) < FEW_LABELS
    if subject.changed or few or scores.map50 >= LOW_MAP50:
        return None
    found = evidence.detections()
    wanted = max(FOUND_MAP50, TIMES * scores.map50)
    for cause, remedy, reading in (*_READINGS, *_of_sides(subject.size)):
        read = [dataclasses.replace(image, boxes=reading(image.boxes)) for image in found]
        other = score(evidence.scored, read, evidence.geometries, evidence.class_map).map50
        if other >= wanted:
            return _finding(scores, other, cause, remedy)
    photos = [
        dataclasses.replace(place, gain_x=1.0, gain_y=1.0, pad_x=0, pad_y=0)
        for place in evidence.geometries
    ]
    other = score(evidence.scored, found, photos, evidence.class_map).map50
    if other >= wanted:
        return _finding(scores, other, "boxes are in pixels of the photo, not the input", _PIXELS)
    return _other_classes(evidence, found, scores)


def _other_classes(
    evidence: Evidence, found: Sequence[Detections], scores: Scores
) -> Finding | None:
    """Boxes that are right, of classes that are those of the labels under other numbers."""
    pairs = _classes_of_matches(evidence, found)
    if len(evidence.class_map) == 1 or len(pairs) < FEW_LABELS:
        return None
    right = sum(own == label for own, label in pairs)
    named = {own for own, _ in pairs}
    likely = {one: Counter(label for own, label in pairs if own == one) for one in named}
    renamed = sum(labels.most_common(1)[0][1] for labels in likely.values())
    if right > WRONG_SHARE * len(pairs) or renamed < RENAMED_SHARE * len(pairs):
        return None
    own, label = Counter(pairs).most_common(1)[0][0]
    return Finding(
        "misread",
        f"mAP50 is {scores.map50:.4f}: of {len(pairs)} boxes that lie on a labelled one {right} "
        f"have its class, and {renamed} would have under other numbers (where {label} is labelled, "
        f"the file says {own})",
        "the classes are in another order, or count from another number, than their names",
        "Name the classes in the order of the file: `names` of the data set, or its metadata.",
    )


def _classes_of_matches(evidence: Evidence, found: Sequence[Detections]) -> list[tuple[int, int]]:
    """(class of the box, class of the label) of the best box on each labelled one."""
    pairs: list[tuple[int, int]] = []
    for image, one, place in zip(evidence.scored, found, evidence.geometries, strict=True):
        if not len(one) or not len(image.boxes):
            continue
        boxes = unletterbox_boxes(one.boxes, place)
        shares = overlaps(boxes.astype(np.float32), image.boxes.astype(np.float32))
        for label, column in zip(image.classes.tolist(), shares.T, strict=True):
            on_it = np.flatnonzero(column >= MATCH_IOU)
            if label in evidence.class_map and len(on_it):
                best = on_it[one.scores[on_it].argmax()]
                pairs.append((int(one.classes[best]), evidence.class_map[label]))
    return pairs


def _finding(scores: Scores, found: float, cause: str, remedy: str) -> Finding:
    seen = f"mAP50 is {scores.map50:.4f}, and {found:.4f} where the boxes are read another way"
    return Finding("misread", seen, cause, remedy)


def _swapped(boxes: BoxArray) -> BoxArray:
    return boxes[:, [1, 0, 3, 2]]


def _from_centre(boxes: BoxArray) -> BoxArray:
    """Corners that are centre-x, centre-y, width and height."""
    half = boxes[:, 2:] / np.float32(2)
    return np.concatenate((boxes[:, :2] - half, boxes[:, :2] + half), axis=1)


def _from_corner(boxes: BoxArray) -> BoxArray:
    """Corners that are x, y, width and height."""
    return np.concatenate((boxes[:, :2], boxes[:, :2] + boxes[:, 2:]), axis=1)


def _moved_by_half(boxes: BoxArray) -> BoxArray:
    """Boxes whose corner was taken for their centre."""
    half = (boxes[:, 2:] - boxes[:, :2]) / np.float32(2)
    return np.concatenate((boxes[:, :2] + half, boxes[:, 2:] + half), axis=1)


def _corners_again(boxes: BoxArray) -> BoxArray:
    """Boxes whose corners were taken for centre and size."""
    return np.concatenate(((boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]), axis=1)


def _of_sides(size: Size) -> Sequence[_Reading]:
    """Boxes whose x was multiplied by the height and whose y by the width; none of a square."""
    if size.square:
        return ()
    ratio = np.float32(size.width / size.height)

    def the_other_way(boxes: BoxArray) -> BoxArray:
        return boxes * np.array([ratio, 1 / ratio] * 2, np.float32)

    return (
        (
            "x was multiplied by the height of the input and y by its width",
            _SIDES,
            the_other_way,
        ),
    )


_Reading = tuple[str, str, Callable[["BoxArray"], "BoxArray"]]

_READINGS: Sequence[_Reading] = (
    ("x and y are the other way round (y1, x1, y2, x2)", _CORNERS, _swapped),
    ("boxes are centre, width and height, read as corners", _CORNERS, _from_centre),
    ("boxes are corner, width and height, read as corners", _CORNERS, _from_corner),
    ("the corner of a box was read as its centre", _CORNERS, _moved_by_half),
    ("corners were read as centre, width and height", _CORNERS, _corners_again),
)

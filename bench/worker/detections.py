"""From a detector's raw output to boxes: decoding, non-maximum suppression, one file of all boxes.

The semantics are those of ``ultralytics.utils.nms.non_max_suppression``, so that figures compare
with what its users know. Written for Python 3.10 and numpy alone: workers decode too.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deploymark.backends.layout import BOX_CHANNELS as BOX_CHANNELS  # noqa: PLC0414 - handed on
from deploymark.backends.layout import DETECTION_COLUMNS as DETECTION_COLUMNS  # noqa: PLC0414
from deploymark.backends.layout import IOU_THRESHOLD, OutputLayout
from deploymark.backends.layout import MAX_DETECTIONS as MAX_DETECTIONS  # noqa: PLC0414

if TYPE_CHECKING:
    import numpy.typing as npt

MAX_CANDIDATES = 30_000
"""Boxes of one image that enter suppression, best scores first (Ultralytics' ``max_nms``)."""

CLASS_OFFSET_PX = 7680.0
"""Shift of each class's boxes, so that boxes of different classes never overlap (``max_wh``)."""

SCORING_CONFIDENCE = 0.001
"""Lowest score for mAP, which integrates over all of them (``DetectionValidator``)."""

DEPLOYMENT_CONFIDENCE = 0.25
"""Lowest score that a user of the model would show (``yolo predict``)."""


@dataclasses.dataclass(frozen=True, eq=False)
class Detections:
    """The boxes of one image, best score first.

    ``boxes``: float32 (n, 4), x1, y1, x2, y2 in pixels of the letterboxed input; ``scores``:
    float32 (n,) in [0, 1]; ``classes``: int32 (n,), indices of the model's classes.
    """

    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    classes: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.scores)


def decode(
    raw: npt.NDArray[np.float32],
    layout: OutputLayout,
    *,
    conf: float,
    iou: float = IOU_THRESHOLD,
    max_det: int = MAX_DETECTIONS,
    multi_label: bool = False,
    agnostic: bool = False,
    box_scale: float = 1.0,
) -> list[Detections]:
    """The boxes of each image of a batch.

    ``raw`` is float32 in ``layout`` (see ``backends.base.OutputLayout``). Scores must be above
    ``conf``. With ``multi_label`` one place gives a box for every class above ``conf``, otherwise
    for its best class alone; scoring wants the former, deployment the latter. With ``agnostic``
    boxes suppress each other whatever their class. ``detections`` are reduced already: ``iou`` and
    the switches do not touch them. Boxes are multiplied by ``box_scale`` first: the input's side in
    pixels where they are shares of it. A score that is not a number is not above ``conf``: such
    values give no boxes and no warning here, ``bench.worker.outputs`` counts them. Raises
    ValueError where the shape does not fit the layout.
    """
    _check_shape(raw, layout)
    with np.errstate(invalid="ignore", over="ignore"):
        if layout == "detections":
            return [_reduced(image, conf, max_det, box_scale) for image in raw]
        found = []
        for image in raw:
            turned = channels_first(image, layout, conf)
            boxes, scores, classes = _candidates(turned, conf, multi_label=multi_label)
            if box_scale != 1.0:
                boxes *= np.float32(box_scale)
            offset = np.float32(0.0 if agnostic else CLASS_OFFSET_PX)
            shifted = boxes + classes[:, None].astype(np.float32) * offset
            kept = nms(shifted, iou, max_det)
            found.append(_detections(boxes[kept], scores[kept], classes[kept]))
        return found


def _check_shape(raw: npt.NDArray[np.float32], layout: OutputLayout) -> None:
    match layout, raw.shape:
        case "detections", (_, _, columns) if columns == DETECTION_COLUMNS:
            return
        case "anchors", (_, channels, _) if channels > BOX_CHANNELS:
            return
        case "anchors-last", (_, _, channels) if channels > BOX_CHANNELS:
            return
        case "yolov5", (_, _, channels) if channels > BOX_CHANNELS + 1:
            return
    raise ValueError(f"an output of shape {raw.shape} does not have the layout {layout!r}")


def _reduced(
    image: npt.NDArray[np.float32], conf: float, max_det: int, box_scale: float
) -> Detections:
    """One image of an end-to-end head, (n, 6): only the threshold is left to apply."""
    rows = image[image[:, 4] > conf][:max_det]
    return _detections(rows[:, :4] * np.float32(box_scale), rows[:, 4], rows[:, 5])


def channels_first(
    image: npt.NDArray[np.float32], layout: OutputLayout, conf: float | None = None
) -> npt.NDArray[np.float32]:
    """One image of any layout but ``detections`` as (4 + classes, places), with scores that count.

    Of YOLOv5 those are objectness times class, as ``non_max_suppression`` of its repository takes
    them; places whose objectness is not above ``conf``, where that is given, are left out.
    """
    if layout == "anchors":
        return image
    if layout == "anchors-last":
        return image.T
    kept = image if conf is None else image[image[:, BOX_CHANNELS] > conf]
    boxes, objectness, classes = np.split(kept, (BOX_CHANNELS, BOX_CHANNELS + 1), axis=1)
    joined: npt.NDArray[np.float32] = np.concatenate((boxes, classes * objectness), axis=1).T
    return joined


def _candidates(
    image: npt.NDArray[np.float32], conf: float, *, multi_label: bool
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Boxes, scores and classes above ``conf``, best first, of one image (4 + classes, anchors)."""
    places = np.flatnonzero(image[BOX_CHANNELS:].max(axis=0) > conf)
    boxes = _corners(image[:BOX_CHANNELS, places].T)
    by_place = image[BOX_CHANNELS:, places].T
    if multi_label:
        place, classes = np.nonzero(by_place > conf)
        boxes, scores = boxes[place], by_place[place, classes]
    else:
        classes = by_place.argmax(axis=1)
        scores = by_place[np.arange(len(places)), classes]
    order = np.argsort(-scores, kind="stable")[:MAX_CANDIDATES]
    return boxes[order], scores[order], classes[order]


def nms(
    boxes: npt.NDArray[np.float32], iou: float, max_det: int = MAX_DETECTIONS
) -> npt.NDArray[np.int64]:
    """Greedy non-maximum suppression: the indices of the boxes kept, at most ``max_det``.

    ``boxes`` is float32 (n, 4), x1, y1, x2, y2, best score first. A box is dropped where its
    intersection over union with a better kept one is above ``iou``. The arithmetic is
    ``torchvision.ops.nms``'s, in float32.
    """
    x1, y1, x2, y2 = np.ascontiguousarray(boxes.T)
    areas = (x2 - x1) * (y2 - y1)
    rest = np.arange(len(boxes))
    kept: list[int] = []
    while len(rest) and len(kept) < max_det:
        best, rest = rest[0], rest[1:]
        kept.append(int(best))
        width = np.minimum(x2[best], x2[rest]) - np.maximum(x1[best], x1[rest])
        # Most boxes lie elsewhere: intersect only those that overlap from left to right.
        near = np.flatnonzero(width > 0)
        other = rest[near]
        height = np.minimum(y2[best], y2[other]) - np.maximum(y1[best], y1[other])
        shared = width[near] * np.maximum(height, np.float32(0))
        with np.errstate(divide="ignore", invalid="ignore"):  # two empty boxes: 0/0 is no overlap
            overlap = shared / (areas[best] + areas[other] - shared)
        dropped = near[overlap > iou]
        if len(dropped):
            rest = np.delete(rest, dropped)
    return np.array(kept, dtype=np.int64)


def _corners(boxes: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """(n, 4) centre-x, centre-y, width, height as x1, y1, x2, y2."""
    half = boxes[:, 2:] / np.float32(2)
    corners: npt.NDArray[np.float32] = np.concatenate(
        (boxes[:, :2] - half, boxes[:, :2] + half), axis=1
    )
    return corners


def _detections(
    boxes: npt.NDArray[Any], scores: npt.NDArray[Any], classes: npt.NDArray[Any]
) -> Detections:
    """Copies, because ``raw`` may be a session's own buffer."""
    return Detections(
        boxes=np.array(boxes, dtype=np.float32).reshape(-1, 4),
        scores=np.array(scores, dtype=np.float32),
        classes=np.array(classes).astype(np.int32),
    )


def save_detections(path: Path, detections: Sequence[Detections]) -> None:
    """Write the boxes of all images as one npz, in one step.

    Arrays: ``images`` (their number), ``image_index`` int32 (n,), ``boxes`` float32 (n, 4),
    ``scores`` float32 (n,), ``classes`` int32 (n,); rows in the order of the images.
    """
    counts = [len(image) for image in detections]
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as stream:
        np.savez(
            stream,
            images=np.int64(len(detections)),
            image_index=np.repeat(np.arange(len(counts), dtype=np.int32), counts),
            boxes=np.concatenate([np.empty((0, 4), np.float32), *(d.boxes for d in detections)]),
            scores=np.concatenate([np.empty(0, np.float32), *(d.scores for d in detections)]),
            classes=np.concatenate([np.empty(0, np.int32), *(d.classes for d in detections)]),
        )
    partial.replace(path)


def load_detections(path: Path) -> list[Detections]:
    """Read what ``save_detections`` wrote: one entry an image, empty ones included."""
    with np.load(path, allow_pickle=False) as arrays:
        index, boxes = arrays["image_index"], arrays["boxes"]
        scores, classes = arrays["scores"], arrays["classes"]
        starts = np.searchsorted(index, np.arange(int(arrays["images"]) + 1))
    return [
        Detections(boxes[a:b], scores[a:b], classes[a:b]) for a, b in itertools.pairwise(starts)
    ]

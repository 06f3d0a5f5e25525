"""From a detector's raw output to boxes: decoding, non-maximum suppression, one file of all boxes.

Suppression is that of ``ultralytics.utils.nms.non_max_suppression``, so that figures compare with
what its users know; what is not suppressed is decoded as its own family does. Written for Python
3.10 and numpy alone: workers decode too.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deploymark.backends.candidates import candidates
from deploymark.backends.layout import BOX_CHANNELS as BOX_CHANNELS  # noqa: PLC0414 - handed on
from deploymark.backends.layout import DETECTION_COLUMNS as DETECTION_COLUMNS  # noqa: PLC0414
from deploymark.backends.layout import MAX_DETECTIONS as MAX_DETECTIONS  # noqa: PLC0414
from deploymark.backends.layout import SUPPRESSED, OutputSpec
from deploymark.backends.suppression import nms

if TYPE_CHECKING:
    import numpy.typing as npt

    from deploymark.backends.inputs import Size
    from deploymark.backends.session import Outputs

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

    ``boxes``: float32 (n, 4), x1, y1, x2, y2 in pixels of the input; ``scores``:
    float32 (n,) in [0, 1]; ``classes``: int32 (n,), indices of the model's classes.
    """

    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    classes: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.scores)


def decode(
    raw: Outputs,
    output: OutputSpec,
    size: Size,
    *,
    conf: float,
    iou: float | None = None,
    max_det: int = MAX_DETECTIONS,
    multi_label: bool = False,
    agnostic: bool = False,
) -> list[Detections]:
    """The boxes of each image of a batch, best score first.

    ``raw`` is what a session gives, by the contract ``output`` (see ``backends.layout``), and
    ``size`` that of its input. Scores must be above ``conf``. Where boxes are to be suppressed
    (``SUPPRESSED``), it is at ``iou``, or else at the contract's, and with ``agnostic`` boxes
    suppress each other whatever their class. With ``multi_label`` a place with a score for each
    class gives a box for every class above ``conf``, otherwise for its best class alone; scoring
    wants the former, deployment the latter. Other layouts keep their family's own rule
    (``backends.candidates``), and neither switch touches them. A score that is not a number is not
    above ``conf``: such values give no boxes and no warning here, ``bench.worker.outputs`` counts
    them. Raises ValueError where the shapes do not fit the layout.
    """
    suppressed = output.layout in SUPPRESSED
    limit = MAX_CANDIDATES if suppressed else max_det
    overlap = output.iou if iou is None else iou
    offset = np.float32(0.0 if agnostic else CLASS_OFFSET_PX)
    found = []
    with np.errstate(invalid="ignore", over="ignore"):
        for image in candidates(raw, output, size, conf):
            boxes, scores, classes = image.labelled(conf, multi_label=multi_label)
            order = np.argsort(-scores, kind="stable")[:limit]
            boxes, scores, classes = boxes[order], scores[order], classes[order]
            if suppressed:
                kept = nms(boxes + classes[:, None].astype(np.float32) * offset, overlap, max_det)
                boxes, scores, classes = boxes[kept], scores[kept], classes[kept]
            found.append(_detections(boxes, scores, classes))
    return found


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

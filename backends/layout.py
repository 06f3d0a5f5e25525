"""What a detector gives: the output contract, its layouts, and what Ultralytics makes of one.

Written for Python 3.10 and nothing besides: workers decode, too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from deploymark.backends.inputs import PLAIN_INPUT as PLAIN_INPUT  # noqa: PLC0414 - handed on
from deploymark.backends.inputs import InputSpec as InputSpec  # noqa: PLC0414
from deploymark.backends.inputs import Size as Size  # noqa: PLC0414

OutputLayout = Literal[
    "anchors",
    "anchors-last",
    "yolov5",
    "yolox",
    "detections",
    "queries",
    "queries-ranked",
    "detr",
    "rtdetr",
    "nms-in-graph",
    "ssd",
    "torchvision",
    "paddle",
]
"""How a detector's outputs read. Of one array, boxes and scores together:

- ``anchors``: (batch, 4 + classes, places), boxes as centre-x, centre-y, width, height and scores
  in [0, 1], to be reduced by NMS (YOLOv8, YOLO11). ``anchors-last``: the same as (batch, places,
  4 + classes). ``yolov5``: (batch, places, 5 + classes), where the fifth value is the objectness
  that scores are multiplied by.
- ``yolox``: as ``yolov5``, but boxes are raw: offsets from the places of grids of stride 8, 16 and
  32, in strides, and logarithms of sides.
- ``detections``: (batch, n, 6), x1, y1, x2, y2, score, class, already reduced (the one-to-one head
  of YOLOv10 and YOLO26, or NMS in the file).
- ``queries``: (batch, n, 4 + classes), boxes as centre-x, centre-y, width, height, scores in
  [0, 1], nothing to be reduced (Ultralytics' RT-DETR of older versions).
- ``queries-ranked``: (batch, n, 6), the best n of all queries and classes: centre-x, centre-y,
  width, height, score, class (``RTDETRDecoder.postprocess`` of Ultralytics 8.4.190).

Of several arrays, in this order (``OutputSpec.names`` are the file's names of them):

- ``detr``: logits (batch, n, classes) and boxes (batch, n, 4) as centre and sides (DETR, RF-DETR,
  Hugging Face's RT-DETR and D-FINE); ``OutputSpec.scores`` says what makes scores of logits. With
  ``softmax`` the last column is "no object".
- ``rtdetr``: labels (batch, n), boxes (batch, n, 4) as corners, scores (batch, n) (RT-DETR,
  D-FINE, DEIM, exported with their own post-processing).
- ``nms-in-graph``: counts (batch,) or (batch, 1), boxes (batch, n, 4) as corners, scores
  (batch, n), classes (batch, n) (TensorRT's EfficientNMS, YOLO-NAS).
- ``ssd``: boxes (batch, n, 4) as y1, x1, y2, x2, classes (batch, n), scores (batch, n), counts
  (batch,) (TFLite_Detection_PostProcess).
- ``torchvision``: boxes (n, 4) as corners, labels (n,), scores (n,), of one image, any number.
- ``paddle``: rows (n, 6) of class, score, x1, y1, x2, y2 of all images, one after the other, and
  how many are of each image (batch,)."""

BoxUnit = Literal["pixels", "normalised"]
"""Boxes in pixels of the input, or as shares of its sides."""

ScoreForm = Literal["probability", "sigmoid", "softmax"]
"""Scores as they are, or logits, and the function that makes scores of them."""

ROLES: Mapping[str, tuple[str, ...]] = {
    "detr": ("logits", "boxes"),
    "rtdetr": ("labels", "boxes", "scores"),
    "nms-in-graph": ("counts", "boxes", "scores", "classes"),
    "ssd": ("boxes", "classes", "scores", "counts"),
    "torchvision": ("boxes", "labels", "scores"),
    "paddle": ("rows", "counts"),
}
"""What the arrays of layouts of several are, in their order; of a layout of one array there is
none."""

SUPPRESSED = frozenset({"anchors", "anchors-last", "yolov5", "yolox"})
"""Layouts whose boxes are to be reduced by non-maximum suppression."""


IOU_THRESHOLD = 0.7
"""Overlap above which the lower score is dropped (Ultralytics' ``iou`` in default.yaml)."""


@dataclasses.dataclass(frozen=True)
class OutputSpec:
    """How a session's outputs read: the output contract.

    ``boxes`` is the unit of the boxes of every layout. ``names`` are the file's names of a layout's
    arrays, in the order of ``ROLES``; empty where the file has the arrays in this order, or one
    array. ``iou`` is the overlap above which the lower score is dropped, of layouts in
    ``SUPPRESSED``.
    """

    layout: OutputLayout = "anchors"
    boxes: BoxUnit = "pixels"
    names: tuple[str, ...] = ()
    scores: ScoreForm = "probability"
    iou: float = IOU_THRESHOLD

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> OutputSpec:
        """From a mapping such as ``dataclasses.asdict`` gives, after a way through JSON."""
        return cls(**{**values, "names": tuple(values.get("names") or ())})

    @property
    def arrays(self) -> int:
        """How many arrays a session gives."""
        return len(ROLES.get(self.layout, ("",)))

    def told(self) -> str:
        """The contract in words for people."""
        parts: list[str] = [self.layout]
        if self.names:
            parts.append(" + ".join(self.names))
        if self.scores != "probability":
            parts.append(f"{self.scores} of logits")
        if self.boxes == "normalised":
            parts.append("boxes as shares of the input's sides")
        if self.layout in SUPPRESSED:
            parts.append(f"NMS at {self.iou:g}")
        return ", ".join(parts)


PLAIN_OUTPUT = OutputSpec()

FamilyName = Literal[
    "yolov5",
    "yolov8",
    "yolov10",
    "yolox",
    "detr",
    "yolos",
    "rtdetr",
    "dfine",
    "rfdetr",
    "ultralytics-rtdetr",
    "nms-in-graph",
    "yolo-nas",
    "ssd",
    "torchvision",
    "paddle",
]
"""What a user calls the conventions of a file (``backends.families``). ``yolov8`` is either way
round, told by the shape."""


@dataclasses.dataclass(frozen=True)
class ReadAs:
    """What a user says of a file; None where nothing is said.

    ``input`` are fields of ``InputSpec`` by name, which replace those of the family.
    """

    family: FamilyName | None = None
    boxes: BoxUnit | None = None
    input: Mapping[str, Any] = dataclasses.field(default_factory=dict)


AS_SEEN = ReadAs()

BOX_CHANNELS = 4
"""Leading channels of the layout ``anchors``: the box; one more for each class."""

DETECTION_COLUMNS = 6
"""Columns of the layout ``detections``: the box, its score, its class."""

MAX_DETECTIONS = 300
"""Boxes kept of one image (Ultralytics' ``max_det``)."""

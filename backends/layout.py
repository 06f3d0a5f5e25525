"""What a detector takes and gives: inputs, layouts of outputs, and what Ultralytics makes of one.

Written for Python 3.10 and nothing besides: workers decode, too.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

OutputLayout = Literal["anchors", "anchors-last", "yolov5", "detections"]
"""How a detector's output reads. ``anchors``: (batch, 4 + classes, places), boxes as centre-x,
centre-y, width, height in pixels of the letterboxed input and scores in [0, 1], to be reduced by
NMS (YOLOv8, YOLO11). ``anchors-last``: the same as (batch, places, 4 + classes). ``yolov5``:
(batch, places, 5 + classes), where the fifth value is the objectness that scores are multiplied by.
``detections``: (batch, n, 6), x1, y1, x2, y2, score, class, already reduced (the one-to-one head of
YOLOv10 and YOLO26, or NMS in the file)."""

FamilyName = Literal["yolov5", "yolov8", "yolov10"]
"""What a user calls a layout. ``yolov8`` is either way round, told by the shape."""

BoxUnit = Literal["pixels", "normalised"]
"""Boxes in pixels of the letterboxed input, or as shares of its sides."""


@dataclasses.dataclass(frozen=True)
class ReadAs:
    """What a user says of a file's output; None where nothing is said."""

    family: FamilyName | None = None
    boxes: BoxUnit | None = None


AS_SEEN = ReadAs()


@dataclasses.dataclass(frozen=True)
class InputSpec:
    """How a session takes images: RGB, the letterboxed bytes divided by 255 unless told otherwise.

    ``channels_last``: arrays are (batch, height, width, 3). ``range`` are the values of black and
    white.
    """

    dtype: Literal["float32", "uint8"] = "float32"
    channels_last: bool = False
    range: tuple[int, int] = (0, 1)

    def shape(self, images: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
        """The arrays' shape for images of the shape (batch, 3, height, width)."""
        batch, channels, height, width = images
        return (batch, height, width, channels) if self.channels_last else images


PLAIN_INPUT = InputSpec()

UNIT_RANGE, BYTE_RANGE = (0, 1), (0, 255)
"""The values of black and white that inputs may have."""

BOX_CHANNELS = 4
"""Leading channels of the layout ``anchors``: the box; one more for each class."""

DETECTION_COLUMNS = 6
"""Columns of the layout ``detections``: the box, its score, its class."""

MAX_DETECTIONS = 300
"""Boxes kept of one image (Ultralytics' ``max_det``)."""

IOU_THRESHOLD = 0.7
"""Overlap above which the lower score is dropped (Ultralytics' ``iou`` in default.yaml)."""

"""How a detector's output reads: the layouts, and what Ultralytics makes of one.

Written for Python 3.10 and nothing besides: workers decode, too.
"""

from __future__ import annotations

from typing import Literal

OutputLayout = Literal["anchors", "detections"]
"""How a detector's output reads. ``anchors``: (batch, 4 + classes, anchors), boxes as centre-x,
centre-y, width, height in pixels of the letterboxed input and scores in [0, 1], to be reduced by
NMS (YOLOv8, YOLO11). ``detections``: (batch, n, 6), x1, y1, x2, y2, score, class, already reduced
(the one-to-one head of YOLOv10 and YOLO26)."""

BOX_CHANNELS = 4
"""Leading channels of the layout ``anchors``: the box; one more for each class."""

DETECTION_COLUMNS = 6
"""Columns of the layout ``detections``: the box, its score, its class."""

MAX_DETECTIONS = 300
"""Boxes kept of one image (Ultralytics' ``max_det``)."""

IOU_THRESHOLD = 0.7
"""Overlap above which the lower score is dropped (Ultralytics' ``iou`` in default.yaml)."""

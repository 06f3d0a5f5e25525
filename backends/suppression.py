"""Greedy non-maximum suppression, in numpy.

Written for Python 3.10 and numpy alone: workers decode, and exporters compare boxes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploymark.backends.layout import MAX_DETECTIONS

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


def nms(
    boxes: npt.NDArray[np.float32], iou: float, max_det: int = MAX_DETECTIONS
) -> npt.NDArray[np.int64]:
    """Greedy non-maximum suppression: the indices of the boxes kept, at most ``max_det``.

    ``boxes`` is float32 (n, 4), x1, y1, x2, y2, best score first. A box is dropped where its
    intersection over union with a better kept one is above ``iou``. The arithmetic is
    ``torchvision.ops.nms``'s, in float32.
    """
    import numpy as np

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

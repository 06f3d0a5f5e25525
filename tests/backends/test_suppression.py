from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from deploymark.backends.suppression import nms


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    shared = width * height
    return shared / (areas - shared) if areas > shared else 0.0


boxes_of_whole_pixels = st.lists(
    st.tuples(*[st.integers(0, 12)] * 2, *[st.integers(0, 8)] * 2), max_size=25
).map(
    lambda rows: np.array([(x, y, x + w, y + h) for x, y, w, h in rows], np.float32).reshape(-1, 4)
)


@settings(deadline=None)
@given(boxes=boxes_of_whole_pixels, iou=st.sampled_from([0.0, 0.3, 0.5, 0.7, 1.0]))
def test_nms_is_the_greedy_definition(boxes: np.ndarray, iou: float) -> None:
    kept: list[int] = []
    for index, box in enumerate(boxes):
        if all(overlap(boxes[better], box) <= np.float32(iou) for better in kept):
            kept.append(index)
    assert nms(boxes, iou).tolist() == kept
    assert nms(boxes, iou, max_det=3).tolist() == kept[:3]

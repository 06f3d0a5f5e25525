"""Labels and boxes made up for the tests that score them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from deploymark.backends.inputs import InputSpec
from deploymark.bench.data.labels import ImageLabels
from deploymark.bench.worker.detections import Detections
from deploymark.bench.worker.letterbox import Geometry, geometry

SIZE = 320


def labels(
    boxes: Sequence[Sequence[float]],
    classes: Sequence[int],
    crowd: Sequence[bool] | None = None,
    width: int = 640,
    height: int = 480,
) -> ImageLabels:
    array = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    return ImageLabels(
        path=Path("x.jpg"),
        width=width,
        height=height,
        boxes=array,
        classes=np.array(classes, dtype=np.int64),
        areas=(array[:, 2] - array[:, 0]) * (array[:, 3] - array[:, 1]),
        crowd=np.array(crowd or [False] * len(array), dtype=np.bool_),
    )


def place_of(image: ImageLabels) -> Geometry:
    return geometry(image.width, image.height, InputSpec(height=SIZE, width=SIZE))


def found(
    image: ImageLabels, boxes: np.ndarray, scores: Sequence[float], classes: Sequence[int]
) -> Detections:
    """Boxes in pixels of the image, as a detector gives them on its letterboxed input."""
    place = place_of(image)
    inside = boxes * ([place.gain_x, place.gain_y] * 2) + [place.pad_x, place.pad_y] * 2
    return Detections(
        inside.astype(np.float32).reshape(-1, 4),
        np.array(scores, dtype=np.float32),
        np.array(classes, dtype=np.int32),
    )


def nothing() -> Detections:
    return Detections(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int32))


def random_case(
    seed: int, images: int = 12, classes: int = 4
) -> tuple[list[ImageLabels], list[Detections]]:
    """Labels, some of them crowds, and more than 100 boxes an image around and beside them."""
    random = np.random.default_rng(seed)
    scored, detections = [], []
    for _ in range(images):
        count = int(random.integers(0, 9))
        corner = random.uniform(0, 400, (count, 2))
        boxes = np.hstack((corner, corner + random.uniform(5, 200, (count, 2))))
        image = labels(
            boxes.tolist(),
            random.integers(0, classes, count).tolist(),
            (random.random(count) < 0.2).tolist(),
            width=int(random.integers(200, 900)),
            height=int(random.integers(200, 900)),
        )
        guesses = np.vstack([boxes + random.normal(0, 6, boxes.shape) for _ in range(15)])
        guesses[:, 2:] = np.maximum(guesses[:, 2:], guesses[:, :2] + 1)
        shown = np.tile(image.classes, 15)
        wrong = random.random(len(shown)) < 0.3
        shown[wrong] = random.integers(0, classes, int(wrong.sum()))
        scored.append(image)
        detections.append(found(image, guesses, random.random(len(shown)).tolist(), shown.tolist()))
    return scored, detections

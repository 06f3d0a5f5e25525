"""The same boxes written by every output contract: what a decoder must read back."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from deploymark.backends.inputs import Size
from deploymark.backends.layout import ROLES, OutputSpec
from deploymark.backends.outputs import places_by_stride
from deploymark.backends.session import Outputs

CONTRACTS = (
    OutputSpec("anchors"),
    OutputSpec("anchors", boxes="normalised"),
    OutputSpec("anchors-last"),
    OutputSpec("yolov5"),
    OutputSpec("yolov5", boxes="normalised"),
    OutputSpec("yolox", iou=0.65),
    OutputSpec("detections"),
    OutputSpec("detections", boxes="normalised"),
    OutputSpec("queries", boxes="normalised"),
    OutputSpec("queries-ranked", boxes="normalised"),
    OutputSpec("detr", boxes="normalised", scores="sigmoid"),
    OutputSpec("detr", boxes="normalised", scores="softmax"),
    OutputSpec("detr"),
    OutputSpec("rtdetr"),
    OutputSpec("nms-in-graph"),
    OutputSpec("ssd", boxes="normalised"),
    OutputSpec("torchvision"),
    OutputSpec("paddle"),
)
"""Every layout, in the units and forms of scores that families have."""

ROWS = 12
"""Rows of layouts that have the same number for every image."""


def name_of(output: OutputSpec) -> str:
    return f"{output.layout}-{output.boxes}-{output.scores}"


@dataclasses.dataclass(frozen=True, eq=False)
class Scene:
    """The boxes of one image, best score first: corners in pixels, scores and classes."""

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray


def scene(seed: int, size: Size, *, classes: int = 5, most: int = 6, lowest: float = 0.35) -> Scene:
    """Boxes side by side that no suppression touches, of distinct scores down to ``lowest``."""
    random = np.random.default_rng(seed)
    count = int(random.integers(1, most + 1))
    sides = np.array([size.width, size.height])
    cell = np.array([sides[0] / count, sides[1]])
    low = random.uniform(0.05, 0.4, (count, 2)) * cell
    low[:, 0] += np.arange(count) * cell[0]
    boxes = np.concatenate((low, low + random.uniform(0.2, 0.5, (count, 2)) * cell), axis=1)
    scores = np.sort(random.permutation(60)[:count] / 60 * (0.95 - lowest) + lowest)[::-1]
    scores[-1] = lowest
    return Scene(
        boxes.astype(np.float32),
        scores.astype(np.float32),
        random.integers(0, classes, count),
    )


def written(
    scenes: Sequence[Scene], output: OutputSpec, size: Size, *, classes: int = 5
) -> Outputs:
    """The raw outputs of a model that found these boxes; torchvision's is of one image."""
    if output.layout == "torchvision":
        (only,) = scenes
        return _boxes(only, output, size), only.classes, only.scores
    if output.layout == "paddle":
        rows = [
            np.column_stack((one.classes, one.scores, _boxes(one, output, size))) for one in scenes
        ]
        counts = np.array([len(one.scores) for one in scenes], np.int32)
        return np.concatenate(rows).astype(np.float32), counts
    images = [_written(one, output, size, classes) for one in scenes]
    arrays = tuple(np.stack(parts) for parts in zip(*images, strict=True))
    return arrays if output.layout in ROLES else arrays[0]


def _boxes(one: Scene, output: OutputSpec, size: Size) -> np.ndarray:
    if output.boxes == "pixels":
        return one.boxes
    return one.boxes / np.array([size.width, size.height] * 2, np.float32)


def _centred(boxes: np.ndarray) -> np.ndarray:
    return np.concatenate(((boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]), axis=1)


def _written(one: Scene, output: OutputSpec, size: Size, classes: int) -> tuple[np.ndarray, ...]:
    """The arrays of one image in the order of the contract."""
    count = len(one.scores)
    boxes = _boxes(one, output, size)
    if output.layout in {"detections", "queries-ranked"}:
        rows = np.zeros((ROWS, 6), np.float32)
        rows[:count, :4] = boxes if output.layout == "detections" else _centred(boxes)
        rows[:count, 4], rows[:count, 5] = one.scores, one.classes
        return (rows,)
    if output.layout in {"rtdetr", "nms-in-graph", "ssd"}:
        return _reduced(one, boxes, output)
    every = {"queries", "detr"}
    places = (
        ROWS
        if output.layout in every
        else sum(height * width for _, height, width in places_by_stride(size))
    )
    scores = np.zeros((places, classes), np.float32)
    scores[np.arange(count), one.classes] = one.scores
    centred = np.zeros((places, 4), np.float32)
    centred[:count] = _centred(boxes)
    if output.layout == "detr":
        return _logits(scores, output), centred
    if output.layout == "yolox":
        centred = _on_the_grid(centred, size, count)
    if output.layout in {"yolov5", "yolox"}:
        objectness = np.full((places, 1), 0.99, np.float32)
        return (np.concatenate((centred, objectness, scores / np.float32(0.99)), axis=1),)
    rows = np.concatenate((centred, scores), axis=1)
    return (rows.T if output.layout == "anchors" else rows,)


def _reduced(one: Scene, boxes: np.ndarray, output: OutputSpec) -> tuple[np.ndarray, ...]:
    """Rows of which those beyond the count are nonsense, where there is a count."""
    count, counted = len(one.scores), output.layout != "rtdetr"
    corners = np.zeros((ROWS, 4), np.float32)
    scores = np.full(ROWS, 0.97 if counted else 0.0, np.float32)
    labels = np.full(ROWS, 3, np.int64)
    corners[:count] = boxes[:, [1, 0, 3, 2]] if output.layout == "ssd" else boxes
    scores[:count], labels[:count] = one.scores, one.classes
    if output.layout == "rtdetr":
        return labels, corners, scores
    if output.layout == "ssd":
        return corners, labels.astype(np.float32), scores, np.float32(count)
    return np.array([count], np.int32), corners, scores, labels.astype(np.int32)


def _logits(scores: np.ndarray, output: OutputSpec) -> np.ndarray:
    """What the form makes these scores of."""
    if output.scores == "probability":
        return scores
    kept = np.clip(scores.astype(np.float64), 1e-9, None)
    if output.scores == "sigmoid":
        return np.log(kept / (1 - kept)).astype(np.float32)
    rest = np.log(1 - scores.sum(axis=1, keepdims=True))
    return np.concatenate((np.log(kept), rest), axis=1).astype(np.float32)


def _on_the_grid(centred: np.ndarray, size: Size, count: int) -> np.ndarray:
    """Centre and sides as YOLOX gives them: from the places of its grids, in strides."""
    strides, places = [], []
    for stride, height, width in places_by_stride(size):
        for row in range(height):
            for column in range(width):
                strides.append(stride)
                places.append((column, row))
    stride = np.array(strides, np.float32)[:, None]
    raw = np.zeros_like(centred)
    raw[:, :2] = centred[:, :2] / stride - np.array(places, np.float32)
    raw[:count, 2:] = np.log(centred[:count, 2:] / stride[:count])
    return raw

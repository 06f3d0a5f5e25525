"""Raw outputs of the embedded detector on its own images, and what is done to them to break them.

Each break is of a kind that files are broken in, in numpy, so that its cause is known.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from deploymark.backends.inputs import PLAIN_INPUT, Size
from deploymark.backends.layout import OutputLayout, OutputSpec
from deploymark.bench.data.datasets import Dataset, DataSource, load_dataset
from deploymark.bench.score.average_precision import score
from deploymark.bench.score.findings import Finding, Subject
from deploymark.bench.score.guards import judge_outputs
from deploymark.bench.score.misreadings import Evidence, misread
from deploymark.bench.score.score_guards import judge_scores
from deploymark.bench.worker.detections import decode
from deploymark.bench.worker.letterbox import geometry, letterbox, read_rgb, to_input
from deploymark.bench.worker.outputs import OutputCheck

IMGSZ = 160
SIZE = Size(IMGSZ, IMGSZ)
SPEC = PLAIN_INPUT.at(SIZE)
IMAGES = 24

Raw = np.ndarray


@dataclasses.dataclass(frozen=True)
class Good:
    """What the detector gives: ``anchors`` (images, 4 + classes, places), and as end-to-end rows,
    ``detections`` (images, 300, 6), where the rest of the rows is zero."""

    dataset: Dataset
    anchors: Raw
    detections: Raw

    def raw(self, layout: OutputLayout) -> Raw:
        return self.anchors if layout == "anchors" else self.detections


@functools.cache
def good(folder: Path) -> Good:
    """The outputs on the first images of the data set in ``folder``."""
    import torch

    from deploymark.bench.variants.checkpoint import model_factory

    dataset = load_dataset(
        DataSource("digits", yaml=folder / "data.yaml"),
        calibration_images=0,
        max_images=IMAGES,
        seed=0,
    )
    pixels = np.stack([letterbox(read_rgb(image.path), SPEC) for image in dataset.scored])
    with torch.inference_mode():
        raw = model_factory(folder / "digits.pt", IMGSZ)()(torch.from_numpy(to_input(pixels)))
    anchors = raw.numpy()
    rows = np.zeros((len(anchors), 300, 6), np.float32)
    for image, found in zip(
        rows, decode(anchors, OutputSpec("anchors"), SIZE, conf=1e-5), strict=True
    ):
        image[: len(found), :4] = found.boxes
        image[: len(found), 4] = found.scores
        image[: len(found), 5] = found.classes
    return Good(dataset, anchors, rows)


def judged(
    source: Good, raw: Raw, layout: OutputLayout, *, labelled: bool = True, variant: str = "as-is"
) -> list[Finding]:
    """What is found in raw outputs, as a run finds it."""
    classes = len(source.dataset.names)
    output = OutputSpec(layout)
    check = OutputCheck(output, SIZE)
    found = decode(raw, output, SIZE, conf=0.001, multi_label=True)
    check.add(raw, found)
    boxes = sum(len(image.boxes) for image in source.dataset.scored)
    subject = Subject(
        output, classes, SIZE, "fp32", variant, given=True, labels=boxes if labelled else None
    )
    facts = check.facts()
    findings = judge_outputs(facts, subject)
    if any(item.hard for item in findings) or not labelled:
        return findings
    places = [geometry(image.width, image.height, SPEC) for image in source.dataset.scored]
    class_map = {index: index for index in range(classes)}
    evidence = Evidence(source.dataset.scored, lambda: found, places, class_map)
    scores = score(evidence.scored, found, places, class_map)
    other = misread(evidence, scores, subject)
    return [*([other] if other else judge_scores(facts, scores, subject)), *findings]


def _boxes(change: Callable[[Raw], Raw]) -> Callable[[Raw], Raw]:
    """A change of the four channels or columns of boxes."""

    def changed(raw: Raw) -> Raw:
        out = raw.copy()
        if raw.shape[-1] == 6:
            out[..., :4] = change(raw[..., :4])
        else:
            out[:, :4] = change(raw[:, :4].transpose(0, 2, 1)).transpose(0, 2, 1)
        return out

    return changed


def _scores(change: Callable[[Raw], Raw]) -> Callable[[Raw], Raw]:
    def changed(raw: Raw) -> Raw:
        out = raw.copy()
        if raw.shape[-1] == 6:
            out[..., 4] = change(raw[..., 4])
        else:
            out[:, 4:] = change(raw[:, 4:])
        return out

    return changed


def _classes(change: Callable[[Raw], Raw]) -> Callable[[Raw], Raw]:
    def changed(raw: Raw) -> Raw:
        out = raw.copy()
        out[..., 5] = change(raw[..., 5])
        return out

    return changed


def _centre_size(boxes: Raw) -> Raw:
    return np.concatenate(
        ((boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]), -1
    )


def _corners(boxes: Raw) -> Raw:
    half = boxes[..., 2:] / 2
    return np.concatenate((boxes[..., :2] - half, boxes[..., :2] + half), -1)


def _corner_size(boxes: Raw) -> Raw:
    return np.concatenate((boxes[..., :2], boxes[..., 2:] - boxes[..., :2]), -1)


def _logits(scores: Raw) -> Raw:
    kept = np.clip(scores, 1e-6, 1 - 1e-6)
    return np.log(kept / (1 - kept))


def _nan_where_found(raw: Raw) -> Raw:
    return np.where(raw > 0.5, np.float32("nan"), raw)


def _nan_on_one_image(raw: Raw) -> Raw:
    out = raw.copy()
    out[3] = np.nan
    return out


def _capped(raw: Raw) -> Raw:
    """The ten best places of each image, no others."""
    out = raw.copy()
    for image in out:
        image[4:, np.argsort(-image[4:].max(axis=0))[10:]] = 0
    return out


def _swapped_columns(raw: Raw) -> Raw:
    return raw[..., [0, 1, 2, 3, 5, 4]]


def _other_order(raw: Raw) -> Raw:
    return np.concatenate((raw[:, :4], np.roll(raw[:, 4:], 3, axis=1)), axis=1)


def _one_class_yolov5(raw: Raw) -> Raw:
    rows = raw.transpose(0, 2, 1)
    ones = np.ones_like(rows[..., :1])
    return np.concatenate((rows[..., :4], ones, rows[..., 4:5]), -1)


A, D = "anchors", "detections"

BROKEN: Mapping[str, tuple[OutputLayout, Callable[[Raw], Raw], str, str]] = {
    "nan everywhere": (A, lambda raw: raw * np.nan, "not-finite", "NaN or infinity"),
    "nan in rows": (D, lambda raw: raw * np.nan, "not-finite", "NaN or infinity"),
    "nan where found": (A, _nan_where_found, "not-finite", "NaN or infinity"),
    "nan on one image": (A, _nan_on_one_image, "not-finite", "NaN or infinity"),
    "infinite boxes": (
        A,
        _boxes(lambda b: np.full_like(b, np.inf)),
        "not-finite",
        "NaN or infinity",
    ),
    "infinite boxes in rows": (
        D,
        _boxes(lambda b: np.full_like(b, np.inf)),
        "not-finite",
        "NaN or infinity",
    ),
    "logits": (A, _scores(_logits), "scores", "sigmoid is missing"),
    "logits in rows": (D, _scores(_logits), "scores", "sigmoid is missing"),
    "per cent": (A, _scores(lambda s: s * 100), "scores", "per cent"),
    "scores of one": (A, _scores(lambda s: (s > 0.01) * np.float32(1)), "constant", "no scores"),
    "constant scores": (
        D,
        _scores(lambda s: (s > 0.001) * np.float32(0.6)),
        "constant",
        "no scores",
    ),
    "classes and a half": (D, _classes(lambda c: c + 0.5), "classes", "no class"),
    "classes from -1": (D, _classes(lambda c: c - 1), "classes", "count from another number"),
    "classes from 1": (D, _classes(lambda c: c + 1), "classes", "count from another number"),
    "score and class swapped": (D, _swapped_columns, "scores", "the other way round"),
    "centre and size as corners": (D, _boxes(_centre_size), "inverted", "read as corners"),
    "corner and size as corners": (D, _boxes(_corner_size), "inverted", "read as corners"),
    "corners as centre and size": (A, _boxes(_corners), "corners", "read as centre"),
    "normalised": (A, _boxes(lambda b: b / IMGSZ), "normalised", "shares of the picture"),
    "normalised rows": (D, _boxes(lambda b: b / IMGSZ), "normalised", "shares of the picture"),
    "scaled twice": (A, _boxes(lambda b: b * IMGSZ), "far-outside", "another scale"),
    "of a larger input": (D, _boxes(lambda b: b * 4), "far-outside", "another scale"),
    "far outside": (
        A,
        _boxes(lambda b: b + np.array([2 * IMGSZ, 0, 0, 0])),
        "far-outside",
        "another layout",
    ),
    "nothing": (A, _scores(lambda s: s * 0), "nothing", "range of the input"),
    "nothing in rows": (D, lambda raw: raw * 0, "nothing", "range of the input"),
    "transposed": (A, lambda raw: raw.transpose(0, 2, 1), "transposed", "(places, channels)"),
    "floor": (A, _scores(lambda s: s * (s > 0.25)), "floor", "nms=True"),
    "floor in rows": (D, lambda raw: raw * (raw[..., 4:5] > 0.1), "floor", "above a floor"),
    "cap": (A, _capped, "cap", "no more of an image"),
    "cap in rows": (D, lambda raw: raw[:, :10], "cap", "no more of an image"),
    "halved": (A, _scores(lambda s: s / 2), "low-scores", "scaled down"),
    "halved in rows": (D, _scores(lambda s: s / 2), "low-scores", "scaled down"),
    "y before x": (A, _boxes(lambda b: b[..., [1, 0, 3, 2]]), "misread", "other way round"),
    "y before x in rows": (D, _boxes(lambda b: b[..., [1, 0, 3, 2]]), "misread", "other way round"),
    "half the size": (A, _boxes(lambda b: b / 2), "nothing-right", "scale of boxes"),
    "classes in another order": (A, _other_order, "misread", "another order"),
    "yolov5 of one class": (D, _one_class_yolov5, "classes", "YOLOv5"),
}
"""By name: the layout, what is done, the guard that tells it and words of the cause."""

CUT = ("floor", "floor in rows", "cap", "cap in rows")
SOFT = (*CUT, "halved", "halved in rows")

"""Boxes as each family's own post-processing gives them, of random outputs at sides that differ."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from deploymark.backends.inputs import Size
from deploymark.backends.layout import OutputSpec
from deploymark.bench.worker.detections import Detections, decode

pytestmark = pytest.mark.heavy

SIZES = (Size(384, 640), Size(640, 384))
QUERIES, CLASSES = 300, 80


def assert_equal(
    found: Detections, boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray
) -> None:
    """Within 1e-3 px and 1e-6 of score; the reference may be in any order."""
    order = np.argsort(-scores, kind="stable")
    assert len(found) == len(order) > 5
    np.testing.assert_allclose(found.scores, scores[order], atol=1e-6)
    np.testing.assert_array_equal(found.classes, classes[order])
    np.testing.assert_allclose(found.boxes, boxes[order], atol=1e-3)


def queries(seed: int, *, classes: int = CLASSES) -> tuple[np.ndarray, np.ndarray]:
    """Logits and boxes, centre and sides as shares, of two images."""
    random = np.random.default_rng(seed)
    logits = random.normal(-4, 2, (2, QUERIES, classes)).astype(np.float32)
    boxes = random.uniform(0.05, 0.95, (2, QUERIES, 4)).astype(np.float32)
    return logits, boxes


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("conf", [0.001, 0.25])
def test_rt_detr_of_hugging_face(size: Size, conf: float) -> None:
    processing = pytest.importorskip("transformers.models.rt_detr.image_processing_rt_detr")
    logits, boxes = queries(0)
    theirs = processing.RTDetrImageProcessor().post_process_object_detection(
        SimpleNamespace(logits=torch.from_numpy(logits), pred_boxes=torch.from_numpy(boxes)),
        threshold=conf,
        target_sizes=[tuple(size)] * 2,
    )
    output = OutputSpec("detr", boxes="normalised", scores="sigmoid")
    for multi_label in (False, True):
        ours = decode((logits, boxes), output, size, conf=conf, multi_label=multi_label)
        for mine, other in zip(ours, theirs, strict=True):
            assert_equal(mine, *(other[key].numpy() for key in ("boxes", "scores", "labels")))


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("conf", [0.001, 0.25])
@pytest.mark.parametrize("family", ["detr", "yolos"])
def test_detr_and_yolos_of_hugging_face(family: str, size: Size, conf: float) -> None:
    processing = pytest.importorskip(f"transformers.models.{family}.image_processing_{family}")
    kind = getattr(
        processing, {"detr": "DetrImageProcessor", "yolos": "YolosImageProcessor"}[family]
    )
    logits, boxes = queries(1, classes=CLASSES + 1)
    logits[..., -1] += 5
    theirs = kind().post_process_object_detection(
        SimpleNamespace(logits=torch.from_numpy(logits), pred_boxes=torch.from_numpy(boxes)),
        threshold=conf,
        target_sizes=[tuple(size)] * 2,
    )
    output = OutputSpec("detr", boxes="normalised", scores="softmax")
    ours = decode((logits, boxes), output, size, conf=conf, multi_label=True)
    for mine, other in zip(ours, theirs, strict=True):
        assert_equal(mine, *(other[key].numpy() for key in ("boxes", "scores", "labels")))


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_rt_detr_of_ultralytics(size: Size) -> None:
    head = pytest.importorskip("ultralytics.nn.modules.head")
    validator = pytest.importorskip("ultralytics.models.rtdetr.val")
    logits, boxes = queries(2)
    asked = SimpleNamespace(
        num_queries=QUERIES, max_det=QUERIES, export=False, dynamic=False, format=None, nc=CLASSES
    )
    raw = head.RTDETRDecoder.postprocess(
        asked, torch.from_numpy(boxes), torch.from_numpy(logits).sigmoid()
    )
    args = SimpleNamespace(imgsz=list(size), classes=None, conf=0.01, max_det=QUERIES)
    theirs = validator.RTDETRValidator.postprocess(SimpleNamespace(args=args), raw.clone())
    output = OutputSpec("queries-ranked", boxes="normalised")
    for mine, other in zip(decode(raw.numpy(), output, size, conf=0.01), theirs, strict=True):
        assert_equal(mine, *(other[key].numpy() for key in ("bboxes", "conf", "cls")))


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_yolo_of_ultralytics(size: Size) -> None:
    reference = pytest.importorskip("ultralytics.utils.nms")
    random = np.random.default_rng(3)
    raw = np.empty((2, 4 + CLASSES, 5040), np.float32)
    sides = np.array([size.width, size.height], np.float32)[:, None]
    raw[:, :2] = random.uniform(0, 1, (2, 2, 5040)) * sides
    raw[:, 2:4] = random.uniform(0.02, 0.4, (2, 2, 5040)) * sides
    raw[:, 4:] = random.random((2, CLASSES, 5040)) ** 40
    theirs = reference.non_max_suppression(torch.from_numpy(raw.copy()), 0.25, 0.7)
    for mine, other in zip(decode(raw, OutputSpec(), size, conf=0.25), theirs, strict=True):
        rows = np.column_stack((mine.boxes, mine.scores, mine.classes))
        np.testing.assert_array_equal(rows, other.numpy())


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("multi_label", [False, True])
def test_yolox(size: Size, *, multi_label: bool) -> None:
    """Of its ``decode_outputs`` and ``postprocess``, written again after the public source."""
    vision = pytest.importorskip("torchvision.ops")
    random = np.random.default_rng(4)
    strides = (8, 16, 32)
    grids = [(size.height // stride, size.width // stride) for stride in strides]
    places = sum(height * width for height, width in grids)
    raw = random.normal(0, 0.7, (1, places, 5 + CLASSES)).astype(np.float32)
    raw[..., 4:] = random.random((1, places, 1 + CLASSES)) ** 8

    outputs, cells, steps = torch.from_numpy(raw.copy()), [], []
    for (height, width), stride in zip(grids, strides, strict=True):
        down, across = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        cells.append(torch.stack((across, down), 2).view(1, -1, 2))
        steps.append(torch.full((1, height * width, 1), stride))
    cell, step = torch.cat(cells, 1).float(), torch.cat(steps, 1).float()
    outputs[..., :2] = (outputs[..., :2] + cell) * step
    outputs[..., 2:4] = torch.exp(outputs[..., 2:4]) * step
    (image,) = outputs
    half = image[:, 2:4] / 2
    corners = torch.cat((image[:, :2] - half, image[:, :2] + half), 1)
    best, labels = image[:, 5:].max(1)
    scores = image[:, 4] * best
    kept = scores >= 0.1
    corners, scores, labels = corners[kept], scores[kept], labels[kept]
    left = vision.batched_nms(corners, scores, labels, 0.65)[:300]

    output = OutputSpec("yolox", iou=0.65)
    (ours,) = decode(raw, output, size, conf=0.1, multi_label=multi_label)
    assert_equal(ours, corners[left].numpy(), scores[left].numpy(), labels[left].numpy())


def test_torchvision() -> None:
    """A network of random weights: its own boxes, on a picture that is not square."""
    detection = pytest.importorskip("torchvision.models.detection")
    torch.manual_seed(0)
    model = detection.ssdlite320_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=7, score_thresh=0.05, topk_candidates=40
    ).eval()
    with torch.inference_mode():
        (told,) = model([torch.rand(3, 192, 320)])
    raw = tuple(told[name].numpy() for name in ("boxes", "labels", "scores"))
    (ours,) = decode(raw, OutputSpec("torchvision"), Size(192, 320), conf=0.05)
    assert_equal(ours, raw[0][:300], raw[2][:300], raw[1][:300])

"""Files of each output contract, described and run: the arrays come in the contract's order."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deploymark.backends import base
from deploymark.backends.registry import BUILTIN, resolve
from tests.backends import contract_files as made

BACKENDS = ("onnxruntime", "openvino")
pytestmark = [pytest.mark.parametrize("name", BACKENDS)]


@pytest.fixture
def backend(name: str) -> base.Backend:
    pytest.importorskip("onnx")
    pytest.importorskip(name)
    return resolve(BUILTIN[name])


def opened(
    backend: base.Backend, path: Path, told: base.ReadAs = base.AS_SEEN
) -> tuple[base.ArtifactFacts, base.Session]:
    """What the file is, and a session of it."""
    facts = backend.describe(path, told)
    batch, _, height, width = facts.input_shape
    assert (height, width) == (made.HEIGHT, made.WIDTH)
    spec = facts.spec.at(base.Size(height, width))
    options = base.LoadOptions(
        "cpu", "fp32", 1, (batch or 1, 3, height, width), spec=spec, output=facts.output
    )
    return facts, backend.load(facts.artifact, options)


def inferred(session: base.Session) -> Any:
    """The outputs of one inference."""
    assert session.executed_precision().layers
    images = np.full(session.spec.shape(session.input_shape), 0.5)
    return session.infer(images.astype(session.spec.dtype))


@pytest.mark.parametrize("order", [("labels", "boxes", "scores"), ("scores", "labels", "boxes")])
def test_labels_boxes_and_scores_with_sizes_are_rtdetrs(
    backend: base.Backend, tmp_path: Path, order: tuple[str, ...]
) -> None:
    path = made.rtdetr(tmp_path / "my.onnx", order=order)
    facts, session = opened(backend, path)
    assert (facts.family, facts.output.layout, facts.output.boxes) == ("rtdetr", "rtdetr", "pixels")
    assert (facts.spec.resize, facts.spec.mean, facts.classes) == ("stretch", None, None)
    labels, boxes, scores = inferred(session)
    assert labels.dtype.kind == "i"
    np.testing.assert_array_equal(labels, [made.LABELS])
    np.testing.assert_allclose(scores, [made.SCORES])
    # Width and height are given in this order.
    np.testing.assert_allclose(boxes, [made.BOXES], rtol=1e-5)


def test_the_order_of_sizes_is_as_its_user_says(backend: base.Backend, tmp_path: Path) -> None:
    path = made.rtdetr(tmp_path / "my.onnx")
    facts, session = opened(backend, path, base.ReadAs("dfine", input={"order": "hw"}))
    assert (facts.family, facts.spec.extra[0].order) == ("dfine", "hw")
    turned = made.SHARES * np.array([made.HEIGHT, made.WIDTH] * 2)
    np.testing.assert_allclose(inferred(session)[1], [turned], rtol=1e-5)


def test_dets_and_labels_are_rfdetrs(backend: base.Backend, tmp_path: Path) -> None:
    path = made.detr(tmp_path / "my.onnx", logits="labels", boxes="dets")
    facts, session = opened(backend, path)
    assert (facts.family, facts.output.layout, facts.output.scores) == ("rfdetr", "detr", "sigmoid")
    assert (facts.output.boxes, facts.classes) == ("normalised", 6)
    assert facts.spec.mean == pytest.approx((0.485, 0.456, 0.406))
    logits, boxes = inferred(session)
    np.testing.assert_allclose(logits, [made.LOGITS])
    np.testing.assert_allclose(boxes, [made.CENTRED])


@pytest.mark.parametrize(
    ("family", "scores", "classes"),
    [("detr", "softmax", 5), ("rtdetr", "sigmoid", 6), ("dfine", "sigmoid", 6)],
)
def test_logits_and_boxes_are_whose_their_user_says(
    backend: base.Backend, tmp_path: Path, family: Any, scores: str, classes: int
) -> None:
    path = made.detr(tmp_path / "my.onnx")
    with pytest.raises(base.LoadError, match="may be DETR") as caught:
        backend.describe(path)
    assert "`family: detr` or `family: rtdetr`" in caught.value.remedy
    facts, session = opened(backend, path, base.ReadAs(family))
    assert (facts.output.scores, facts.classes) == (scores, classes)
    np.testing.assert_allclose(inferred(session)[0], [made.LOGITS])


@pytest.mark.parametrize("nas", [False, True])
def test_counts_boxes_scores_classes_are_reduced_in_the_graph(
    backend: base.Backend, tmp_path: Path, *, nas: bool
) -> None:
    facts, session = opened(backend, made.nms_in_graph(tmp_path / "my.onnx", nas=nas))
    assert facts.output.layout == "nms-in-graph"
    assert facts.family == ("yolo-nas" if nas else "nms-in-graph")
    assert (facts.spec.dtype, facts.spec.range) == (
        ("uint8", (0, 255)) if nas else ("float32", (0, 1))
    )
    counts, boxes, scores, classes = inferred(session)
    assert counts.ravel().tolist() == [made.COUNT]
    np.testing.assert_allclose(boxes, [made.BOXES])
    np.testing.assert_allclose(scores, [made.SCORES])
    np.testing.assert_array_equal(classes, [made.LABELS])


@pytest.mark.parametrize("names", [("boxes", "labels", "scores"), ("3477", "12", "3")])
def test_boxes_without_a_batch_are_torchvisions(
    backend: base.Backend, tmp_path: Path, names: tuple[str, ...]
) -> None:
    facts, session = opened(backend, made.torchvision(tmp_path / "my.onnx", names=names))
    assert (facts.family, facts.output.names, facts.input_shape[0]) == ("torchvision", names, 1)
    for _ in range(2):
        boxes, labels, scores = inferred(session)
        np.testing.assert_allclose(boxes, made.BOXES)
        np.testing.assert_array_equal(labels, made.LABELS)
        np.testing.assert_allclose(scores, made.SCORES)


def test_rows_and_their_number_with_shapes_are_paddles(
    backend: base.Backend, tmp_path: Path
) -> None:
    facts, session = opened(backend, made.paddle(tmp_path / "my.onnx"))
    assert (facts.family, facts.output.layout) == ("paddle", "paddle")
    assert [item.kind for item in facts.spec.extra] == ["im_shape", "scale_factor"]
    assert session.extra["im_shape"].tolist() == [[made.HEIGHT, made.WIDTH]]
    assert session.extra["scale_factor"].tolist() == [[1.0, 1.0]]
    rows, counts = inferred(session)
    np.testing.assert_allclose(rows[:, 2:], made.BOXES)
    assert counts.tolist() == [made.ROWS]


def test_a_raw_grid_is_yoloxs_where_its_user_says_so(backend: base.Backend, tmp_path: Path) -> None:
    path = made.yolox(tmp_path / "my.onnx")
    with pytest.raises(base.LoadError, match="YOLOX's of 2 classes") as caught:
        backend.describe(path)
    assert "`family: yolox`" in caught.value.remedy
    facts, session = opened(backend, path, base.ReadAs("yolox"))
    assert (facts.output.layout, facts.output.iou, facts.classes) == ("yolox", 0.65, 2)
    spec = facts.spec
    assert (spec.colours, spec.range, spec.placement) == ("bgr", (0, 255), "top-left")
    assert inferred(session).shape == (1, 126, 7)


def test_a_family_that_the_outputs_do_not_fit_is_refused(
    backend: base.Backend, tmp_path: Path
) -> None:
    path = made.detr(tmp_path / "my.onnx")
    with pytest.raises(base.LoadError) as caught:
        backend.describe(path, base.ReadAs("ssd"))
    assert "pred_boxes (1, 3, 4) float32, logits (1, 3, 6) float32" in caught.value.message
    assert "family: ssd is boxes (batch, n, 4), classes and scores" in caught.value.message
    assert "`family: detr` or `family: rtdetr`" in caught.value.remedy


def test_an_input_that_is_not_known_is_refused(backend: base.Backend, tmp_path: Path) -> None:
    file = (
        made.File().input("prompt", "int64", (1, 8)).output("output", np.zeros((1, 84, 126), "f4"))
    )
    with pytest.raises(base.LoadError) as caught:
        backend.describe(file.save(tmp_path / "my.onnx"))
    assert "an input besides the images that is not known: prompt (1, 8) int64" in str(caught.value)
    assert "orig_target_sizes" in caught.value.remedy


def test_what_a_user_says_replaces_what_a_family_does(
    backend: base.Backend, tmp_path: Path
) -> None:
    path = made.detr(tmp_path / "my.onnx")
    told = base.ReadAs("rtdetr", "pixels", {"resize": "letterbox", "pad": 0, "range": [0, 255]})
    facts = backend.describe(path, told)
    assert facts.output.boxes == "pixels"
    assert (facts.spec.resize, facts.spec.pad, facts.spec.range) == ("letterbox", 0, (0, 255))
    with pytest.raises(base.LoadError, match="the mean and deviation of family: detr are of"):
        backend.describe(path, base.ReadAs("detr", input={"range": [0, 255]}))


def test_a_session_is_held_to_the_contract(backend: base.Backend, tmp_path: Path) -> None:
    facts, _ = opened(backend, made.rtdetr(tmp_path / "my.onnx"))
    options = base.LoadOptions("cpu", "fp32", 1, (1, 3, made.HEIGHT, made.WIDTH))
    with pytest.raises(base.LoadError, match="besides its images: orig_target_sizes"):
        backend.load(facts.artifact, options)
    other = dataclasses.replace(facts.output, names=("labels", "boxes", "confidences"))
    with pytest.raises(base.LoadError, match="has the outputs labels, boxes, scores"):
        backend.load(facts.artifact, dataclasses.replace(options, spec=facts.spec, output=other))

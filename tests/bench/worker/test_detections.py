from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploymark.backends.inputs import PLAIN_INPUT, Size
from deploymark.backends.layout import OutputSpec
from deploymark.bench.variants.checkpoint import model_factory
from deploymark.bench.worker.detections import (
    CLASS_OFFSET_PX,
    MAX_CANDIDATES,
    SCORING_CONFIDENCE,
    Detections,
    decode,
    load_detections,
    save_detections,
)
from deploymark.bench.worker.letterbox import letterbox, read_rgb, to_input

SIZE = Size(240, 320)
ANCHORS, DETECTIONS = OutputSpec("anchors"), OutputSpec("detections")
NORMALISED = OutputSpec("anchors", boxes="normalised")


def raw_anchors(
    seed: int, *, classes: int = 80, anchors: int = 2100, batch: int = 1, top: float = 0.05
) -> np.ndarray:
    """Random raw output: boxes of 5 to 200 pixels, scores that are low but for a few."""
    random = np.random.default_rng(seed)
    raw = np.empty((batch, 4 + classes, anchors), dtype=np.float32)
    raw[:, :2] = random.uniform(0, 320, (batch, 2, anchors))
    raw[:, 2:4] = random.uniform(5, 200, (batch, 2, anchors))
    raw[:, 4:] = random.random((batch, classes, anchors)) ** 8 * top
    return raw


def anchors(*rows: tuple[float, ...]) -> np.ndarray:
    """Rows (centre-x, centre-y, width, height, scores…) as raw output of one image."""
    return np.array(rows, dtype=np.float32).T[None]


def one(found: list[Detections]) -> Detections:
    assert len(found) == 1
    return found[0]


def test_overlapping_boxes_of_one_class_become_one() -> None:
    raw = anchors((50, 50, 20, 20, 0.8, 0), (51, 50, 20, 20, 0.9, 0), (200, 50, 20, 20, 0.5, 0))
    found = one(decode(raw, ANCHORS, SIZE, conf=0.25))
    np.testing.assert_array_equal(found.boxes, [[41, 40, 61, 60], [190, 40, 210, 60]])
    np.testing.assert_allclose(found.scores, [0.9, 0.5])
    assert found.classes.tolist() == [0, 0]
    assert (found.boxes.dtype, found.scores.dtype, found.classes.dtype) == (
        np.float32,
        np.float32,
        np.int32,
    )


@pytest.mark.parametrize("multi_label", [True, False])
def test_the_same_output_in_other_layouts_gives_the_same_boxes(*, multi_label: bool) -> None:
    raw = raw_anchors(3, batch=2, top=0.9)
    expected = decode(raw, ANCHORS, SIZE, conf=0.01, multi_label=multi_label)
    turned = np.ascontiguousarray(raw.transpose(0, 2, 1))
    objectness = np.full((2, raw.shape[2], 1), 0.5, dtype=np.float32)
    scores = turned[..., 4:] * np.float32(2)
    yolov5 = np.concatenate((turned[..., :4], objectness, scores), axis=2)
    shares = raw.copy()
    shares[:, :4:2] /= SIZE.width
    shares[:, 1:4:2] /= SIZE.height
    for other in (
        decode(turned, OutputSpec("anchors-last"), SIZE, conf=0.01, multi_label=multi_label),
        decode(yolov5, OutputSpec("yolov5"), SIZE, conf=0.01, multi_label=multi_label),
        decode(shares, NORMALISED, SIZE, conf=0.01, multi_label=multi_label),
    ):
        for found, want in zip(other, expected, strict=True):
            assert len(found) == len(want) > 20
            np.testing.assert_array_equal(found.classes, want.classes)
            np.testing.assert_allclose(found.scores, want.scores, rtol=1e-6)
            np.testing.assert_allclose(found.boxes, want.boxes, rtol=1e-5, atol=1e-3)


def test_a_place_without_an_object_has_no_score() -> None:
    rows = [(50, 50, 20, 20, 0.0, 0.9), (90, 90, 20, 20, 0.5, 0.8)]
    found = one(decode(np.array([rows], dtype=np.float32), OutputSpec("yolov5"), SIZE, conf=0.25))
    np.testing.assert_allclose(found.scores, [0.4])
    assert (
        len(one(decode(np.array([rows], dtype=np.float32), OutputSpec("yolov5"), SIZE, conf=0.6)))
        == 0
    )


def test_finished_detections_of_shares_are_scaled() -> None:
    rows = [[(0.1, 0.2, 0.3, 0.4, 0.9, 1)]]
    raw = np.array(rows, dtype=np.float32)
    shares = OutputSpec("detections", boxes="normalised")
    found = one(decode(raw, shares, Size(100, 200), conf=0.25))
    np.testing.assert_allclose(found.boxes, [[20, 20, 60, 40]], rtol=1e-6)
    assert raw[0, 0, 0] == np.float32(0.1)


def test_classes_suppress_each_other_only_where_agnostic() -> None:
    raw = anchors((50, 50, 20, 20, 0.8, 0), (51, 50, 20, 20, 0, 0.9))
    assert one(decode(raw, ANCHORS, SIZE, conf=0.25)).classes.tolist() == [1, 0]
    assert one(decode(raw, ANCHORS, SIZE, conf=0.25, agnostic=True)).classes.tolist() == [1]


def test_one_place_gives_every_label_only_where_asked() -> None:
    raw = anchors((50, 50, 20, 20, 0.3, 0.6, 0.001))
    assert one(decode(raw, ANCHORS, SIZE, conf=0.001)).classes.tolist() == [1]
    found = one(decode(raw, ANCHORS, SIZE, conf=0.001, multi_label=True))
    assert found.classes.tolist() == [1, 0]  # 0.001 is not above 0.001


def test_an_overlap_of_exactly_the_threshold_is_kept() -> None:
    raw = anchors((5, 5, 10, 10, 0.9), (5, 2.5, 10, 5, 0.8))
    assert len(one(decode(raw, ANCHORS, SIZE, conf=0.1, iou=0.5))) == 2
    assert len(one(decode(raw, ANCHORS, SIZE, conf=0.1, iou=0.49))) == 1


def test_at_most_max_det_boxes_the_best() -> None:
    raw = raw_anchors(0)
    every = one(decode(raw, ANCHORS, SIZE, conf=0.001, multi_label=True))
    few = one(decode(raw, ANCHORS, SIZE, conf=0.001, multi_label=True, max_det=7))
    assert len(every) == 300
    np.testing.assert_array_equal(few.scores, every.scores[:7])


def test_nothing_above_the_threshold_is_no_box() -> None:
    for layout, raw in (("anchors", np.zeros((2, 7, 10))), ("detections", np.zeros((2, 5, 6)))):
        found = decode(raw.astype(np.float32), OutputSpec(layout), SIZE, conf=0.1)  # type: ignore[arg-type]
        assert [len(image) for image in found] == [0, 0]
        assert found[0].boxes.shape == (0, 4)


def test_detections_layout_is_only_cut_off() -> None:
    rows = [[1, 2, 3, 4, 0.9, 7], [1, 2, 3, 4, 0.5, 0], [0, 0, 1, 1, 0.25, 3]]
    raw = np.array([rows], dtype=np.float32)
    found = one(decode(raw, DETECTIONS, SIZE, conf=0.25))
    assert found.classes.tolist() == [7, 0]
    np.testing.assert_array_equal(found.boxes[1], [1, 2, 3, 4])
    assert len(one(decode(raw, DETECTIONS, SIZE, conf=0.25, max_det=1))) == 1


def test_results_do_not_share_memory_with_the_raw_output() -> None:
    raw = np.array([[[1, 2, 3, 4, 0.9, 7]]], dtype=np.float32)
    found = one(decode(raw, DETECTIONS, SIZE, conf=0.25))
    raw[:] = 0
    assert found.boxes.tolist() == [[1, 2, 3, 4]]
    assert found.scores[0] == np.float32(0.9)


@pytest.mark.parametrize(
    ("layout", "shape"),
    [("anchors", (1, 4, 9)), ("anchors", (84, 2100)), ("detections", (1, 300, 7))],
)
def test_another_shape_is_refused(layout: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=f"does not have the layout '{layout}'"):
        decode(np.zeros(shape, dtype=np.float32), OutputSpec(layout), SIZE, conf=0.1)  # type: ignore[arg-type]


@settings(deadline=None)
@given(
    counts=st.lists(st.integers(0, 4), max_size=6),
    seed=st.integers(0, 2**32 - 1),
)
def test_saved_boxes_come_back(
    counts: list[int], seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    random = np.random.default_rng(seed)
    images = [
        Detections(
            random.random((count, 4), dtype=np.float32),
            random.random(count, dtype=np.float32),
            random.integers(0, 80, count, dtype=np.int32),
        )
        for count in counts
    ]
    path = tmp_path_factory.mktemp("boxes") / "x.npz"
    save_detections(path, images)
    assert [file.name for file in path.parent.iterdir()] == ["x.npz"]
    loaded = load_detections(path)
    assert len(loaded) == len(images)
    for ours, theirs in zip(loaded, images, strict=True):
        np.testing.assert_array_equal(ours.boxes, theirs.boxes)
        np.testing.assert_array_equal(ours.scores, theirs.scores)
        np.testing.assert_array_equal(ours.classes, theirs.classes)
        assert ours.boxes.shape == (len(theirs), 4)


def test_only_the_best_candidates_enter_suppression(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploymark.bench.worker.detections.MAX_CANDIDATES", 200)
    count = 250
    raw = np.zeros((1, 5, count), dtype=np.float32)
    raw[0, 0] = np.arange(count) * 2  # no two boxes overlap
    raw[0, 1:4] = 1
    raw[0, 4] = np.linspace(0.9, 0.1, count)
    found = one(decode(raw, ANCHORS, SIZE, conf=0.01, max_det=count))
    assert len(found) == 200
    assert found.scores.min() == raw[0, 4, 199]


def test_the_class_offset_is_wider_than_any_input() -> None:
    assert CLASS_OFFSET_PX > 4096


def assert_equals_ultralytics(
    raw: np.ndarray, conf: float, iou: float, *, multi_label: bool
) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("torchvision")  # its suppression is the one that is used
    reference = pytest.importorskip("ultralytics.utils.nms")
    ours = decode(raw, ANCHORS, SIZE, conf=conf, iou=iou, multi_label=multi_label)
    theirs = reference.non_max_suppression(
        torch.from_numpy(raw.copy()),
        conf,
        iou,
        multi_label=multi_label,
        max_det=300,
        max_time_img=60.0,
    )
    for mine, other in zip(ours, theirs, strict=True):
        rows = np.column_stack((mine.boxes, mine.scores, mine.classes))
        np.testing.assert_array_equal(rows, other.numpy())


@pytest.mark.heavy
@pytest.mark.parametrize("multi_label", [True, False])
@pytest.mark.parametrize(("classes", "top"), [(80, 0.004), (10, 0.05), (1, 0.9)])
def test_equals_ultralytics_on_random_output(
    classes: int, top: float, *, multi_label: bool
) -> None:
    for seed, (conf, iou) in enumerate([(0.001, 0.7), (0.001, 0.45), (0.25, 0.7)]):
        raw = raw_anchors(seed, classes=classes, top=top, batch=2)
        assert_equals_ultralytics(raw, conf, iou, multi_label=multi_label)


@pytest.mark.heavy
def test_equals_ultralytics_above_the_cap_on_candidates() -> None:
    raw = raw_anchors(0, anchors=8400)
    scores = np.random.default_rng(0).permutation(raw[:, 4:].size).reshape(raw[:, 4:].shape)
    raw[:, 4:] = scores / scores.size * 0.02  # no two alike: torch does not sort stably
    assert (raw[:, 4:] > 0.001).sum() > MAX_CANDIDATES
    assert_equals_ultralytics(raw, 0.001, 0.7, multi_label=True)


@pytest.mark.heavy
def test_equals_ultralytics_on_a_real_detector(coco_mini: Path) -> None:
    torch = pytest.importorskip("torch")
    module = model_factory(coco_mini / "yolo11n-coco.pt", 320)()
    photos = sorted((coco_mini / "images" / "val").iterdir())[:8]
    spec = PLAIN_INPUT.at(Size(320, 320))
    images = to_input(np.stack([letterbox(read_rgb(path), spec) for path in photos]))
    with torch.inference_mode():
        raw = module(torch.from_numpy(images)).numpy()
    assert (raw[:, 4:] > 0.25).any()
    assert_equals_ultralytics(raw, SCORING_CONFIDENCE, 0.7, multi_label=True)
    assert_equals_ultralytics(raw, 0.25, 0.7, multi_label=False)

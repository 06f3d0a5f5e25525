"""What outputs offer: the same boxes of every layout, each family's own labels, no row too many."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploymark.backends.candidates import Candidates, candidates
from deploymark.backends.inputs import Size
from deploymark.backends.layout import OutputLayout, OutputSpec
from tests.layouts import CONTRACTS, Scene, name_of, scene, written

WIDE, HIGH = Size(96, 160), Size(160, 96)

every_contract = pytest.mark.parametrize("output", CONTRACTS, ids=name_of)


def ranked(found: Candidates, above: float = 0.3) -> Scene:
    boxes, scores, classes = found.labelled(above, multi_label=True)
    order = np.argsort(-scores)
    return Scene(boxes[order], scores[order], classes[order])


def assert_same(found: Candidates, expected: Scene) -> None:
    seen = ranked(found)
    np.testing.assert_array_equal(seen.classes, expected.classes)
    np.testing.assert_allclose(seen.scores, expected.scores, atol=1e-6)
    np.testing.assert_allclose(seen.boxes, expected.boxes, atol=1e-3)
    assert found.boxes.dtype == found.scores.dtype == np.float32


@every_contract
@pytest.mark.parametrize("size", [WIDE, HIGH], ids=str)
def test_every_layout_says_the_same_boxes(output: OutputSpec, size: Size) -> None:
    count = 1 if output.layout == "torchvision" else 3
    scenes = [scene(seed, size) for seed in range(count)]
    found = candidates(written(scenes, output, size), output, size, 0.3)
    assert len(found) == count
    for one, expected in zip(found, scenes, strict=True):
        assert_same(one, expected)


@settings(deadline=None, max_examples=60)
@given(
    output=st.sampled_from(CONTRACTS),
    seed=st.integers(0, 2**32 - 1),
    height=st.integers(1, 8),
    width=st.integers(1, 8),
)
def test_at_any_size(output: OutputSpec, seed: int, height: int, width: int) -> None:
    size = Size(32 * height, 32 * width)
    expected = scene(seed, size)
    (found,) = candidates(written([expected], output, size), output, size, 0.3)
    assert_same(found, expected)


@every_contract
def test_outputs_are_left_as_they_are(output: OutputSpec) -> None:
    raw = written([scene(1, WIDE)], output, WIDE)
    arrays = raw if isinstance(raw, tuple) else (raw,)
    before = [array.copy() for array in arrays]
    candidates(raw, output, WIDE, 0.3)
    for array, copy in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, copy)


@every_contract
def test_nothing_above_is_no_box(output: OutputSpec) -> None:
    (found,) = candidates(written([scene(1, WIDE)], output, WIDE), output, WIDE, 0.99)
    assert found.boxes.shape == (0, 4)
    assert len(found.scores) == 0


@every_contract
def test_half_precision_is_read(output: OutputSpec) -> None:
    expected = scene(3, WIDE)
    raw = written([expected], output, WIDE)
    if isinstance(raw, tuple):
        halves: Any = tuple(a.astype(np.float16) if a.dtype == np.float32 else a for a in raw)
    else:
        halves = raw.astype(np.float16)
    (found,) = candidates(halves, output, WIDE, 0.3)
    seen = ranked(found)
    np.testing.assert_array_equal(seen.classes, expected.classes)
    np.testing.assert_allclose(seen.boxes, expected.boxes, atol=0.5)
    assert found.boxes.dtype == np.float32


@pytest.mark.parametrize("counts", [np.int32([[1], [2]]), np.int64([1, 2]), np.float32([1, 2])])
def test_counts_of_any_form(counts: np.ndarray) -> None:
    boxes = np.tile(np.float32([10, 20, 30, 60]), (2, 4, 1))
    scores, classes = np.full((2, 4), 0.9, np.float32), np.zeros((2, 4), np.int32)
    for output, raw in (
        (OutputSpec("nms-in-graph"), (counts, boxes, scores, classes)),
        (OutputSpec("ssd"), (boxes, classes, scores, counts)),
        (OutputSpec("paddle"), (np.float32([[0, 0.9, 1, 2, 3, 4]] * 3), counts)),
    ):
        found = candidates(raw, output, WIDE, 0.3)
        assert [len(image.scores) for image in found] == [1, 2]


def test_a_count_that_is_no_number_counts_nothing() -> None:
    rows = np.float32([[10, 20, 30, 60]] * 2)[None], np.float32([[0.9, 0.9]]), np.float32([[0, 0]])
    (found,) = candidates((np.float32([np.nan]), *rows), OutputSpec("nms-in-graph"), WIDE, 0.3)
    assert len(found.scores) == 0


def test_padding_of_class_minus_one_is_no_box() -> None:
    rows = np.float32([[2, 0.9, 1, 2, 3, 4], [-1, 0.8, 0, 0, 0, 0]])
    (found,) = candidates((rows, np.int32([2])), OutputSpec("paddle"), WIDE, 0.3)
    assert found.classes is not None
    assert found.classes.tolist() == [2]
    kept = np.int32([2]), rows[None, :, 2:], np.float32([[0.9, 0.8]]), np.int32([[2, -1]])
    (found,) = candidates(kept, OutputSpec("nms-in-graph"), WIDE, 0.3)
    assert found.boxes.tolist() == [[1, 2, 3, 4]]


def test_a_query_may_be_of_two_classes_and_as_many_count_as_there_are_queries() -> None:
    scores = np.float32([[[0.9, 0.8, 0.1], [0.2, 0.1, 0.7]]])
    boxes = np.float32([[[0.5, 0.5, 0.5, 0.5], [0.25, 0.25, 0.5, 0.5]]])
    (found,) = candidates((scores, boxes), OutputSpec("detr", boxes="normalised"), WIDE, 0.05)
    assert found.classes is not None
    assert (found.classes.tolist(), found.scores.tolist()) == ([0, 1], scores[0, 0, :2].tolist())
    assert found.boxes.tolist() == [[40, 24, 120, 72]] * 2


def test_no_object_is_no_class_and_takes_its_share() -> None:
    logits = np.log(np.float32([[[0.3, 0.1, 0.6], [0.5, 0.4, 0.1]]]))
    boxes = np.full((1, 2, 4), 0.5, np.float32)
    output = OutputSpec("detr", boxes="normalised", scores="softmax")
    (found,) = candidates((logits, boxes), output, WIDE, 0.2)
    np.testing.assert_allclose(found.scores, [0.3, 0.5], rtol=1e-6)
    assert found.classes is not None
    assert found.classes.tolist() == [0, 0]


def test_a_place_of_yolox_and_a_query_have_their_best_class_alone() -> None:
    place = np.zeros((1, 21, 7), np.float32)
    place[0, 0, 4:] = 1, 0.6, 0.7
    query = np.float32([[[0.5, 0.5, 0.1, 0.1, 0.6, 0.7]]])
    for raw, layout in ((place, "yolox"), (query, "queries")):
        (found,) = candidates(raw, OutputSpec(layout), Size(32, 32), 0.1)  # type: ignore[arg-type]
        assert found.classes is not None
        assert found.classes.tolist() == [1]


def test_logits_of_any_size_overflow_silently() -> None:
    logits = np.float32([[[200, -200], [-200, 3e38]]])
    boxes = np.full((1, 2, 4), 0.5, np.float32)
    for form, scores in (("sigmoid", [1, 1]), ("softmax", [1, 0])):
        output = OutputSpec("detr", boxes="normalised", scores=form)  # type: ignore[arg-type]
        (found,) = candidates((logits, boxes), output, WIDE, -1)
        np.testing.assert_allclose(np.sort(found.scores)[::-1], scores, atol=1e-6)


@pytest.mark.parametrize(
    ("layout", "shapes", "words"),
    [
        ("anchors", [(1, 4, 9)], r"\(1, 4, 9\) does not have the layout 'anchors'"),
        ("anchors", [(84, 2100)], r"\(batch, 4 \+ classes, places\)"),
        ("yolov5", [(1, 9, 5)], r"\(batch, places, 5 \+ classes\)"),
        ("yolox", [(1, 20, 85)], "20 places do not have the layout 'yolox' at 96x160 px"),
        ("detections", [(1, 300, 7)], r"\(batch, n, 6\)"),
        ("queries", [(1, 300, 4)], "'queries'"),
        ("queries-ranked", [(1, 300, 84)], "'queries-ranked'"),
        ("detr", [(1, 300, 80)], "1 output, where the layout 'detr' has 2: logits, boxes"),
        ("detr", [(1, 300, 4), (1, 300, 80)], r"logits \(1, 300, 4\), boxes \(1, 300, 80\)"),
        ("detr", [(1, 300, 80), (1, 200, 4)], r"boxes \(batch, n, 4\)"),
        ("rtdetr", [(1, 300), (1, 300, 4), (1, 299)], r"labels \(batch, n\)"),
        ("nms-in-graph", [(2,), (1, 9, 4), (1, 9), (1, 9)], r"counts \(batch,\)"),
        ("ssd", [(1, 9, 4), (1, 9), (1, 9)], "3 outputs, where the layout 'ssd' has 4"),
        ("torchvision", [(1, 9, 4), (9,), (9,)], r"boxes \(n, 4\)"),
        ("paddle", [(9, 5), (1,)], r"rows \(n, 6\)"),
    ],
)
def test_other_shapes_are_refused(
    layout: OutputLayout, shapes: list[tuple[int, ...]], words: str
) -> None:
    arrays = tuple(np.zeros(shape, np.float32) for shape in shapes)
    raw = arrays if len(arrays) > 1 else arrays[0]
    with pytest.raises(ValueError, match=words):
        candidates(raw, OutputSpec(layout), WIDE, 0.1)


def test_no_object_alone_is_no_detector() -> None:
    raw = np.zeros((1, 3, 1), np.float32), np.zeros((1, 3, 4), np.float32)
    with pytest.raises(ValueError, match="do not have the layout 'detr'"):
        candidates(raw, OutputSpec("detr", scores="softmax"), WIDE, 0.1)


@pytest.mark.parametrize("layout", ["nms-in-graph", "paddle"])
def test_a_count_beyond_the_rows_is_refused(layout: OutputLayout) -> None:
    rows = np.zeros((2, 6), np.float32)
    raw: Any = (rows, np.int32([3]))
    if layout == "nms-in-graph":
        raw = np.int32([3]), rows[None, :, :4], rows[None, :, 4], rows[None, :, 5]
    with pytest.raises(ValueError, match="ask"):
        candidates(raw, OutputSpec(layout), WIDE, 0.1)

"""The facts of outputs: what is counted, of every layout, and that they are numbers."""

from __future__ import annotations

import dataclasses
import json
import warnings

import numpy as np
import pytest

from deploymark.backends.inputs import Size
from deploymark.backends.layout import OutputLayout, OutputSpec
from deploymark.backends.outputs import ROWS
from deploymark.backends.session import Outputs
from deploymark.bench.worker.detections import decode
from deploymark.bench.worker.outputs import OutputCheck, OutputFacts
from tests.layouts import CONTRACTS, name_of, scene, written

SIZE = Size(100, 100)


def facts_of(
    *images: np.ndarray, layout: OutputLayout = "anchors", size: Size = SIZE
) -> OutputFacts:
    output = OutputSpec(layout)
    check = OutputCheck(output, size)
    for image in images:
        raw = image[None].astype(np.float32)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            check.add(raw, decode(raw, output, size, conf=0.001, multi_label=True))
    return check.facts()


def anchors(*places: tuple[float, ...]) -> np.ndarray:
    return np.array(places).T


def rows(*values: tuple[float, ...]) -> np.ndarray:
    return np.array(values)


NAN, INF = float("nan"), float("inf")


def test_before_any_image_there_is_nothing() -> None:
    facts = OutputCheck(OutputSpec("anchors"), SIZE).facts()
    assert facts == OutputFacts()
    assert facts.score_low is None


def test_scores_and_boxes_of_places() -> None:
    one = anchors((50, 50, 20, 20, 0.9, 0.0), (20, 20, 10, 10, 0.0, 0.004), (5, 5, 9, 9, 0, 0))
    other = anchors((50, 50, 20, 20, 0.0, 0.0005))
    facts = facts_of(one, other)
    assert (facts.images, facts.shape) == (2, [6, 1])
    assert (facts.score_low, round(facts.score_high or 0, 4)) == (0, 0.9)
    assert (facts.boxes, facts.empty_images, facts.classes_found) == (2, 1, 2)
    assert (facts.shown, facts.shown_above) == (1, 1)
    assert (facts.x_low, facts.x_high, facts.y_low, facts.y_high) == (40, 60, 40, 60)
    assert (facts.most_candidates, facts.images_with_most) == (2, 1)


def test_the_best_box_of_an_image_is_looked_at_however_low_it_is() -> None:
    facts = facts_of(anchors((50, 50, 20, 20, 0.01), (900, 50, 20, 20, 0.005)))
    assert (facts.shown, facts.shown_above, facts.far_outside) == (1, 0, 0)


def test_what_is_not_finite_counts_where_a_score_does() -> None:
    good = (50, 50, 20, 20, 0.9)
    facts = facts_of(
        anchors(good),
        anchors(good, (NAN, NAN, NAN, NAN, NAN)),
        anchors((INF, 50, 20, 20, 0.9)),
        anchors(good, (INF, 50, 20, 20, 0.0)),
    )
    assert (facts.not_finite_images, facts.not_finite_elsewhere) == (2, 1)
    assert facts.score_high is not None
    assert json.dumps(dataclasses.asdict(facts), allow_nan=False)


def test_rows_that_are_not_finite() -> None:
    good = (10, 10, 20, 20, 0.9, 1)
    facts = facts_of(
        rows(good),
        rows(good, (NAN,) * 6),
        rows((10, 10, 20, 20, 0.9, NAN)),
        rows((10, -INF, 20, 20, 0.9, 0)),
        rows(good, (INF, 0, 0, 0, 0.0, 0)),
        layout="detections",
    )
    assert (facts.not_finite_images, facts.not_finite_elsewhere) == (3, 1)
    assert json.dumps(dataclasses.asdict(facts), allow_nan=False)


def test_padding_of_rows_is_no_score() -> None:
    facts = facts_of(rows((10, 10, 20, 20, 0.9, 1), (0,) * 6, (-1,) * 6), layout="detections")
    assert facts.padding_rows == 2
    assert (facts.score_low, facts.score_high) == (np.float32(0.9), np.float32(0.9))


def test_classes_of_rows() -> None:
    facts = facts_of(
        rows((10, 10, 20, 20, 0.9, -1), (10, 10, 20, 20, 0.8, 2.5), (1, 1, 2, 2, 0.0, 99)),
        layout="detections",
    )
    assert (facts.class_low, facts.class_high, facts.classes_not_whole) == (-1, 2.5, 1)


def test_boxes_that_end_before_they_begin_or_lie_elsewhere() -> None:
    facts = facts_of(
        rows(
            (30, 10, 20, 20, 0.9, 0),
            (10, 10, 160, 20, 0.9, 0),
            (-10, 10, 20, 20, 0.9, 0),
            (10, 10, 20, 20, 0.9, 0),
        ),
        layout="detections",
    )
    assert (facts.inverted, facts.far_outside, facts.outside) == (1, 1, 2)


def test_two_corners_that_are_read_as_centre_and_size() -> None:
    facts = facts_of(anchors((10, 20, 30, 40, 0.9), (60, 60, 20, 20, 0.9)))
    assert facts.corner_like == 1


def test_images_that_pad_the_batch_are_left_out() -> None:
    output = OutputSpec("detections")
    check = OutputCheck(output, SIZE)
    raw = np.zeros((4, 2, 6), np.float32)
    check.add(raw, decode(raw, output, SIZE, conf=0.001)[:3])
    assert check.facts().images == 3


WIDE = Size(96, 160)

every_contract = pytest.mark.parametrize("output", CONTRACTS, ids=name_of)


def looked_at(raw: Outputs, output: OutputSpec) -> OutputFacts:
    check = OutputCheck(output, WIDE)
    check.add(raw, decode(raw, output, WIDE, conf=0.001, multi_label=True))
    return check.facts()


@every_contract
def test_the_facts_of_every_layout(output: OutputSpec) -> None:
    one = scene(5, WIDE)
    facts = looked_at(written([one], output, WIDE), output)
    assert (facts.images, facts.boxes, facts.shown) == (1, len(one.scores), len(one.scores))
    assert facts.shape[0 if output.layout not in ROWS else 1] == (9, 6)[output.layout in ROWS]
    assert (facts.not_finite_images, facts.not_finite_elsewhere) == (0, 0)
    assert (facts.inverted, facts.outside, facts.most_candidates) == (0, 0, len(one.scores))
    assert facts.score_high == pytest.approx(one.scores[0], abs=1e-6)
    assert (facts.x_low, facts.y_low) == pytest.approx(one.boxes[:, :2].min(axis=0), abs=1e-3)
    assert (facts.x_high, facts.y_high) == pytest.approx(one.boxes[:, 2:].max(axis=0), abs=1e-3)
    numbers = (one.classes.min(), one.classes.max()) if output.layout in ROWS else (None, None)
    assert (facts.class_low, facts.class_high) == numbers
    assert json.dumps(dataclasses.asdict(facts), allow_nan=False)


@every_contract
@pytest.mark.parametrize("value", [NAN, INF])
def test_every_array_is_looked_at(output: OutputSpec, value: float) -> None:
    """A value that is no number where something was found, in each array by itself."""
    raw = written([scene(5, WIDE)], output, WIDE)
    arrays = raw if isinstance(raw, tuple) else (raw,)
    for index, array in enumerate(arrays):
        broken = np.array(array, np.float32)
        broken[tuple(slice(0, 1) for _ in broken.shape)] = value
        changed = (*arrays[:index], broken, *arrays[index + 1 :])
        logits = index == 0 and output.scores != "probability"
        if logits and value == INF:
            continue  # a logit may be infinite: its score is a number
        facts = looked_at(changed if len(changed) > 1 else broken, output)
        assert facts.not_finite_images == 1, index


def test_each_side_of_a_rectangle_is_a_side_of_its_own() -> None:
    rows = np.float32([[[120, 80, 150, 100, 0.9, 0], [100, 10, 165, 90, 0.9, 0]]])
    facts = looked_at(rows, OutputSpec("detections"))
    assert (facts.outside, facts.far_outside) == (0, 0)
    high = rows[..., [1, 0, 3, 2, 4, 5]]
    facts = looked_at(high, OutputSpec("detections"))
    assert (facts.outside, facts.far_outside) == (2, 2)
    assert (facts.x_high, facts.y_high) == (100, 165)


def test_rows_beyond_the_count_are_not_looked_at() -> None:
    boxes = np.full((1, 4, 4), NAN, np.float32)
    boxes[0, 0] = 10, 20, 30, 60
    scores, classes = np.float32([[0.9, 7, NAN, 0]]), np.float32([[1, 99, 0.5, NAN]])
    facts = looked_at((np.int32([[1]]), boxes, scores, classes), OutputSpec("nms-in-graph"))
    assert (facts.not_finite_images, facts.not_finite_elsewhere) == (0, 0)
    assert (facts.score_high, facts.class_high) == (np.float32(0.9), 1)

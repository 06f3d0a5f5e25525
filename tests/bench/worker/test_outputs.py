"""The facts of outputs: what is counted, of both layouts, and that they are numbers."""

from __future__ import annotations

import dataclasses
import json
import warnings

import numpy as np

from deploymark.backends.inputs import Size
from deploymark.backends.layout import OutputLayout, OutputSpec
from deploymark.bench.worker.detections import decode
from deploymark.bench.worker.outputs import OutputCheck, OutputFacts

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

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploymark.bench.data.labels import ImageLabels
from deploymark.bench.errors import BadInputError
from deploymark.bench.score.average_precision import score
from deploymark.bench.score.coco_matches import Predictions, match
from deploymark.bench.score.map_interval import MapChange, map_change, resampled, resamples_for
from deploymark.bench.worker.detections import Detections
from tests.boxes import found, labels, nothing, place_of, random_case

CLASS_MAP = {index: index for index in range(4)}


def predictions(images: Sequence[ImageLabels], detections: Sequence[Detections]) -> Predictions:
    return Predictions(detections, [place_of(image) for image in images], CLASS_MAP)


def compare(
    images: Sequence[ImageLabels],
    baseline: Sequence[Detections],
    candidate: Sequence[Detections],
    **options: Any,
) -> MapChange:
    return map_change(
        images, predictions(images, baseline), predictions(images, candidate), **options
    )


def weakened(detections: Sequence[Detections], share: float, seed: int) -> list[Detections]:
    """The detections with ``share`` of the boxes moved off what they show."""
    random = np.random.default_rng(seed)
    changed = []
    for one in detections:
        boxes = one.boxes.copy()
        boxes[random.random(len(one)) < share] += 40
        changed.append(dataclasses.replace(one, boxes=boxes))
    return changed


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_estimates_are_those_of_the_scorer(seed: int) -> None:
    images, detections = random_case(seed)  # with crowds, ties of images, over 100 boxes an image
    places = [place_of(image) for image in images]
    expected = score(images, detections, places, CLASS_MAP)
    for figure in ("map50_95", "map50"):
        change = compare(images, detections, detections, figure=figure)
        assert change.figure == figure
        assert change.baseline == pytest.approx(getattr(expected, figure), abs=1e-12)


def test_equal_scores_are_taken_in_the_scorers_order() -> None:
    images, detections = random_case(3)
    coarse = [
        dataclasses.replace(one, scores=np.round(one.scores, 1).astype(np.float32))
        for one in detections
    ]
    expected = score(images, coarse, [place_of(image) for image in images], CLASS_MAP)
    change = compare(images, coarse, coarse)
    assert change.baseline == pytest.approx(expected.map50_95, abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_a_resample_scores_as_the_list_of_images_that_it_drew(seed: int) -> None:
    images, detections = random_case(seed, images=20)
    kept = [index for index, image in enumerate(images) if (~image.crowd).any()][:3]
    # Each of the ten ways to draw three of three is drawn more often than a tail is wide.
    scores = [
        score(
            [images[index] for index in drawn],
            [detections[index] for index in drawn],
            [place_of(images[index]) for index in drawn],
            CLASS_MAP,
        ).map50_95
        for drawn in itertools.combinations_with_replacement(kept, 3)
    ]
    assert len(set(scores)) == 10
    shown = [images[index] for index in kept]
    change = compare(shown, [nothing()] * 3, [detections[index] for index in kept])
    assert (change.low, change.high) == pytest.approx((min(scores), max(scores)), abs=1e-12)


def test_equal_boxes_are_no_change_at_all() -> None:
    images, detections = random_case(1)
    change = compare(images, detections, [dataclasses.replace(one) for one in detections])
    assert (change.change, change.low, change.high) == (0.0, 0.0, 0.0)
    assert change.images == len(images)


def test_a_planted_drop_is_found_and_a_gain_is_its_mirror_image() -> None:
    images, detections = random_case(2, images=60)
    worse = weakened(detections, 0.2, seed=0)
    drop = compare(images, detections, worse)
    assert drop.low < drop.change < drop.high < -0.005
    gain = compare(images, worse, detections)
    assert (gain.low, gain.high) == pytest.approx((-drop.high, -drop.low))
    assert gain.change == pytest.approx(-drop.change)


def test_pairing_by_image_takes_most_of_the_width_away() -> None:
    images, detections = random_case(4, images=60)
    nearly = weakened(detections, 0.02, seed=1)
    paired = compare(images, detections, nearly)
    alone = compare(images, [nothing() for _ in images], detections)  # one detector's own scatter
    assert paired.high - paired.low < 0.5 * (alone.high - alone.low)


def test_the_seed_decides_the_interval() -> None:
    images, detections = random_case(6)
    worse = weakened(detections, 0.3, seed=2)
    first = compare(images, detections, worse, seed=1)
    assert first == compare(images, detections, worse, seed=1)
    other = compare(images, detections, worse, seed=2)
    assert other != first
    assert (other.low, other.high) == pytest.approx((first.low, first.high), abs=0.03)


def test_more_confidence_is_a_wider_interval_of_more_resamples() -> None:
    images, detections = random_case(6)
    worse = weakened(detections, 0.3, seed=2)
    usual, sure = (compare(images, detections, worse, confidence=level) for level in (0.95, 0.998))
    assert sure.low < usual.low
    assert sure.high > usual.high
    assert (usual.resamples, sure.resamples) == (2000, 10_000)
    assert resamples_for(1 - 1e-9) == 20_000


def test_each_side_has_its_own_classes_and_geometry() -> None:
    image = labels([[10, 20, 110, 220], [300, 100, 400, 150]], [0, 1])
    ours = found(image, image.boxes, [0.9, 0.8], [0, 1])
    theirs = found(image, image.boxes, [0.9, 0.8], [7, 3])
    baseline = Predictions([ours], [place_of(image)], {0: 0, 1: 1})
    candidate = Predictions([theirs], [place_of(image)], {0: 7, 1: 3})
    change = map_change([image], baseline, candidate)
    assert (change.baseline, change.candidate) == (1.0, 1.0)


def test_resamples_without_a_box_are_left_out() -> None:
    shown = labels([[10, 20, 110, 220]], [0])
    images = [shown, labels([], [])]
    there = [found(shown, shown.boxes, [0.9], [0]), nothing()]
    change = compare(images, [nothing(), nothing()], there)
    assert (change.low, change.high) == (1.0, 1.0)
    assert 1200 < change.resamples < 1800  # one in four draws the empty image twice


def test_no_box_of_a_known_class_is_told() -> None:
    crowd = labels([[10, 20, 110, 220]], [0], [True])
    with pytest.raises(BadInputError, match="no box of the images"):
        compare([crowd], [nothing()], [nothing()])


def test_lists_of_other_lengths_are_refused() -> None:
    images, detections = random_case(0)
    with pytest.raises(ValueError, match="zip"):
        compare(images, detections, detections[1:])


def test_matches_keep_what_counts_of_a_class() -> None:
    image = labels([[10, 20, 110, 220], [200, 0, 600, 400]], [0, 0], [False, True])
    boxes = np.array([[10, 20, 110, 180], [210, 10, 300, 90], [0, 300, 50, 400]], dtype=float)
    one = found(image, boxes, [0.5, 0.9, 0.8], [0, 0, 0])
    (only,) = match([image], Predictions([one], [place_of(image)], {0: 0}))
    assert only.truth.tolist() == [1]
    assert only.found.sum(axis=1).tolist() == [1] * 7 + [0] * 3  # IoU 0.80: 0.50, …, 0.80
    assert only.found[0].tolist() == [False, False, True]
    assert only.ignored[0].tolist() == [True, False, False]  # in the crowd, neither way


def test_resamples_of_two_detectors_are_the_same_images() -> None:
    images, detections = random_case(3)
    sides = [predictions(images, one) for one in (detections, weakened(detections, 0.3, seed=1))]
    change = map_change(images, *sides, seed=5)
    (before, first), (after, other) = (resampled(images, side, seed=5) for side in sides)
    assert (before, after) == (change.baseline, change.candidate)
    found = np.quantile((other - first)[~np.isnan(other - first)], [0.025, 0.975])
    assert list(found) == pytest.approx([change.low, change.high], abs=1e-12)

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploymark.backends.agreement import agreement, box_agreement, boxes_of, matches, overlaps
from deploymark.backends.inputs import Size
from deploymark.backends.layout import OutputSpec
from tests.layouts import CONTRACTS, name_of, scene, written

PLACES = 8
SIZE = Size(320, 320)
ANCHORS, DETECTIONS = OutputSpec("anchors"), OutputSpec("detections")


def anchors(*boxes: tuple[float, float, float, float, int, float], classes: int = 3) -> Any:
    """Raw output (1, 4 + classes, places) with boxes (x, y, w, h, class, score) in it."""
    raw = np.zeros((1, 4 + classes, PLACES), np.float32)
    for place, (x, y, width, height, kind, score) in enumerate(boxes):
        raw[0, :4, place] = x, y, width, height
        raw[0, 4 + kind, place] = score
    return raw


CAT = (50, 50, 20, 20, 0, 0.9)
DOG = (120, 50, 40, 20, 1, 0.8)
BIRD = (200, 200, 30, 30, 2, 0.5)


def test_the_same_boxes_agree_fully() -> None:
    raw = anchors(CAT, DOG, BIRD)
    assert agreement([raw], [raw], ANCHORS, SIZE) == 1.0
    assert agreement([raw, raw], [raw, raw], ANCHORS, SIZE) == 1.0


def test_scores_may_change_as_long_as_their_order_holds() -> None:
    assert agreement([anchors(CAT, DOG)], [anchors(CAT, (*DOG[:5], 0.2))], ANCHORS, SIZE) == 1.0


def test_a_lost_box_costs_its_share() -> None:
    assert agreement([anchors(CAT, DOG)], [anchors(CAT)], ANCHORS, SIZE) == pytest.approx(0.5)
    assert agreement([anchors(CAT, DOG)], [anchors()], ANCHORS, SIZE) == 0.0


def test_a_box_too_many_costs_by_its_rank() -> None:
    last = anchors(CAT, (*BIRD[:5], 0.3))
    first = anchors(CAT, (*BIRD[:5], 0.95))
    assert agreement([anchors(CAT)], [last], ANCHORS, SIZE) == 1.0
    assert agreement([anchors(CAT)], [first], ANCHORS, SIZE) == pytest.approx(0.5)


def test_another_class_is_another_object() -> None:
    other = anchors((*CAT[:4], 1, 0.9))
    assert agreement([anchors(CAT)], [other], ANCHORS, SIZE) == 0.0


def test_a_shifted_box_counts_up_to_its_overlap() -> None:
    # Shifted by 2 of 20 pixels: 18 / 22 overlap, found at 0.5, 0.55, ... 0.8.
    shifted = anchors((52, 50, 20, 20, 0, 0.9))
    assert agreement([anchors(CAT)], [shifted], ANCHORS, SIZE) == pytest.approx(0.7)


def test_a_truth_is_found_once() -> None:
    # The second box on the cat is suppressed; a third one, off by a half, is one too many.
    twice = anchors(CAT, (50, 51, 20, 20, 0, 0.85), (62, 50, 20, 20, 0, 0.95))
    assert agreement([anchors(CAT)], [twice], ANCHORS, SIZE) == pytest.approx(0.5)


def test_boxes_of_all_images_are_one_ranking() -> None:
    two = np.concatenate([anchors(CAT), anchors(DOG)])
    wrong = np.concatenate([anchors((*BIRD[:5], 0.95)), anchors(DOG)])
    # One of two found, behind one that is wrong.
    assert agreement([two], [wrong], ANCHORS, SIZE) == pytest.approx(0.25)
    assert agreement([two[:1], two[1:]], [wrong[:1], wrong[1:]], ANCHORS, SIZE) == pytest.approx(
        0.25
    )


def test_where_nothing_is_there_nothing_must_be_found() -> None:
    nothing, faint = anchors(), anchors((*CAT[:5], 0.2))
    assert agreement([nothing], [nothing], ANCHORS, SIZE) == 1.0
    assert agreement([nothing], [faint], ANCHORS, SIZE) == 1.0
    assert agreement([nothing], [anchors(CAT)], ANCHORS, SIZE) == 0.0
    assert agreement([], [], ANCHORS, SIZE) == 1.0


def test_reduced_detections_are_read_as_they_are() -> None:
    raw = np.zeros((1, 5, 6), np.float32)
    raw[0, 0] = 40, 40, 60, 60, 0.9, 2
    raw[0, 1] = 100, 40, 140, 60, 0.8, 1
    lost = raw.copy()
    lost[0, 1, 4] = 0
    assert agreement([raw], [raw], DETECTIONS, SIZE) == 1.0
    assert agreement([raw], [lost], DETECTIONS, SIZE) == pytest.approx(0.5)
    found = boxes_of(raw, DETECTIONS, SIZE)[0]
    assert found.classes.tolist() == [2, 1]


def test_boxes_of_one_class_suppress_each_other() -> None:
    near = (51, 50, 20, 20)
    same = boxes_of(anchors(CAT, (*near, 0, 0.95)), ANCHORS, SIZE)[0]
    assert same.scores.tolist() == [np.float32(0.95)]
    assert len(boxes_of(anchors(CAT, (*near, 1, 0.95)), ANCHORS, SIZE)[0].scores) == 2


def test_overlaps_are_shares_of_the_union() -> None:
    one = np.array([[0, 0, 10, 10]], np.float32)
    other = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30], [3, 3, 3, 3]], np.float32)
    assert overlaps(one, other)[0].tolist() == pytest.approx([1, 1 / 3, 0, 0])


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="same images"):
        agreement([anchors(CAT)], [], ANCHORS, SIZE)
    with pytest.raises(ValueError, match="same images"):
        agreement([anchors(CAT)], [anchors(CAT, classes=2)], ANCHORS, SIZE)


@given(st.integers(0, 10_000), st.floats(0, 1))
def test_agreement_is_a_share_and_full_with_itself(seed: int, noise: float) -> None:
    random = np.random.default_rng(seed)
    raw = random.random((2, 6, 12), np.float32)
    raw[:, :4] *= 100
    other = raw + np.float32(noise) * random.normal(size=raw.shape).astype(np.float32)
    assert 0.0 <= agreement([raw], [other], ANCHORS, SIZE) <= 1.0
    assert agreement([raw], [raw], ANCHORS, SIZE) == pytest.approx(1.0)


def test_average_precision_is_pycocotools() -> None:
    coco = pytest.importorskip("pycocotools.coco")
    evaluation = pytest.importorskip("pycocotools.cocoeval")
    random = np.random.default_rng(3)
    reference, candidate = [], []
    for _ in range(30):
        boxes = [
            (*random.uniform(60, 260, 2), *random.uniform(20, 120, 2), 0, random.uniform(0.3, 1))
            for _ in range(random.integers(1, 5))
        ]
        moved = [
            (*(np.array(box[:4]) + random.normal(0, 4, 4)), 0, random.uniform(0.1, 1))
            for box in boxes
        ]
        wrong = (*random.uniform(60, 260, 2), 50, 50, 0, random.uniform(0.1, 0.9))
        reference.append(anchors(*boxes, classes=1))
        candidate.append(anchors(*moved, wrong, classes=1))
    truth = {"images": [], "categories": [{"id": 1, "name": "a"}], "annotations": []}
    found = []
    for image, (one, other) in enumerate(zip(reference, candidate, strict=True)):
        truth["images"].append({"id": image})
        for raw, threshold, kept in ((one, 0.25, truth["annotations"]), (other, 0.05, found)):
            boxes = boxes_of(raw, ANCHORS, SIZE)[0].above(threshold)
            for corners, score in zip(boxes.corners, boxes.scores, strict=True):
                x1, y1, x2, y2 = map(float, corners)
                kept.append(
                    {
                        "id": len(kept) + 1,
                        "image_id": image,
                        "category_id": 1,
                        "bbox": [x1, y1, x2 - x1, y2 - y1],
                        "area": (x2 - x1) * (y2 - y1),
                        "iscrowd": 0,
                        "score": float(score),
                    }
                )
    database = coco.COCO()
    database.dataset = truth
    database.createIndex()
    scored = evaluation.COCOeval(database, database.loadRes(found), "bbox")
    scored.evaluate()
    scored.accumulate()
    scored.summarize()
    # COCO's curve is sampled at 101 recalls, ours is its whole area.
    assert agreement(reference, candidate, ANCHORS, SIZE) == pytest.approx(
        scored.stats[0], abs=0.01
    )


def test_matches_pair_boxes_of_one_class_best_first() -> None:
    truth = boxes_of(anchors(CAT, DOG), ANCHORS, SIZE)[0]
    found = boxes_of(anchors(DOG, CAT, (52, 50, 20, 20, 0, 0.3)), ANCHORS, SIZE)[0]
    assert matches(truth, found, 0.5) == [(0, 0), (1, 1)]
    assert matches(found, truth, 0.5) == [(0, 0), (1, 1)]
    moved = boxes_of(anchors((60, 50, 20, 20, 0, 0.9), (*DOG[:4], 2, 0.8)), ANCHORS, SIZE)[0]
    assert matches(truth, moved, 0.5) == []
    assert matches(truth, moved, 0.3) == [(0, 0)]


def test_decoded_boxes_agree_as_raw_outputs_do() -> None:
    raw = anchors(CAT, DOG, BIRD), anchors(CAT, (*BIRD[:5], 0.85))
    decoded = [boxes_of(batch, ANCHORS, SIZE) for batch in raw]
    assert box_agreement(*decoded) == agreement([raw[0]], [raw[1]], ANCHORS, SIZE)
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        box_agreement(decoded[0], [])


@pytest.mark.parametrize("output", CONTRACTS, ids=name_of)
def test_outputs_of_every_layout_agree_with_themselves_alone(output: OutputSpec) -> None:
    size = Size(96, 160)
    batches = [written([scene(seed, size)], output, size) for seed in range(4)]
    if output.layout == "torchvision":  # as many boxes as are found
        assert agreement(batches, batches[::-1], output, size) < 0.5
    assert agreement(batches, batches, output, size) == 1.0
    fewer = [written([scene(seed, size, most=1)], output, size) for seed in range(4)]
    assert agreement(batches, fewer, output, size) < 0.5


def test_suppression_is_at_the_overlap_of_the_contract() -> None:
    raw = anchors(CAT, (56, 50, 20, 20, 0, 0.95))  # 14 / 26 overlap
    for iou, count in ((0.5, 1), (0.6, 2)):
        assert len(boxes_of(raw, OutputSpec(iou=iou), SIZE)[0].scores) == count

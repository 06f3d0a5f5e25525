"""Guards on layouts and sizes besides the embedded detector's: good ones pass, broken ones tell."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deploymark.backends.inputs import InputSpec, Size
from deploymark.backends.layout import OutputSpec
from deploymark.backends.outputs import QUERIES, ROWS
from deploymark.bench.data.labels import ImageLabels
from deploymark.bench.score.average_precision import score
from deploymark.bench.score.findings import Finding, Subject
from deploymark.bench.score.guards import judge_outputs
from deploymark.bench.score.misreadings import Evidence, misread
from deploymark.bench.worker.detections import Detections, decode
from deploymark.bench.worker.letterbox import geometry
from deploymark.bench.worker.outputs import OutputCheck, OutputFacts
from tests.layouts import CONTRACTS, Scene, name_of, scene, written

WIDE, HIGH = Size(96, 160), Size(160, 96)
IMAGES, CLASSES = 12, 5

every_contract = pytest.mark.parametrize("output", CONTRACTS, ids=name_of)
ROW_CONTRACTS = [output for output in CONTRACTS if output.layout in ROWS]


def judged(
    output: OutputSpec,
    size: Size,
    *,
    read: OutputSpec | None = None,
    change: Callable[[Scene], Scene] = lambda one: one,
    classes: int = CLASSES,
) -> list[Finding]:
    """What is found in boxes that are written by one contract, and read by it or by another."""
    as_read = read or output
    check = OutputCheck(as_read, size)
    for seed in range(IMAGES):
        one = change(scene(seed, size, lowest=0.002))
        raw = written([one], output, size, classes=classes)
        check.add(raw, decode(raw, as_read, size, conf=0.001, multi_label=True))
    subject = Subject(as_read, CLASSES, size, "fp32", given=True)
    return judge_outputs(check.facts(), subject)


@every_contract
@pytest.mark.parametrize("size", [WIDE, HIGH], ids=str)
def test_good_outputs_of_every_layout_are_not_remarked(output: OutputSpec, size: Size) -> None:
    assert judged(output, size) == []


@every_contract
def test_the_other_unit_of_boxes_is_told_with_its_remedy(output: OutputSpec) -> None:
    if output.layout == "yolox":
        return  # raw boxes have no other unit
    other: Any = "pixels" if output.boxes == "normalised" else "normalised"
    (found,) = judged(output, WIDE, read=dataclasses.replace(output, boxes=other))
    wanted = {"pixels": "normalised", "normalised": "far-outside"}[other]
    assert (found.guard, found.hard) == (wanted, True)
    assert f"`boxes: {output.boxes}`" in found.remedy
    assert str(WIDE) in found.seen


@pytest.mark.parametrize("output", ROW_CONTRACTS, ids=name_of)
def test_classes_that_count_from_one_are_told(output: OutputSpec) -> None:
    (found,) = judged(
        output, WIDE, change=lambda one: dataclasses.replace(one, classes=one.classes + 1)
    )
    assert (found.guard, found.hard) == ("classes", True)
    assert "count from another number" in found.cause


def test_classes_that_are_not_whole_are_told_in_the_words_of_the_layout() -> None:
    facts = OutputFacts(
        images=9, boxes=30, shown_above=9, classes_not_whole=3, class_low=0.5, class_high=2.5
    )
    for layout, words in (
        ("detections", "family: yolov5"),
        ("queries-ranked", "centre-x, centre-y, width, height, score, class"),
        ("paddle", "class, score, x1"),
        ("ssd", "boxes, classes, scores, counts"),
    ):
        (found,) = judge_outputs(facts, Subject(OutputSpec(layout), 5, WIDE, "fp32"))  # type: ignore[arg-type]
        assert words in found.remedy


def test_logits_are_no_scores() -> None:
    logits = OutputSpec("detr", boxes="normalised", scores="sigmoid")
    scores = dataclasses.replace(logits, scores="probability")
    (found,) = judged(logits, WIDE, read=scores)
    assert (found.guard, found.hard) == ("scores", True)
    assert "logits" in found.cause


def test_scores_are_no_logits() -> None:
    logits = OutputSpec("detr", boxes="normalised", scores="sigmoid")
    scores = dataclasses.replace(logits, scores="probability")
    (found,) = judged(scores, WIDE, read=logits)
    assert (found.guard, found.hard) == ("scores", True)
    assert "another sigmoid" in found.cause


@every_contract
def test_what_queries_give_of_every_image_is_neither_floor_nor_cap(output: OutputSpec) -> None:
    facts = OutputFacts(
        images=9,
        shape=[9, 315],
        boxes=90,
        shown_above=9,
        kept_low=0.05,
        kept_high=0.9,
        most_candidates=10,
        images_with_most=9,
    )
    found = judge_outputs(facts, Subject(output, CLASSES, WIDE, "fp32"))
    expected = [] if output.layout in QUERIES else ["floor", "cap"]
    assert [item.guard for item in found] == expected
    assert ("nms=True" in " ".join(item.remedy for item in found)) == (
        output.arrays == 1 and bool(expected)
    )


@pytest.mark.parametrize("size", [Size(384, 640), Size(640, 384)], ids=str)
@pytest.mark.parametrize("layout", ["anchors", "anchors-last"])
def test_places_are_those_of_a_rectangle(size: Size, layout: Any) -> None:
    subject = Subject(OutputSpec(layout), 80, size, "fp32")
    facts = OutputFacts(images=9, boxes=90, shown_above=9, shape=[84, 5040])
    assert judge_outputs(facts, subject) == []
    (found,) = judge_outputs(dataclasses.replace(facts, shape=[5040, 84]), subject)
    assert found.guard == "transposed"
    assert f"an input of {size} px has 5040 places" in found.seen


def test_sides_that_were_taken_for_one_another_are_told() -> None:
    """Shares of width and height that were multiplied the other way round, as [h, w] for [w, h]."""
    size = Size(384, 640)
    random = np.random.default_rng(0)
    spec = InputSpec(height=size.height, width=size.width, resize="stretch")
    scored, found, places = [], [], []
    for _ in range(8):
        low = random.uniform(20, 300, (4, 2))
        boxes = np.concatenate((low, low + random.uniform(30, 150, (4, 2))), axis=1)
        scored.append(
            ImageLabels(
                path=Path("x.jpg"),
                width=800,
                height=480,
                boxes=boxes,
                classes=np.zeros(4, np.int64),
                areas=np.prod(boxes[:, 2:] - boxes[:, :2], axis=1),
                crowd=np.zeros(4, np.bool_),
            )
        )
        places.append(geometry(800, 480, spec))
        shares = boxes / ([800, 480] * 2)
        wrong = (shares * ([size.height, size.width] * 2)).astype(np.float32)
        found.append(
            Detections(wrong, np.linspace(0.9, 0.6, 4, dtype=np.float32), np.zeros(4, np.int32))
        )
    evidence = Evidence(scored, lambda: found, places, {0: 0})
    scores = score(scored, found, places, {0: 0})
    assert scores.map50 < 0.25
    told = misread(evidence, scores, Subject(OutputSpec(), 1, size, "fp32", labels=32))
    assert told is not None
    assert "x was multiplied by the height" in told.cause
    assert "orig_target_sizes" in told.remedy

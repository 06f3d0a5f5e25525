"""Broken outputs made from good ones: each is told, with its cause; good ones are not remarked."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("ultralytics")

from deploymark.backends.inputs import Size
from deploymark.backends.layout import OutputSpec
from deploymark.bench.score.average_precision import Scores
from deploymark.bench.score.findings import Subject
from deploymark.bench.score.guards import judge_outputs
from deploymark.bench.score.score_guards import judge_scores
from deploymark.bench.worker.outputs import OutputFacts
from tests.bench.score.broken_outputs import BROKEN, CUT, SOFT, Good, good, judged

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def source(digits: Path) -> Good:
    return good(digits)


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("layout", ["anchors", "detections"])
def test_good_outputs_are_not_remarked(source: Good, layout: str, labelled: bool) -> None:
    assert judged(source, source.raw(layout), layout, labelled=labelled) == []


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_output_is_told_with_its_cause(source: Good, name: str) -> None:
    layout, change, guard, cause = BROKEN[name]
    found = judged(source, change(source.raw(layout)).astype(np.float32), layout)
    assert found, name
    first = found[0]
    assert (first.guard, first.hard) == (guard, name not in SOFT), first
    assert cause in first.words
    assert first.remedy
    assert any(item.cuts for item in found) == (name in CUT)


COCO = Subject(OutputSpec("anchors"), 80, Size(320, 320), "fp32", "as-is", given=True, labels=700)
EMPTY = OutputFacts(images=100, shape=[84, 2100])


def facts(**known: Any) -> OutputFacts:
    return dataclasses.replace(EMPTY, **known)


@pytest.mark.parametrize(
    ("map50", "seen", "told"),
    [
        # the COCO detector of 0 to 255, given 0 to 1: it finds a box or two, all unsure
        (0.0011, {"boxes": 76, "shown": 76, "kept_high": 0.0015}, ["nothing-right"]),
        (
            0.0002,
            {"boxes": 900, "shown": 400, "shown_above": 300, "kept_high": 0.8},
            ["nothing-right"],
        ),
        (0.04, {"boxes": 900, "shown": 400, "shown_above": 300, "kept_high": 0.8}, []),
        (0.04, {"boxes": 900, "shown": 100, "shown_above": 8, "kept_high": 0.8}, []),
        (0.44, {"boxes": 9000, "shown": 400, "shown_above": 390, "kept_high": 0.93}, []),
    ],
)
def test_a_map_of_nothing_is_told(map50: float, seen: dict[str, Any], told: list[str]) -> None:
    found = judge_scores(facts(**seen), Scores(map50 / 2, map50, 100), COCO)
    assert [item.guard for item in found] == told
    assert all(item.hard for item in found)
    few = dataclasses.replace(COCO, labels=4)
    pruned = dataclasses.replace(COCO, variant="l1_90")
    for other in (few, pruned):
        assert not any(
            item.hard for item in judge_scores(facts(**seen), Scores(map50 / 2, map50, 100), other)
        )


@pytest.mark.parametrize("name", ["normalised", "corners as centre and size", "nothing"])
def test_weights_that_a_recipe_changed_may_be_nonsense(source: Good, name: str) -> None:
    layout, change, _, _ = BROKEN[name]
    raw = change(source.raw(layout)).astype(np.float32)
    found = judged(source, raw, layout, variant="l1_90")
    assert found
    assert not any(item.hard for item in found)


@pytest.mark.parametrize("name", ["nan where found", "logits", "classes from 1"])
def test_but_not_all_of_it(source: Good, name: str) -> None:
    layout, change, _, _ = BROKEN[name]
    raw = change(source.raw(layout)).astype(np.float32)
    assert judged(source, raw, layout, variant="l1_90")[0].hard


def test_few_images_without_labels_may_show_nothing() -> None:
    alone = dataclasses.replace(COCO, labels=None)
    (one,) = judge_outputs(facts(images=1, empty_images=1), alone)
    assert (one.guard, one.hard) == ("nothing", False)
    (many,) = judge_outputs(facts(images=9, empty_images=9), alone)
    assert many.hard
    (unsure,) = judge_outputs(facts(images=9, boxes=9, kept_low=0.001, kept_high=0.01), alone)
    assert (unsure.guard, unsure.hard) == ("nothing-shown", False)


def test_more_classes_than_places_are_fine_in_a_small_picture() -> None:
    small = dataclasses.replace(COCO, size=Size(32, 32))
    assert judge_outputs(facts(shape=[84, 21], boxes=9, shown_above=9), small) == []


def test_values_that_are_not_finite_where_nothing_is_are_a_warning() -> None:
    (found,) = judge_outputs(facts(not_finite_elsewhere=2, boxes=9), COCO)
    assert not found.hard
    assert "on 2 of 100 images" in found.seen
    half = dataclasses.replace(COCO, precision="fp16")
    (found,) = judge_outputs(facts(not_finite_images=1), half)
    assert "16-bit arithmetic that overflows" in found.cause

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from deploymark.backends.base import UnavailableError
from deploymark.bench.variants.evaluate import selection_evaluator
from deploymark.bench.variants.paired_drop import Drop, PairedDrop
from deploymark.bench.variants.prune import l1_unstructured

pytestmark = pytest.mark.heavy


def test_the_bound_lies_above_the_estimate_by_its_noise() -> None:
    assert Drop(0.7, 0.01, 0.0).bound == 0.01
    assert Drop(0.7, 0.0, 0.01).bound == pytest.approx(0.0233, abs=1e-4)


def test_the_same_detector_lost_nothing_and_surely(
    detector: Any, step_context: Callable[..., Any]
) -> None:
    evaluator = selection_evaluator(step_context())
    drops = PairedDrop(evaluator, detector)
    assert drops.before == evaluator.map50_95(detector)
    assert drops.of(copy.deepcopy(detector)) == Drop(drops.before, 0.0, 0.0)


def test_a_pruned_detector_lost_something_and_so_much_is_sure(
    detector: Any, step_context: Callable[..., Any]
) -> None:
    evaluator = selection_evaluator(step_context())
    drops = PairedDrop(evaluator, detector)
    pruned = copy.deepcopy(detector)
    l1_unstructured(pruned, 0.5)
    drop = drops.of(pruned)
    assert drop.map50_95 == evaluator.map50_95(pruned)
    assert drop.value == pytest.approx(drops.before - drop.map50_95)
    assert drop.value > 0.1
    assert 0 < drop.standard_error < drop.value
    # nothing is found any more: the drop is the whole score, its noise that of the score
    l1_unstructured(pruned, 0.99)
    assert drops.of(pruned).value == pytest.approx(drops.before)


def test_few_images_with_boxes_tell_no_noise(
    detector: Any, step_context: Callable[..., Any]
) -> None:
    evaluator = selection_evaluator(step_context(selection=7))
    with pytest.raises(UnavailableError, match=r"7 of the 7 images .* and 8 are needed"):
        PairedDrop(evaluator, detector)

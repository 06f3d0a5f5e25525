from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deploymark.bench.data.labels import ImageLabels
from deploymark.bench.variants import sensitivity
from deploymark.bench.variants.paired_drop import Drop, PairedDrop
from deploymark.bench.variants.prune import prunable
from deploymark.bench.variants.sensitivity import (
    AMOUNTS,
    Point,
    blocks_of,
    curve,
    restored,
    scan,
    scan_evaluator,
)

pytestmark = pytest.mark.heavy

torch = pytest.importorskip("torch")


class Recorder:
    """Gives each module a drop of its share of zeros, and keeps their number by layer."""

    def __init__(self) -> None:
        self.zeros: list[list[int]] = []

    def of(self, module: Any) -> Drop:
        weights = [layer.weight for layer in prunable(module)]
        self.zeros.append([int((weight == 0).sum()) for weight in weights])
        lost = sum(self.zeros[-1]) / sum(weight.numel() for weight in weights)
        return Drop(1 - lost, lost, 0.0)


class Model(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        pair = torch.nn.ModuleList(
            [torch.nn.Conv2d(10, 10, 1, bias=False), torch.nn.Conv2d(10, 20, 1, bias=False)]
        )
        self.model = torch.nn.Sequential(
            torch.nn.Conv2d(3, 10, 3, bias=False),
            pair,
            torch.nn.Upsample(),
            torch.nn.Conv2d(20, 5, 1, bias=False),
            torch.nn.Conv2d(5, 4, 1),
        )


def weights(module: Any) -> list[Any]:
    return [parameter.detach().clone() for parameter in module.parameters()]


def same(left: list[Any], right: list[Any]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(left, right, strict=True))


def test_blocks_are_the_layers_that_hold_convolutions_to_prune() -> None:
    module = Model()
    assert blocks_of(module) == {
        "model.1 ModuleList": list(module.model[1]),
        "model.3 Conv2d": [module.model[3]],
    }


def test_blocks_of_a_detector_hold_all_that_pruning_touches(detector: Any) -> None:
    blocks = blocks_of(detector)
    assert list(blocks)[:2] == ["model.1 Conv", "model.2 C3k2"]
    assert list(blocks)[-1] == "model.23 Detect"
    layers = [layer for layers in blocks.values() for layer in layers]
    assert layers == prunable(detector)


def test_blocks_are_pruned_one_at_a_time_and_given_back() -> None:
    module, judge, said = Model(), Recorder(), list[str]()
    before = weights(module)
    points = scan(module, blocks_of(module), judge, 1.0, "layer", said.append)  # type: ignore[arg-type]
    assert [(point.layer, point.amount) for point in points] == [
        (layer, amount)
        for layer in ("model.1 ModuleList", "model.3 Conv2d")
        for amount in (0.3, 0.5, 0.7, 0.9)
    ]
    assert judge.zeros[0] == [30, 60, 0]
    assert judge.zeros[3] == [90, 180, 0]
    assert judge.zeros[4] == [0, 0, 30]
    assert same(before, weights(module))
    assert said[-1] == ("sensitivity: block 2 of 2, model.3 Conv2d, 90% pruned: mAP50-95 0.775")


def test_globally_the_smallest_of_a_block_go() -> None:
    module, judge = Model(), Recorder()
    module.model[1][0].weight.data *= 1000
    scan(module, blocks_of(module), judge, 1.0, "global", lambda _what: None)  # type: ignore[arg-type]
    assert judge.zeros[1] == [0, 150, 0]


def test_a_block_that_lost_too_much_is_pruned_no_further() -> None:
    module, judge = Model(), Recorder()
    points = scan(module, blocks_of(module), judge, 0.3, "layer", lambda _what: None)  # type: ignore[arg-type]
    # 300 and 100 of 400 weights: 0.5 of the first block are 0.375 of all
    assert [point.amount for point in points] == [0.3, 0.5, *AMOUNTS]


def test_weights_are_given_back_after_an_error() -> None:
    module = Model()
    before = weights(module)

    def fail() -> None:
        with restored([module.model[3]]):
            module.model[3].weight.data.zero_()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert same(before, weights(module))


def point(layer: str, amount: float, drop: float, standard_error: float = 0.0) -> Point:
    return Point(layer, amount, Drop(0.7 - drop, drop, standard_error))


def test_a_curve_rises_from_nothing_to_the_largest_amount_measured() -> None:
    points = [point("a", 0.3, 0.01), point("b", 0.3, 0.6), point("a", 0.5, 0.05)]
    one = curve(points, "a", least=0.0)
    assert one.amount(0.0) == 0.0
    assert one.amount(0.01) == pytest.approx(0.3)
    assert one.amount(0.03) == pytest.approx(0.4)
    assert one.amount(0.5) == 0.5


def test_where_more_zeros_lose_less_the_larger_drop_counts() -> None:
    points = [point("a", 0.3, 0.02), point("a", 0.5, -0.01), point("a", 0.7, 0.01)]
    one = curve(points, "a", least=0.01)
    np.testing.assert_allclose(one.costs, [0, 0.023, 0.025, 0.027])
    np.testing.assert_allclose(one.amounts, [0, 0.3, 0.5, 0.7])


def test_a_block_is_charged_what_it_may_have_lost() -> None:
    points = [point("free", 0.9, 0.0), point("unsure", 0.9, 0.0, standard_error=0.01)]
    free, unsure = (curve(points, layer, least=0.001) for layer in ("free", "unsure"))
    assert free.amount(0.0) == unsure.amount(0.0) == 0.0
    assert free.amount(0.001) == 0.9
    assert 0.03 < unsure.amount(0.001) < 0.04


def image(index: int, boxes: int) -> ImageLabels:
    return ImageLabels(
        path=Path(f"{index}.jpg"),
        width=32,
        height=32,
        boxes=np.zeros((boxes, 4)),
        classes=np.zeros(boxes, dtype=np.int64),
        areas=np.zeros(boxes),
        crowd=np.zeros(boxes, dtype=np.bool_),
    )


def test_few_images_are_taken_evenly_and_those_with_boxes_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Held:
        def __init__(self, images: Any, imgsz: int, head: str) -> None:
            self.images, self.imgsz, self.head = tuple(images), imgsz, head

    monkeypatch.setattr(sensitivity, "Evaluator", Held)
    monkeypatch.setattr(sensitivity, "SCAN_IMAGES", 4)
    many: Any = Held([image(index, index % 2) for index in range(16)], 160, "auto")
    chosen = scan_evaluator(many)
    assert [int(one.path.stem) for one in chosen.images] == [1, 5, 9, 13]
    assert (chosen.imgsz, chosen.head) == (160, "auto")
    bare: Any = Held([image(index, int(index < 3)) for index in range(16)], 160, "auto")
    assert [int(one.path.stem) for one in scan_evaluator(bare).images] == [0, 1, 2, 3]
    few: Any = Held(many.images[:4], 160, "auto")
    assert scan_evaluator(few) is few


def test_a_real_block_loses_more_with_more_zeros(
    detector: Any, step_context: Callable[..., Any]
) -> None:
    from deploymark.bench.variants.evaluate import selection_evaluator

    evaluator = selection_evaluator(step_context())
    drops = PairedDrop(evaluator, detector)
    blocks = {"model.4 C3k2": blocks_of(detector)["model.4 C3k2"]}
    points = scan(detector, blocks, drops, 1.0, "layer", lambda _what: None)
    assert [point.amount for point in points] == list(AMOUNTS)
    assert points[-1].drop.value > points[1].drop.value > -0.05
    assert evaluator.map50_95(detector) == drops.before

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from deploymark.backends.base import UnavailableError
from deploymark.bench.matrix.steps import PruneStep
from deploymark.bench.variants import auto_amounts, sensitivity
from deploymark.bench.variants.apply import run_step
from deploymark.bench.variants.evaluate import selection_evaluator
from deploymark.bench.variants.paired_drop import Drop
from deploymark.bench.variants.prune import prunable
from deploymark.bench.variants.sensitivity import Point, blocks_of

pytestmark = [pytest.mark.heavy, pytest.mark.alone]

torch = pytest.importorskip("torch")


def zeros(layers: Any) -> float:
    return float(sum(int((layer.weight == 0).sum()) for layer in layers)) / sum(
        layer.weight.numel() for layer in layers
    )


def auto(max_drop: float) -> PruneStep:
    return PruneStep(kind="l1", amount="auto", max_drop=max_drop)


class FakeDrops:
    """A model that loses half of its share of zeros, with an error that does not shrink."""

    standard_error = 0.0
    before = 0.7

    def __init__(self, _evaluator: Any, _module: Any, **_groups: int) -> None:
        pass

    def of(self, module: Any) -> Drop:
        lost = zeros(prunable(module)) / 2
        return Drop(0.7 - lost, lost, self.standard_error)


@pytest.fixture
def faked(monkeypatch: pytest.MonkeyPatch) -> type[FakeDrops]:
    """Blocks that bear little, all but the last, and a model that loses with each zero."""

    def scan(_module: Any, blocks: Any, *_rest: Any) -> list[Point]:
        last = list(blocks)[-1]
        slopes = {name: 0.01 if name == last else 0.2 for name in blocks}
        return [
            Point(name, amount, Drop(0.7 - amount * slope, amount * slope, 0.0))
            for name, slope in slopes.items()
            for amount in (0.3, 0.9)
        ]

    class Evaluators:
        images = (None,) * 8

    class Drops(FakeDrops):
        pass

    monkeypatch.setattr(auto_amounts, "selection_evaluator", lambda _context: Evaluators())
    monkeypatch.setattr(auto_amounts, "scan_evaluator", lambda evaluator: evaluator)
    monkeypatch.setattr(auto_amounts, "scan", scan)
    monkeypatch.setattr(auto_amounts, "PairedDrop", Drops)
    return Drops


def test_amounts_are_the_largest_within_the_limit(
    detector: Any, step_context: Callable[..., Any], faked: type[FakeDrops]
) -> None:
    said: list[str] = []
    module, record = run_step(detector, auto(0.05), step_context(say=said.append))
    # the limit of 0.05 is 10 % of zeros, come near to by halving
    assert 0.095 < zeros(prunable(module)) <= 0.1
    assert record["map50_95_after"] >= 0.65
    amounts = record["amounts"]
    assert list(amounts) == list(blocks_of(detector))
    tough = amounts.pop("model.23 Detect")
    assert len(set(amounts.values())) == 1
    # what the last block loses is a twentieth
    assert tough > 10 * amounts["model.1 Conv"]
    assert re.match(r"(9\.\d|10\.0)% of the weights pruned", record["notes"][0])
    assert sum(what.startswith("amounts: trial") for what in said) == 8


def test_each_block_gets_its_amount(
    detector: Any, step_context: Callable[..., Any], faked: type[FakeDrops]
) -> None:
    module, record = run_step(detector, auto(0.05), step_context())
    for name, layers in blocks_of(module).items():
        assert zeros(layers) == pytest.approx(record["amounts"][name], abs=0.002)


def test_noise_takes_from_the_amounts(
    detector: Any, step_context: Callable[..., Any], faked: type[FakeDrops]
) -> None:
    faked.standard_error = 0.01
    module, record = run_step(detector, auto(0.05), step_context())
    # 0.0233 of the 0.05 are the margin
    assert 0.045 < zeros(prunable(module)) <= 0.0535
    assert record["drop_standard_error"] == 0.01


def test_nothing_is_pruned_where_nothing_is_sure(
    detector: Any, step_context: Callable[..., Any], faked: type[FakeDrops]
) -> None:
    faked.standard_error = 0.1
    before = [layer.weight.detach().clone() for layer in prunable(detector)]
    module, record = run_step(detector, auto(0.05), step_context())
    after = [layer.weight for layer in prunable(module)]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert set(record["amounts"].values()) == {0.0}
    assert record["map50_95_after"] == record["dense_map50_95"] == 0.7
    assert record["notes"] == [
        "nothing was pruned: on 8 images no amount tried is sure to lose at most 0.05 mAP50-95"
    ]


def test_without_a_train_split_there_is_nothing_to_judge_by(
    detector: Any, step_context: Callable[..., Any]
) -> None:
    with pytest.raises(UnavailableError, match="no train split"):
        run_step(detector, auto(0.05), step_context(data=None))


def test_a_real_detector_loses_no_more_than_it_may(
    detector: Any, step_context: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    some = {
        name: layers
        for name, layers in blocks_of(detector).items()
        if name in {"model.1 Conv", "model.2 C3k2", "model.8 C3k2", "model.22 C3k2"}
    }
    monkeypatch.setattr(auto_amounts, "blocks_of", lambda _module: some)
    monkeypatch.setattr(sensitivity, "AMOUNTS", (0.6,))
    monkeypatch.setattr(auto_amounts, "_TRIALS", 3)
    context = step_context()
    module, record = run_step(detector, auto(0.1), context)
    after = selection_evaluator(context).map50_95(module)
    assert after == record["map50_95_after"]
    assert record["dense_map50_95"] - after <= record["max_drop"] == 0.1
    assert zeros(prunable(module)) > 0.1
    # the deepest blocks find large objects, and digits of half the size are none
    assert record["amounts"]["model.22 C3k2"] > record["amounts"]["model.2 C3k2"]
    assert record["sensitivity"][0] == {
        "layer": "model.1 Conv",
        "amount": 0.6,
        "map50_95": pytest.approx(0.5, abs=0.5),
        "drop_standard_error": pytest.approx(0.05, abs=0.05),
    }
    assert record["selection_images"] == record["sensitivity_images"] == 8

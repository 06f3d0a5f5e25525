from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from deploymark.backends.base import UnavailableError
from deploymark.bench.matrix.steps import IterativeStep, StructuredStep, Training
from deploymark.bench.variants.apply import run_step
from deploymark.bench.variants.checkpoint import describe, exportable
from deploymark.bench.variants.evaluate import selection_evaluator
from deploymark.bench.variants.iterative import amounts
from deploymark.bench.variants.prune import prunable

pytestmark = [pytest.mark.heavy, pytest.mark.alone]

torch = pytest.importorskip("torch")

IMGSZ = 160
"""Of ``step_context``."""


def step(**values: Any) -> IterativeStep:
    return IterativeStep.model_validate({"kind": "iterative", "amount": 0.6, **values})


def zeros(module: Any) -> float:
    layers = prunable(module)
    return float(sum(int((layer.weight == 0).sum()) for layer in layers)) / sum(
        layer.weight.numel() for layer in layers
    )


class Scripted:
    """Training that changes nothing and reports drops as they are given, cycle by cycle."""

    def __init__(self, dense: float, drops: Sequence[float]) -> None:
        self.dense, self.drops = dense, list(drops)
        self.seen: list[tuple[float, int | None]] = []

    def __call__(self, module: Any, settings: Training, context: Any) -> tuple[Any, Any]:
        self.seen.append((zeros(module), settings.seed))
        after = self.dense - self.drops[len(self.seen) - 1]
        history = [{"epoch": epoch} for epoch in range(1, settings.epochs + 1)]
        return module, {"map50_95_before": 0.1, "map50_95_after": after, "history": history}


@pytest.fixture
def scripted(
    detector: Any, step_context: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Scripted]:
    def script(*drops: float) -> Scripted:
        dense = selection_evaluator(step_context()).map50_95(detector)
        trainer = Scripted(dense, drops)
        monkeypatch.setattr("deploymark.bench.variants.training.train", trainer)
        return trainer

    return script


def test_amounts_of_the_schedules() -> None:
    assert amounts(step(cycles=3, schedule="linear")) == pytest.approx((0.2, 0.4, 0.6))
    # of Zhu & Gupta's cubic: 1 - (2/3)^3, 1 - (1/3)^3, 1
    assert amounts(step(cycles=3)) == pytest.approx((0.6 * 19 / 27, 0.6 * 26 / 27, 0.6))
    assert amounts(step(cycles=1)) == (0.6,)
    assert amounts(step(cycles=7))[-1] == 0.6


def test_each_cycle_prunes_more_and_all_are_kept_without_a_limit(
    detector: Any, step_context: Callable[..., Any], scripted: Callable[..., Scripted]
) -> None:
    trainer, said = scripted(0.1, 0.2, 0.3), list[str]()
    module, record = run_step(
        detector, step(schedule="linear", epochs=2), step_context(seed=5, say=said.append)
    )
    assert [share for share, _ in trainer.seen] == pytest.approx([0.2, 0.4, 0.6], abs=0.001)
    assert [seed for _, seed in trainer.seen] == [5, 6, 7]
    assert zeros(module) == pytest.approx(0.6, abs=0.001)
    assert [cycle["cycle"] for cycle in record["cycles"]] == [1, 2, 3]
    assert all(cycle["kept"] for cycle in record["cycles"])
    assert record["cycles"][1] == {
        "cycle": 2,
        "amount": pytest.approx(0.4),
        "map50_95_pruned": 0.1,
        "map50_95": trainer.dense - 0.2,
        "macs": record["cycles"][0]["macs"],
        "nonzero_fraction": pytest.approx(0.6, abs=0.02),
        "kept": True,
    }
    assert record["dense_map50_95"] == trainer.dense
    assert record["map50_95_after"] == trainer.dense - 0.3
    assert record["history"][2] == {"cycle": 2, "epoch": 1}
    assert len(record["history"]) == 6
    assert record["notes"] == []
    assert said[1] == "cycle 1 of 3: pruning to 20.0%"


def test_the_first_cycle_beyond_the_limit_ends_it(
    detector: Any, step_context: Callable[..., Any], scripted: Callable[..., Scripted]
) -> None:
    trainer = scripted(0.0, 0.02, 0.0)
    module, record = run_step(
        detector, step(schedule="linear", max_drop=0.01, seed=9), step_context()
    )
    assert [seed for _, seed in trainer.seen] == [9, 10]
    assert zeros(module) == pytest.approx(0.2, abs=0.001)
    assert [cycle["kept"] for cycle in record["cycles"]] == [True, False]
    assert record["map50_95_after"] == trainer.dense
    assert record["notes"] == [
        "stopped at 20.0%: cycle 2 of 3, to 40.0%, lost 0.0200 mAP50-95, more than the 0.01 allowed"
    ]


def test_the_detector_stays_as_it_came_where_the_first_cycle_lost_too_much(
    detector: Any, step_context: Callable[..., Any], scripted: Callable[..., Scripted]
) -> None:
    trainer = scripted(0.02)
    before = [parameter.detach().clone() for parameter in detector.parameters()]
    module, record = run_step(detector, step(max_drop=0.01), step_context())
    after = list(module.parameters())
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert record["map50_95_after"] == record["dense_map50_95"] == trainer.dense
    assert len(record["notes"]) == 1
    assert record["notes"][0].startswith("nothing was pruned: the first cycle, to 42.2%, lost 0.02")


def test_channels_go_cycle_by_cycle(
    detector: Any, step_context: Callable[..., Any], scripted: Callable[..., Scripted]
) -> None:
    pytest.importorskip("torch_pruning")
    scripted(0.0, 0.0)
    whole = describe(exportable(copy.deepcopy(detector), IMGSZ), IMGSZ).macs
    assert whole is not None
    _, record = run_step(
        detector,
        step(prune="structured", amount=0.4, cycles=2, schedule="linear", scope="layer"),
        step_context(),
    )
    first, second = (cycle["macs"] for cycle in record["cycles"])
    assert second < 0.8 * first < 0.8 * 0.85 * whole


def test_without_a_train_split_there_is_nothing_to_train_on(
    detector: Any, step_context: Callable[..., Any]
) -> None:
    with pytest.raises(UnavailableError, match="no train split"):
        run_step(detector, step(), step_context(data=None))


def test_real_cycles_of_pruning_and_training(
    detector: Any, step_context: Callable[..., Any]
) -> None:
    context = step_context()
    module, record = run_step(
        detector, step(cycles=2, epochs=1, images=16, batch=8, scope="layer"), context
    )
    # zeros of the cycle before are counted, and training leaves them zero
    assert zeros(module) == pytest.approx(0.6, abs=0.01)
    assert record["map50_95_after"] == selection_evaluator(context).map50_95(module)
    assert [row["cycle"] for row in record["history"]] == [1, 2]
    assert record["cycles"][0]["map50_95_pruned"] < record["dense_map50_95"]


def test_cycles_of_channels_end_where_one_step_does(
    detector: Any, step_context: Callable[..., Any], scripted: Callable[..., Scripted]
) -> None:
    pytest.importorskip("torch_pruning")
    scripted(0.0, 0.0)
    at_once, known = run_step(
        copy.deepcopy(detector),
        StructuredStep(kind="structured", ratio=0.3),
        step_context(),
    )
    settings = step(prune="structured", amount=0.3, cycles=2, scope="layer")
    module, record = run_step(detector, settings, step_context())
    assert record["cycles"][-1]["macs"] == known["macs_after"]
    shapes = [[weight.shape for weight in made.parameters()] for made in (at_once, module)]
    assert shapes[0] == shapes[1]

from __future__ import annotations

from typing import Any

import pytest

from deploymark.bench.matrix.steps import FinetuneStep, PruneStep
from deploymark.bench.variants.apply import run_step
from deploymark.bench.variants.prune import learned_convolutions

pytestmark = [pytest.mark.heavy, pytest.mark.alone]

torch = pytest.importorskip("torch")
pytest.importorskip("ultralytics")


def test_trains_a_pruned_network_on_and_keeps_its_zeros(
    detector: Any, step_context: Any, tmp_path: Any
) -> None:
    from deploymark.bench.variants.checkpoint import load_detector, save_detector

    context = step_context(training=8, selection=2, imgsz=64)
    module, _ = run_step(detector, PruneStep(kind="l1", amount=0.5, scope="global"), context)
    before = [layer.weight.detach().clone() for layer in learned_convolutions(module)]
    step = FinetuneStep(kind="finetune", epochs=1, batch=4)
    trained, record = run_step(module, step, context)
    assert record["epochs"] == len(record["history"]) == 1
    save_detector(trained, tmp_path / "model.pt")
    loaded = learned_convolutions(load_detector(tmp_path / "model.pt"))
    for layer, was in zip(loaded, before, strict=True):
        assert torch.equal(layer.weight[was == 0], was[was == 0])
    assert any(
        not torch.equal(layer.weight, was) for layer, was in zip(loaded, before, strict=True)
    )

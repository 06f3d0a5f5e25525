from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from deploymark.bench.matrix.steps import PruneStep
from deploymark.bench.variants.apply import run_step
from deploymark.bench.variants.prune import prunable

pytestmark = pytest.mark.heavy


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_an_amount_is_pruned_in_place(
    detector: Any, step_context: Callable[..., Any], scope: Any
) -> None:
    step = PruneStep(kind="l1", amount=0.4, scope=scope)
    module, record = run_step(detector, step, step_context(data=None))
    assert module is detector
    assert record == {}
    shares = [float((layer.weight == 0).float().mean()) for layer in prunable(module)]
    sizes = [layer.weight.numel() for layer in prunable(module)]
    whole = sum(share * size for share, size in zip(shares, sizes, strict=True)) / sum(sizes)
    assert whole == pytest.approx(0.4, abs=0.001)
    assert (max(shares) - min(shares) < 0.05) == (scope == "layer")

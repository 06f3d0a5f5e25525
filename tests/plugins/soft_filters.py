"""Soft filter pruning: in each layer, the filters of smallest norm become zero.

He et al., Soft Filter Pruning for Accelerating Deep Convolutional Neural Networks (IJCAI 2018). The
tensors keep their shapes, and training may bring a filter back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from deploymark.backends.base import UnsupportedError
from deploymark.bench.matrix.plugin_steps import PluginStep

if TYPE_CHECKING:
    from torch import nn

    from deploymark.bench.variants.apply import StepContext


class SoftFilters(PluginStep):
    """The step in a matrix: ``{kind: soft_filters, amount: 0.25}``."""

    kind: Literal["soft_filters"]
    amount: float = Field(gt=0, lt=1, description="Share of each layer's filters, rounded down.")


def run(
    module: nn.Module, step: SoftFilters, context: StepContext
) -> tuple[nn.Module, dict[str, Any]]:
    """Carry it out in place. Raises UnsupportedError where no layer has that many filters."""
    from deploymark.bench.variants.prune import prunable

    zeroed = total = 0
    for layer in prunable(module):
        norms = layer.weight.data.flatten(1).norm(dim=1)  # float (filters,)
        count = int(step.amount * len(norms))
        layer.weight.data[norms.argsort()[:count]] = 0
        zeroed, total = zeroed + count, total + len(norms)
    context.say(f"{zeroed} of {total} filters are zero")
    if not zeroed:
        raise UnsupportedError(
            f"no layer has a filter to spare for an amount of {step.amount:g}",
            remedy="Give a larger amount.",
        )
    return module, {"notes": [f"{zeroed} of {total} filters are zero"]}

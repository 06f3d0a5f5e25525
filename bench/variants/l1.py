"""The ``l1`` step: unstructured pruning by amounts of the matrix, or by the blocks' sensitivity."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploymark.bench.matrix.steps import PruneStep
from deploymark.bench.variants.apply import Record, StepContext
from deploymark.bench.variants.auto_amounts import prune_by_sensitivity
from deploymark.bench.variants.prune import l1_unstructured

if TYPE_CHECKING:
    from torch import nn


def run(module: nn.Module, step: PruneStep, context: StepContext) -> tuple[nn.Module, Record]:
    """Carry out an ``l1`` step, in place (see ``bench.variants.apply.run_step``)."""
    if step.amount == "auto":
        return module, prune_by_sensitivity(module, step, context)
    l1_unstructured(module, step.amount, scope=step.scope)
    return module, {}

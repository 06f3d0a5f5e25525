"""Fine-tuning: training on, as the network is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploymark.bench.matrix.steps import FinetuneStep
from deploymark.bench.variants.apply import Record, StepContext
from deploymark.bench.variants.training import train

if TYPE_CHECKING:
    from torch import nn


def run(module: nn.Module, step: FinetuneStep, context: StepContext) -> tuple[nn.Module, Record]:
    """Carry out a ``finetune`` step (see ``bench.variants.training.train``)."""
    return train(module, step, context)

"""The steps of a recipe as data, and carrying them out.

A step says what is wanted; the modules beside this one do it. Importing this module imports no
framework: matrices are read where torch is not installed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from torch import nn


class PruneStep(BaseModel):
    """Set the weights of smallest magnitude to zero.

    ``amount`` is the share of the convolution weights that becomes zero, those of the first layer
    and of the output layers apart, which are kept. ``scope`` says among which weights the smallest
    are looked for: those of each layer, or those of the whole model, where layers of small weights
    lose more than others.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["l1"] = Field(description="Unstructured pruning by magnitude (L1).")
    amount: float = Field(gt=0, lt=1, description="Share of the convolution weights set to zero.")
    scope: Literal["layer", "global"] = Field(
        "layer", description="Look for the smallest weights in each layer, or in the whole model."
    )


Step = Annotated[PruneStep, Field(description="One step of a recipe.")]
"""Any step; each is told by its ``kind``."""


def apply_steps(module: nn.Module, steps: Sequence[Step]) -> nn.Module:
    """Carry out ``steps`` on ``module``, in order and in place, and return it.

    ``module`` is a detector before its batch normalisation is fused, so that a later step may train
    it. Needs torch if there is a step.
    """
    for step in steps:
        _prune(module, step)
    return module


def _prune(module: nn.Module, step: PruneStep) -> None:
    from bench.variants.prune import l1_unstructured

    l1_unstructured(module, step.amount, scope=step.scope)

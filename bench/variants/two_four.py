"""2:4 semi-structured pruning: of every four weights in a row, the two smallest become zero.

The pattern of Mishra et al., Accelerating Sparse Deep Neural Networks (2021), as NVIDIA's ASP and
TensorRT read it: groups of four along a convolution's input channels, so that a sparse matrix
product skips half of its terms. It pays where the runtime has sparse kernels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deploymark.backends.base import UnsupportedError
from deploymark.bench.matrix.steps import TwoFourStep
from deploymark.bench.variants.prune import prunable

if TYPE_CHECKING:
    import torch
    from torch import nn

    from deploymark.bench.variants.apply import StepContext

GROUP, KEPT = 4, 2


def run(
    module: nn.Module, _step: TwoFourStep, _context: StepContext
) -> tuple[nn.Module, dict[str, Any]]:
    """Carry out a ``2:4`` step, in place (see ``bench.variants.apply.run_step``).

    Layers whose number of input channels is no multiple of four, depthwise ones above all, stay as
    they are. (ASP leaves narrow layers out, too, of less than 8 outputs and 16 inputs or multiples
    of these, which sparse tensor cores do not take.) Raises UnsupportedError where that leaves no
    layer.
    """
    layers = prunable(module)
    fitting = [layer for layer in layers if layer.weight.shape[1] % GROUP == 0]
    if not fitting:
        raise UnsupportedError(
            f"none of the {len(layers)} convolutions has a multiple of {GROUP} input channels",
            remedy="Prune it without a pattern: kind: l1.",
        )
    for layer in fitting:
        layer.weight.data.mul_(mask_of(layer.weight.data))
    left = len(layers) - len(fitting)
    note = f"2:4 in {len(fitting)} of {len(layers)} convolutions"
    return module, {"notes": [note] if left else []}


def mask_of(weight: torch.Tensor) -> torch.Tensor:
    """1 for the two weights of largest magnitude of every four input channels, else 0.

    ``weight``: float (out, in, height, width), ``in`` a multiple of four.
    """
    import torch

    groups = weight.abs().movedim(1, -1).unflatten(-1, (-1, GROUP))
    kept = groups.topk(KEPT, dim=-1).indices
    mask = torch.zeros_like(groups).scatter_(-1, kept, 1.0)
    return mask.flatten(-2).movedim(-1, 1).contiguous()

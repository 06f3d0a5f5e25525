"""What a model costs on paper: multiply-accumulates and weights that are not zero."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn

INPUT_CHANNELS = 3
"""RGB."""


def _weighted(module: nn.Module) -> list[Any]:
    """Convolutions and linear layers with weights that were learned."""
    from torch import nn

    from deploymark.bench.variants.prune import learned_convolutions

    linear = [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
    return [*learned_convolutions(module), *linear]


def nonzero_fraction(module: nn.Module) -> float:
    """The share of the learned weights of convolutions and linear layers that are not 0."""
    weights = [layer.weight for layer in _weighted(module)]
    nonzero = sum(int(weight.count_nonzero()) for weight in weights)
    return nonzero / int(sum(weight.numel() for weight in weights))


def count_macs(module: nn.Module, imgsz: int) -> tuple[int, torch.Tensor]:
    """Multiply-accumulates of one image, zeros included, and the output.

    An output value of a convolution costs one weight each of its filter. Products of activations
    with activations (attention) are not counted.
    """
    import torch
    from torch import nn

    total = 0

    def count(layer: Any, _inputs: Any, output: Any) -> None:
        nonlocal total
        total += output.numel() * (layer.weight.numel() // layer.weight.shape[0])

    hooks = [
        layer.register_forward_hook(count)
        for layer in module.modules()
        if isinstance(layer, (nn.Conv2d, nn.Linear))
    ]
    try:
        with torch.inference_mode():
            output = module(torch.zeros(1, INPUT_CHANNELS, imgsz, imgsz))
    finally:
        for hook in hooks:
            hook.remove()
    return total, output

"""Batch normalisation of networks that were put together again from a fused export.

Such a network computes what it should: its normalisations have mean 0, variance 1 and, as their
bias, what fusing left. But training normalises by the batch, and would change every layer's output.
Measuring the statistics that were lost, and moving them from the weights back to where they belong,
changes no output and makes the network fit to be trained.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn


def lacks_statistics(module: nn.Module) -> bool:
    """Whether every batch normalisation was learned but has the statistics of an untrained one."""
    layers = _layers(module)
    return (
        bool(layers)
        and all(
            not bool(layer.running_mean.any())
            and bool((layer.running_var == layer.running_var[0]).all())
            for layer in layers
        )
        and any(bool(layer.bias.any()) for layer in layers)
    )


def restore_statistics(module: nn.Module, batches: Iterable[torch.Tensor]) -> None:
    """Give batch normalisations the statistics of ``batches``, in place, each output as before.

    ``batches`` are float32 (b, 3, imgsz, imgsz) in [0, 1], one at least.
    """
    import torch

    sums: dict[Any, list[torch.Tensor]] = {layer: [] for layer in _layers(module)}

    def measure(layer: Any, inputs: tuple[torch.Tensor, ...]) -> None:
        values = inputs[0].double()
        dims = (0, 2, 3)
        sums[layer].append(torch.stack((values.mean(dims), values.square().mean(dims))))

    hooks = [layer.register_forward_pre_hook(measure) for layer in sums]
    training = module.training
    module.eval()
    with torch.no_grad():
        for batch in batches:
            module(batch)
        for layer, found in sums.items():
            if found:
                mean, square = torch.stack(found).mean(dim=0)
                _set(layer, mean, (square - mean.square()).clamp_(min=0))
    for hook in hooks:
        hook.remove()
    module.train(training)


def _set(layer: Any, mean: torch.Tensor, variance: torch.Tensor) -> None:
    scale = layer.weight.double() / (layer.running_var.double() + layer.eps).sqrt()
    shift = layer.bias.double() - layer.running_mean.double() * scale
    layer.weight.copy_(scale * (variance + layer.eps).sqrt())
    layer.bias.copy_(shift + mean * scale)
    layer.running_mean.copy_(mean)
    layer.running_var.copy_(variance)


def _layers(module: nn.Module) -> list[Any]:
    from torch import nn

    return [
        layer
        for layer in module.modules()
        if isinstance(layer, nn.BatchNorm2d) and layer.running_mean is not None and layer.affine
    ]

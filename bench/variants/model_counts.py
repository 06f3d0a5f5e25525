"""What a model costs on paper: multiply-accumulates and weights that are not zero."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deploymark.backends.exporting import examples
from deploymark.backends.inputs import PLAIN_INPUT, InputSpec, Size

if TYPE_CHECKING:
    from torch import nn

INPUT_CHANNELS = 3
"""RGB."""


def _weighted(module: nn.Module) -> list[Any]:
    """Convolutions and linear layers with weights that were learned."""
    from torch import nn

    from deploymark.bench.variants.prune import learned_convolutions

    linear = [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
    return [*learned_convolutions(module), *linear]


def nonzero_fraction(module: nn.Module) -> float | None:
    """The share of the learned weights of convolutions and linear layers that are not 0.

    None where there are none.
    """
    weights = [layer.weight for layer in _weighted(module)]
    total = int(sum(weight.numel() for weight in weights))
    return sum(int(weight.count_nonzero()) for weight in weights) / total if total else None


def count_macs(
    module: nn.Module, size: Size | int, spec: InputSpec = PLAIN_INPUT
) -> tuple[int, Any]:
    """Multiply-accumulates of one image of a size, zeros included, and what the module gives.

    An output value of a convolution costs one weight each of its filter, those of linear layers and
    of the projections of ``nn.MultiheadAttention`` one of their row. Products of activations with
    activations (attention) are not counted, nor is sampling. ``spec`` has the inputs besides.
    """
    import torch
    from torch import nn

    total = 0

    def count(layer: Any, _inputs: Any, output: Any) -> None:
        nonlocal total
        total += output.numel() * (layer.weight.numel() // layer.weight.shape[0])

    def count_projections(
        layer: Any, inputs: tuple[Any, ...], named: dict[str, Any], output: Any
    ) -> None:
        nonlocal total
        query, key, value = (*inputs, *(named[k] for k in ("query", "key", "value") if k in named))
        total += layer.embed_dim * sum(map(torch.numel, (query, key, value, output[0])))

    hooks = [
        layer.register_forward_hook(count)
        for layer in module.modules()
        if isinstance(layer, (nn.Conv2d, nn.Linear))
    ]
    hooks += [
        layer.register_forward_hook(count_projections, with_kwargs=True)
        for layer in module.modules()
        if isinstance(layer, nn.MultiheadAttention)
    ]
    try:
        with torch.inference_mode():
            output = module(*examples(spec, (1, INPUT_CHANNELS, *Size.of(size))))
    finally:
        for hook in hooks:
            hook.remove()
    return total, output

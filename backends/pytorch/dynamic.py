"""PyTorch's dynamic INT8 quantization, really tried: it covers Linear and recurrent layers only."""

from __future__ import annotations

from collections import Counter
from typing import Any

from deploymark.backends.base import UnsupportedError
from deploymark.backends.exporting import quiet

REMEDY = "Take a backend with static INT8, such as onnxruntime or openvino."

MOST_NAMED = 3
"""Kinds of modules that a message names."""


def program(model: Any, given: tuple[Any, ...]) -> Any:
    """An exported program of the module with its Linear and recurrent layers quantized.

    ``given`` are the inputs to trace with. Weights are INT8, and what the layers take is quantized
    as it comes. Raises UnsupportedError,
    with the numbers, where the module has no such layer, as what ran would be the float model
    under another name, and where ``torch.export`` cannot hold the layers that were quantized.
    """
    import torch
    from torch.ao.quantization import quantize_dynamic

    before = _weighted(model)
    with quiet("torch"):
        quantized = quantize_dynamic(model, dtype=torch.qint8)
    count = sum(map(_is_quantized, quantized.modules()))
    tried = (
        f"torch.ao.quantization.quantize_dynamic quantized {count} of {len(before)} modules with "
        "weights"
    )
    if not count:
        kinds = Counter(before).most_common(MOST_NAMED)
        named = ", ".join(f"{number} {kind}" for kind, number in kinds)
        raise UnsupportedError(
            f"{tried}: it covers Linear and recurrent layers, and this model has {named}",
            remedy=REMEDY,
        )
    try:
        return torch.export.export(quantized, given)
    except Exception as error:
        raise UnsupportedError(
            f"{tried}, but torch.export cannot hold them: {type(error).__name__}: {error}",
            remedy=REMEDY,
        ) from error


def _is_quantized(module: Any) -> bool:
    return type(module).__module__.startswith("torch.ao.nn.quantized.dynamic")


def _weighted(model: Any) -> list[str]:
    """Kinds of the modules that hold weights themselves."""
    return [
        type(module).__name__
        for module in model.modules()
        if next(module.parameters(recurse=False), None) is not None
    ]

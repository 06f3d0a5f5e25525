"""The ranges of activations: where the 256 levels of int8 lie, chosen on calibration images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from deploymark.bench.variants.qat_modules import HIGHEST, FakeQuantizedConv2d

if TYPE_CHECKING:
    import torch
    from torch import nn

BINS = 2048
"""Bins of a histogram of magnitudes (those of NVIDIA's pytorch-quantization)."""

_SHARES = 100
"""Ranges tried: so many shares of the largest magnitude, evenly spaced."""


def calibrate(
    module: nn.Module, layers: Sequence[FakeQuantizedConv2d], batches: Sequence[torch.Tensor]
) -> None:
    """Set the input and output scales of ``layers`` for which rounding costs least.

    ``batches``: float32 (b, 3, imgsz, imgsz) in [0, 1]. Of a hundred ranges up to the largest
    magnitude seen, the one is taken whose mean squared error is smallest, clipping included (Nagel
    et al., A White Paper on Neural Network Quantization, 2021, section 3.1). Values are measured
    without any rounding. A layer that the images do not reach keeps its scales.
    """
    import torch

    largest: dict[tuple[int, str], float] = {}
    histograms: dict[tuple[int, str], torch.Tensor] = {}

    def note_largest(key: tuple[int, str], values: torch.Tensor) -> None:
        largest[key] = max(largest.get(key, 0.0), float(values.abs().max()))

    def count(key: tuple[int, str], values: torch.Tensor) -> None:
        counted = torch.histc(values.abs(), BINS, 0, largest[key]).double()
        histograms[key] = histograms.get(key, 0) + counted

    for note in (note_largest, count):
        _visit(module, layers, batches, note)
    for (index, end), histogram in histograms.items():
        top = largest[index, end]
        if top > 0:
            getattr(layers[index], f"{end}_scale").fill_(best_scale(histogram, top))
    for layer in layers:
        layer.measure_weights()


def best_scale(histogram: torch.Tensor, largest: float) -> float:
    """The scale of least squared error for magnitudes counted in even bins up to ``largest``."""
    import torch

    middles = (torch.arange(len(histogram), dtype=torch.float64) + 0.5) / len(histogram) * largest
    shares = torch.arange(1, _SHARES + 1, dtype=torch.float64) / _SHARES
    scales = (shares * largest / HIGHEST)[:, None]
    rounded = (middles / scales).round().clamp(max=HIGHEST) * scales
    errors = (histogram * (rounded - middles).square()).sum(dim=1)
    return float(scales[errors.argmin(), 0])


def _visit(
    module: nn.Module,
    layers: Sequence[FakeQuantizedConv2d],
    batches: Sequence[torch.Tensor],
    note: Any,
) -> None:
    """Run the module without rounding; show ``note`` what each layer rounds of what it meets."""
    import torch

    def watch(index: int) -> Any:
        def run(_layer: nn.Module, taken: tuple[torch.Tensor, ...], given: torch.Tensor) -> None:
            note((index, "input"), taken[0])
            if layers[index].rounds_output:
                note((index, "output"), given)

        return run

    hooks = [layer.register_forward_hook(watch(index)) for index, layer in enumerate(layers)]
    training = module.training
    module.eval()
    try:
        for layer in layers:
            layer.rounds = False
        with torch.inference_mode():
            for batch in batches:
                module(batch)
    finally:
        for layer in layers:
            layer.rounds = True
        for hook in hooks:
            hook.remove()
        module.train(training)

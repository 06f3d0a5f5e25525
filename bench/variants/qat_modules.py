"""Convolutions that compute as an INT8 runtime will: the modules of quantization-aware training.

Checkpoints pickle classes by name, so these live in a module of their own. Importing it imports
torch: nothing that runs without torch may import it at its top.

A value is rounded to one of 256 levels and taken back to float, with the straight-through gradient
that is 1 inside the range and 0 outside (Jacob et al., Quantization and Training of Neural Networks
for Efficient Integer-Arithmetic-Only Inference, 2018). Everything is symmetric: weights have one
scale an output channel, activations one a tensor, and all zero points are 0, which is what TensorRT
takes (its documentation, "Working with Quantized Types").
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

LOWEST, HIGHEST = -128, 127
"""The codes of int8. Weights reach from -127 to 127 only, by their scale."""

_REDUCED_HIGHEST = 63
"""Largest code of a weight in 7 bits."""

_LARGEST_BIAS_CODE = float(1 << 30)
"""Runtimes round biases to multiples of input scale x weight scale, in 32 bits."""


class FakeQuantizedConv2d(nn.Conv2d):  # type: ignore[misc]
    """A convolution whose input, weights and output are rounded to int8.

    ``input_scale`` and ``output_scale`` (float32 scalars) are set by calibration and then stay, as
    one tensor's readers then share a scale; ``weight_scale``, float32 (out_channels,), follows the
    largest weight of each channel (``measure_weights``). ``seven_bits`` halves the weights' codes:
    without VNNI, x86 adds two products of u8 and s8 in 16 saturating bits, which fewer bits cannot
    overflow. Where ``rounds_output``, the output is rounded before the activation function, where
    ONNX Runtime's integer kernel ends.
    """

    input_scale: torch.Tensor
    output_scale: torch.Tensor
    weight_scale: torch.Tensor
    zero_points: torch.Tensor
    seven_bits: bool
    rounds_output: bool
    rounds: bool
    """False while ranges are measured: it is then a convolution like any other."""

    @classmethod
    def of(
        cls, plain: nn.Conv2d, *, seven_bits: bool = False, rounds_output: bool = True
    ) -> FakeQuantizedConv2d:
        """A fake-quantized convolution that shares the parameters of ``plain``."""
        made = cls(**_shape_of(plain))
        made.weight, made.bias = plain.weight, plain.bias
        made.seven_bits, made.rounds_output, made.rounds = seven_bits, rounds_output, True
        made.register_buffer("input_scale", torch.ones(()))
        made.register_buffer("output_scale", torch.ones(()))
        made.register_buffer("weight_scale", torch.ones(plain.out_channels))
        made.register_buffer("zero_points", torch.zeros(plain.out_channels, dtype=torch.int32))
        made.train(plain.training)
        return made

    def plain(self) -> nn.Conv2d:
        """A convolution without rounding that shares the parameters of this one."""
        made = nn.Conv2d(**_shape_of(self))
        made.weight, made.bias = self.weight, self.bias
        made.train(self.training)
        return made

    def measure_weights(self) -> None:
        """Set ``weight_scale`` from the weights: the largest of each channel gets the last code.

        A channel of zeros takes the scale of the largest weight, and no scale is so small that the
        channel's bias would not fit into its 32 bits.
        """
        highest = _REDUCED_HIGHEST if self.seven_bits else HIGHEST
        with torch.no_grad():
            scale = self.weight.abs().amax(dim=(1, 2, 3)) / highest
            scale = torch.where(scale > 0, scale, scale.max())
            floor = torch.full_like(scale, torch.finfo(torch.float32).eps)
            if self.bias is not None:
                floor = floor.maximum(self.bias.abs() / (_LARGEST_BIAS_CODE * self.input_scale))
            self.weight_scale.copy_(scale.maximum(floor))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Float in, float out, with the values an integer kernel would give."""
        if not self.rounds:
            return super().forward(images)
        if not torch.jit.is_tracing():  # an exporter is to see constants
            self.measure_weights()
        taken = self._rounded(images, self.input_scale)
        weight = self._rounded(self.weight, self.weight_scale)
        given = self._conv_forward(taken, weight, self.bias)
        return self._rounded(given, self.output_scale) if self.rounds_output else given

    def _rounded(self, values: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        """``values`` on the levels of ``scale``: one for all, or one for each index of axis 0.

        Levels are float32's also where the model was made 16 bits wide for an export.
        """
        if values.dtype != torch.float32:
            return self._rounded(values.float(), scale.float()).to(values.dtype)
        if scale.ndim == 0:
            return torch.fake_quantize_per_tensor_affine(
                values, scale, self.zero_points[0], LOWEST, HIGHEST
            )
        return torch.fake_quantize_per_channel_affine(
            values, scale, self.zero_points, 0, LOWEST, HIGHEST
        )


def _shape_of(layer: nn.Conv2d) -> dict[str, Any]:
    """The arguments that make a convolution like ``layer``, without memory for its weights."""
    names = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation")
    more = {"groups": layer.groups, "padding_mode": layer.padding_mode, "device": "meta"}
    return {name: getattr(layer, name) for name in names} | more | {"bias": layer.bias is not None}


def fake_quantized(module: nn.Module) -> list[FakeQuantizedConv2d]:
    """The fake-quantized convolutions of a module, in its order."""
    return [layer for layer in module.modules() if isinstance(layer, FakeQuantizedConv2d)]


def replace_convolutions(module: nn.Module, replacements: dict[nn.Conv2d, nn.Conv2d]) -> None:
    """Put other convolutions in the places of some, in place."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Conv2d) and child in replacements:
                setattr(parent, name, replacements[child])


def without_fake_quantization(module: nn.Module) -> nn.Module:
    """``module`` with plain convolutions of the same weights, in place; returns it."""
    replace_convolutions(module, {layer: layer.plain() for layer in fake_quantized(module)})
    return module

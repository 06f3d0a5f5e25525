"""From an export request to a torch module that is ready to be traced."""

from __future__ import annotations

from typing import Any

from deploymark.backends.base import ExportRequest
from deploymark.backends.exporting import examples, require_outputs
from deploymark.backends.pytorch import half as torch_half


def prepared(request: ExportRequest) -> tuple[Any, tuple[Any, ...]]:
    """The module, in its precision and on the CPU, and inputs to trace it with.

    Weights are in channels-last order where the model allows it: oneDNN's and cuDNN's convolutions
    are laid out that way; strides are part of a traced program, so the order has to be chosen
    before. BF16 and FP16: see ``torch_half``. The inputs are float32 (batch, 3, height, width) and
    the extra ones of the contract. Call without gradients. Raises ExportError where the model does
    not return what its contract says.
    """
    given = examples(request.detector.spec, request.input_shape)
    model = _in_channels_last(request, given)
    if request.precision in torch_half.DTYPES:
        torch_half.convert(model, request.precision, request.float_nodes)
    return model, given


def _in_channels_last(request: ExportRequest, given: tuple[Any, ...]) -> Any:
    """The model in channels-last order if it runs so, else as it came.

    The forward also lets heads build their anchors, which makes them constants of the program.
    """
    import torch

    model = request.model().to(memory_format=torch.channels_last)
    try:
        found = model(*given)
    except RuntimeError:  # a view that only row-major order allows
        model = request.model()
        found = model(*given)
    require_outputs(found, request.detector.output)
    return model

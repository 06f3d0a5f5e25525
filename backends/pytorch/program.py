"""From an export request to a torch module that is ready to be traced."""

from __future__ import annotations

from typing import Any

from deploymark.backends.base import ExportRequest
from deploymark.backends.exporting import require_tensor
from deploymark.backends.pytorch import half as torch_half


def prepared(request: ExportRequest) -> tuple[Any, Any]:
    """The module, in its precision and on the CPU, and an input to trace it with.

    Weights are in channels-last order where the model allows it: oneDNN's and cuDNN's convolutions
    are laid out that way; strides are part of a traced program, so the order has to be chosen
    before. BF16 and FP16: see ``torch_half``. The input is float32 (batch, 3, imgsz, imgsz). Call
    without gradients. Raises ExportError where the model does not return one tensor.
    """
    import torch

    example = torch.zeros(request.batch, 3, request.imgsz, request.imgsz)
    model = _in_channels_last(request, example)
    if request.precision in torch_half.DTYPES:
        torch_half.convert(model, request.precision, request.float_nodes)
    return model, example


def _in_channels_last(request: ExportRequest, example: Any) -> Any:
    """The model in channels-last order if it runs so, else as it came.

    The forward also lets heads build their anchors, which makes them constants of the program.
    """
    import torch

    model = request.model().to(memory_format=torch.channels_last)
    try:
        output = model(example)
    except RuntimeError:  # a view that only row-major order allows
        model = request.model()
        output = model(example)
    require_tensor(output)
    return model

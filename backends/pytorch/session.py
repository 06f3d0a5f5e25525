"""A session in PyTorch's own process: what it tells of itself, whatever it runs."""

from __future__ import annotations

from typing import Any

from deploymark.backends import base
from deploymark.backends.pytorch import ops as torch_ops
from deploymark.backends.pytorch import runtime


class PyTorchSession(base.Session):
    """Something that torch runs on one device. Subclasses fill ``infer_impl``."""

    def __init__(self, torch: Any, options: base.LoadOptions) -> None:
        super().__init__(options.input_shape)
        self._torch = torch
        self._device = torch.device(options.device)

    def executed_precision(self) -> base.ExecutedPrecision:
        """Convolutions and matrix products by data type, from one inference."""
        import numpy as np

        images = np.zeros(self.input_shape, np.float32)
        return torch_ops.executed(self._torch, lambda: self.infer_impl(images))

    def device_memory_bytes(self) -> int | None:
        """Peak of torch's allocator on a CUDA device since the start of the process."""
        return runtime.device_memory_bytes(self._torch, self._device.type)

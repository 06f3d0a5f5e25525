"""A session in PyTorch's own process: what it tells of itself, whatever it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from deploymark.backends import base
from deploymark.backends.pytorch import ops as torch_ops
from deploymark.backends.pytorch import profile as torch_profile
from deploymark.backends.pytorch import runtime

if TYPE_CHECKING:
    import numpy.typing as npt


class PyTorchSession(base.Session):
    """Something that torch runs on one device. Subclasses fill ``infer_impl``.

    Inputs besides the images follow them in the order of ``InputSpec.extra``.
    """

    def __init__(self, torch: Any, options: base.LoadOptions) -> None:
        super().__init__(options.input_shape, options.spec)
        self._torch = torch
        self._device = torch.device(options.device)
        self._others = [
            torch.from_numpy(self.extra[item.name]).to(self._device) for item in self.spec.extra
        ]

    def _arrays(self, output: Any, order: Sequence[int] | None = None) -> base.Outputs:
        """What a module returned, as arrays: a tensor, or several by their places."""
        if isinstance(output, self._torch.Tensor):
            predictions: base.Outputs = output.float().cpu().numpy()
            return predictions
        several = list(output.values()) if isinstance(output, Mapping) else list(output)
        chosen = several if order is None else [several[index] for index in order]
        found = tuple(
            (item.float() if item.is_floating_point() else item).cpu().numpy() for item in chosen
        )
        return found[0] if len(found) == 1 else found

    def profile(
        self, images: Sequence[npt.NDArray[Any]], *, warmup: int, inferences: int
    ) -> base.Profile:
        """What each operator took, by ``torch.profiler``."""
        return torch_profile.profile(
            self._torch,
            lambda index: self.infer_impl(images[index % len(images)]),
            warmup=warmup,
            inferences=inferences,
            device=self._device.type,
        )

    def executed_precision(self) -> base.ExecutedPrecision:
        """Convolutions and matrix products by data type, from one inference."""
        import numpy as np

        images = np.zeros(self.spec.shape(self.input_shape), self.spec.dtype)
        return torch_ops.executed(self._torch, lambda: self.infer_impl(images))

    def device_memory_bytes(self) -> int | None:
        """Peak of torch's allocator on a CUDA device since the start of the process."""
        return runtime.device_memory_bytes(self._torch, self._device.type)

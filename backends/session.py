"""A loaded artifact: what every backend's session is, and what it tells of itself.

Written for Python 3.10 and numpy alone: workers import this module.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Union

from deploymark.backends.errors import InputError
from deploymark.backends.inputs import PLAIN_INPUT, InputSpec, extra_inputs
from deploymark.backends.profile import Profile

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Setting = bool | int | float | str
"""The value of a runtime option, or of a setting that a runtime tells."""

Outputs = Union["npt.NDArray[np.float32]", tuple["npt.NDArray[Any]", ...]]
"""What a session gives: the one array of a layout, or its arrays in the order of ``ROLES``."""


@dataclasses.dataclass(frozen=True)
class ExecutedPrecision:
    """What really ran: counts of executed layers by type and data type.

    ``layers`` maps ``"Convolution:f32"`` and the like to a count. ``source`` names where it was
    read ("runtime model", "optimised graph"); a runtime that cannot tell gives ``layers`` empty and
    says so in ``reason``.
    """

    layers: Mapping[str, int] = dataclasses.field(default_factory=dict)
    source: str = ""
    reason: str = ""


def widened(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Floating numbers of 16 bits in float32; whole numbers and float32 as they are."""
    return array.astype("float32") if array.dtype.name == "float16" else array


class Session(abc.ABC):
    """A loaded artifact, ready to infer. Subclasses fill ``infer_impl``.

    ``extra`` are the inputs besides the images, by name, made once: their values depend on the size
    alone (``ExtraInput``).
    """

    no_profiler: str = "Deploymark reads no profiler of this runtime"
    """Why ``profile`` has nothing to tell, where a subclass does not fill it."""

    def __init__(
        self, input_shape: tuple[int, int, int, int], spec: InputSpec = PLAIN_INPUT
    ) -> None:
        self.input_shape = input_shape
        self.spec = spec
        self.extra = extra_inputs(spec, input_shape)
        self._array_shape = spec.shape(input_shape)

    def infer(self, images: npt.NDArray[Any]) -> Outputs:
        """Raw predictions of one batch.

        ``images``: float32 (batch, 3, height, width), RGB in [0, 1], contiguous, unless ``spec`` is
        another. Returns the array of the output contract, float32, or a tuple of its arrays in the
        order of ``layout.ROLES``; they may be reused by the next call. Raises InputError if shape
        or dtype is another.
        """
        if images.shape != self._array_shape or images.dtype.name != self.spec.dtype:
            raise InputError(
                f"infer() takes {self.spec.dtype} {self._array_shape}, got {images.dtype.name} "
                f"{images.shape}"
            )
        return self.infer_impl(images)

    @abc.abstractmethod
    def infer_impl(self, images: npt.NDArray[Any]) -> Outputs:
        """``infer`` without its checks."""

    @abc.abstractmethod
    def executed_precision(self) -> ExecutedPrecision:
        """What really ran, read from the runtime. May run an inference; never called in timing."""

    def profile(
        self, images: Sequence[npt.NDArray[Any]], *, warmup: int, inferences: int
    ) -> Profile:
        """What each layer takes, by the runtime's own profiler; never called where time is taken.

        ``images`` are taken in turn, each as ``infer`` takes it. ``inferences`` are profiled at
        least, once ``warmup`` of them are over.
        """
        del images, warmup, inferences
        return Profile(reason=self.no_profiler)

    def settings(self) -> Mapping[str, Setting]:
        """What decides its speed besides the options, as the runtime tells it; never timed."""
        return {}

    def device_memory_bytes(self) -> int | None:
        """Memory held on an accelerator, None where there is none or it cannot be told."""
        return None

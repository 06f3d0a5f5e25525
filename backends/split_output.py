"""A detector with two outputs, boxes and scores apart, for quantizers that give a tensor one scale.

A fully quantized output that holds boxes of hundreds of pixels beside scores below one rounds every
score to zero. Here boxes are divided by the image's size and leave as an output of their own, and
``join`` puts both together again in the session.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backends.base import OutputLayout, UnsupportedError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

BOX_CHANNELS = 4


def split(model: Any, layout: OutputLayout, imgsz: int) -> Any:
    """A torch module of two outputs around a detector whose layout is ``anchors``.

    Outputs: boxes float32 (batch, 4, places), centre-x, centre-y, width, height as shares of
    ``imgsz``; scores float32 (batch, classes, places). Raises UnsupportedError for ``detections``,
    whose sorted rows of class numbers no 8-bit scale can hold.
    """
    if layout != "anchors":
        raise UnsupportedError(
            "a head that gives reduced detections cannot be quantized to its end",
            remedy="Take the model's one-to-many head (head: one-to-many).",
        )
    import torch

    class Split(torch.nn.Module):  # type: ignore[misc]
        """The detector, its output cut in two."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, images: Any) -> Any:
            output = self.model(images)
            return output[:, :BOX_CHANNELS] / imgsz, output[:, BOX_CHANNELS:]

    return Split().eval()


def join(
    boxes: npt.NDArray[np.float32],
    scores: npt.NDArray[np.float32],
    imgsz: int,
    out: npt.NDArray[np.float32],
) -> npt.NDArray[np.float32]:
    """The two outputs as one, ``anchors``, written into ``out`` (batch, 4 + classes, places)."""
    import numpy as np

    np.multiply(boxes, np.float32(imgsz), out=out[:, :BOX_CHANNELS])
    out[:, BOX_CHANNELS:] = scores
    return out

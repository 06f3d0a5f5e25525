"""From an image file to the input of a detector, and from its boxes back to the image.

By the input contract (``backends.inputs.InputSpec``). Its default is what Ultralytics does when it
validates with ``rect=False``: the image keeps its ratio and lies in the middle, the rest is grey.
Written for Python 3.10 and numpy alone (Pillow to decode), because workers preprocess, too.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deploymark.backends.inputs import BYTE_RANGE, PLAIN_INPUT, InputSpec
from deploymark.bench.worker.resize import RESIZERS

if TYPE_CHECKING:
    import numpy.typing as npt

MAX_PIXELS = 200_000_000
"""Pixels of the largest image that is decoded: 600 MB as RGB."""


@dataclasses.dataclass(frozen=True)
class Geometry:
    """How one image lies in the input; all in pixels.

    A point (x, y) of the source is at (x * gain_x + pad_x, y * gain_y + pad_y). The two gains
    differ where the image is stretched, and a little where a side is brought to whole pixels.
    ``width`` and ``height`` are of the source, upright.
    """

    gain_x: float
    gain_y: float
    pad_x: int
    pad_y: int
    width: int
    height: int

    @property
    def resized(self) -> tuple[int, int]:
        """Width and height of the image inside the border."""
        return round(self.width * self.gain_x), round(self.height * self.gain_y)


def geometry(width: int, height: int, spec: InputSpec) -> Geometry:
    """Where an image of ``width`` x ``height`` pixels lies in an input of ``spec.size``.

    In the middle, sides are rounded up as ``ultralytics.data.base.BaseDataset.load_image`` does,
    and the border is split as ``ultralytics.data.augment.LetterBox`` does. At the top left they are
    rounded down as in YOLOX' ``yolox.data.data_augment.preproc``. Boxes come back by the ratio of
    the sides in whole pixels, whatever the framework's own demo divides by.
    """
    across, down = spec.size.width, spec.size.height
    left = top = 0
    if spec.resize == "stretch":
        inside = across, down
    else:
        ratio = min(down / height, across / width)
        if spec.placement == "top-left":
            inside = max(int(width * ratio), 1), max(int(height * ratio), 1)
        else:
            inside = min(math.ceil(width * ratio), across), min(math.ceil(height * ratio), down)
            left = round((across - inside[0]) / 2 - 0.1)
            top = round((down - inside[1]) / 2 - 0.1)
    return Geometry(
        gain_x=inside[0] / width,
        gain_y=inside[1] / height,
        pad_x=left,
        pad_y=top,
        width=width,
        height=height,
    )


class ImageTooLargeError(ValueError):
    """An image with more pixels than are decoded; its text is the size."""


def open_image(file: Path | Any) -> Any:
    """Open an image file, or a stream of one, without decoding it.

    Raises ImageTooLargeError above ``MAX_PIXELS``, OSError or another error of Pillow.
    """
    from PIL import Image

    # Pillow warns of pictures above 89 megapixels, and refuses those of twice that: ours is stated
    Image.MAX_IMAGE_PIXELS = None
    image = Image.open(file)
    if image.width * image.height > MAX_PIXELS:
        size = f"{image.width} x {image.height} pixels"
        image.close()
        raise ImageTooLargeError(size)
    return image


def read_rgb(path: Path) -> npt.NDArray[np.uint8]:
    """Decode an image file: uint8 (height, width, 3), RGB, upright.

    The EXIF orientation is applied, alpha is dropped and 16-bit images keep their high byte, as
    OpenCV does for Ultralytics. Raises OSError or another error of Pillow if it cannot be decoded.
    """
    from PIL import ImageOps

    with open_image(path) as image:
        upright = ImageOps.exif_transpose(image)
        return rgb_array(upright)


def rgb_array(image: Any) -> npt.NDArray[np.uint8]:
    """A Pillow image as uint8 (height, width, 3), RGB."""
    if image.mode.startswith("I"):
        high_byte = (np.asarray(image, dtype=np.int64) >> 8).clip(0, 255).astype(np.uint8)
        return np.repeat(high_byte[..., None], 3, axis=2)
    return np.asarray(image.convert("RGB"), dtype=np.uint8)


def letterbox(image: npt.NDArray[np.uint8] | Any, spec: InputSpec) -> npt.NDArray[np.uint8]:
    """One image at the size of the input: uint8 (height, width, 3), RGB; stretched if so asked.

    ``image`` is uint8 (height, width, 3), RGB, or a Pillow image that is upright.
    """
    pixels = image if isinstance(image, np.ndarray) else rgb_array(image)
    place = geometry(pixels.shape[1], pixels.shape[0], spec)
    width, height = place.resized
    canvas = np.full((spec.size.height, spec.size.width, 3), spec.pad, dtype=np.uint8)
    inside = canvas[place.pad_y : place.pad_y + height, place.pad_x : place.pad_x + width]
    if (width, height) == (place.width, place.height):
        inside[:] = pixels
    else:
        inside[:] = RESIZERS[spec.interpolation](pixels, width, height)
    return canvas


def to_input(images: npt.NDArray[np.uint8], spec: InputSpec = PLAIN_INPUT) -> npt.NDArray[Any]:
    """uint8 (batch, height, width, 3), RGB, as a session takes them, contiguous.

    Without ``spec`` float32 (batch, 3, height, width), RGB in [0, 1].
    """
    coloured = images[..., ::-1] if spec.colours == "bgr" else images
    ordered = np.ascontiguousarray(
        coloured if spec.channels_last else coloured.transpose(0, 3, 1, 2)
    )
    if spec.dtype == "uint8":
        return ordered
    if spec.range == BYTE_RANGE:
        values = ordered.astype(np.float32)
    else:
        low, high = spec.range
        values = np.divide(ordered, np.float32(255 / (high - low)), dtype=np.float32)
        if low:
            values += np.float32(low)
    shape = (3,) if spec.channels_last else (3, 1, 1)
    if spec.mean is not None:
        values -= np.array(spec.mean, np.float32).reshape(shape)
    if spec.deviation is not None:
        values /= np.array(spec.deviation, np.float32).reshape(shape)
    return values


def unletterbox_boxes(
    boxes_xyxy: npt.NDArray[np.floating[Any]], place: Geometry
) -> npt.NDArray[np.float64]:
    """Boxes (n, 4) x1, y1, x2, y2 in pixels of the input, back in pixels of the source.

    They are clipped to the image. As ``ultralytics.utils.ops.scale_boxes``.
    """
    pad = np.array([place.pad_x, place.pad_y] * 2, dtype=np.float64)
    gain = np.array([place.gain_x, place.gain_y] * 2, dtype=np.float64)
    limit = np.array([place.width, place.height] * 2, dtype=np.float64)
    boxes = (boxes_xyxy.astype(np.float64).reshape(-1, 4) - pad) / gain
    clipped: npt.NDArray[np.float64] = np.clip(boxes, 0.0, limit)
    return clipped

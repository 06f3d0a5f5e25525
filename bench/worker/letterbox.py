"""From an image file to the input of a detector, and from its boxes back to the image.

What Ultralytics does when it validates with ``rect=False``: the long side is scaled to imgsz with
bilinear interpolation, the image lies in the middle, the rest is grey. Written for Python 3.10 and
numpy alone (Pillow to decode), because workers preprocess too.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deploymark.backends.layout import BYTE_RANGE, PLAIN_INPUT, InputSpec

if TYPE_CHECKING:
    import numpy.typing as npt

MAX_PIXELS = 200_000_000
"""Pixels of the largest image that is decoded: 600 MB as RGB."""

PAD_GREY = 114
"""Grey level of the border (ultralytics.data.augment.LetterBox, ``padding_value``)."""


@dataclasses.dataclass(frozen=True)
class Geometry:
    """How one image lies in its square input; all in pixels.

    A point (x, y) of the source is at (x * gain_x + pad_x, y * gain_y + pad_y). The two gains may
    differ a little, because each side is rounded up to whole pixels. ``width`` and ``height`` are
    of the source, upright.
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


def geometry(width: int, height: int, imgsz: int) -> Geometry:
    """Where an image of ``width`` x ``height`` pixels lies in an ``imgsz`` x ``imgsz`` input.

    Sides are rounded up as ``ultralytics.data.base.BaseDataset.load_image`` does, the border is
    split as ``ultralytics.data.augment.LetterBox`` does.
    """
    ratio = imgsz / max(width, height)
    resized_width = min(math.ceil(width * ratio), imgsz)
    resized_height = min(math.ceil(height * ratio), imgsz)
    return Geometry(
        gain_x=resized_width / width,
        gain_y=resized_height / height,
        pad_x=round((imgsz - resized_width) / 2 - 0.1),
        pad_y=round((imgsz - resized_height) / 2 - 0.1),
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


def letterbox(image: npt.NDArray[np.uint8] | Any, imgsz: int) -> npt.NDArray[np.uint8]:
    """One image as the square input: uint8 (imgsz, imgsz, 3).

    ``image`` is uint8 (height, width, 3), RGB, or a Pillow image that is upright.
    """
    pixels = image if isinstance(image, np.ndarray) else rgb_array(image)
    place = geometry(pixels.shape[1], pixels.shape[0], imgsz)
    width, height = place.resized
    canvas = np.full((imgsz, imgsz, 3), PAD_GREY, dtype=np.uint8)
    inside = canvas[place.pad_y : place.pad_y + height, place.pad_x : place.pad_x + width]
    if (width, height) == (place.width, place.height):
        inside[:] = pixels
    else:
        inside[:] = _resize_bilinear(pixels, width, height)
    return canvas


def to_input(images: npt.NDArray[np.uint8], spec: InputSpec = PLAIN_INPUT) -> npt.NDArray[Any]:
    """uint8 (batch, height, width, 3) as a session takes them, contiguous.

    Without ``spec`` float32 (batch, 3, height, width) in [0, 1].
    """
    ordered = np.ascontiguousarray(images if spec.channels_last else images.transpose(0, 3, 1, 2))
    if spec.dtype == "uint8":
        return ordered
    if spec.range == BYTE_RANGE:
        return ordered.astype(np.float32)
    return np.divide(ordered, np.float32(255.0), dtype=np.float32)


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


def _resize_bilinear(
    pixels: npt.NDArray[np.uint8], width: int, height: int
) -> npt.NDArray[np.uint8]:
    """Bilinear without antialiasing, pixel centres aligned, as ``cv2.resize`` with INTER_LINEAR.

    Only the neighbours of output pixels are read, so that the cost is that of the output whatever
    the size of a photo.
    """
    top, bottom, weight_y = _taps(pixels.shape[0], height)
    left, right, weight_x = _taps(pixels.shape[1], width)
    columns = np.union1d(left, right)
    every_column = len(columns) == pixels.shape[1]
    if not every_column:
        left, right = np.searchsorted(columns, left), np.searchsorted(columns, right)

    def rows(index: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        chosen = pixels[index] if every_column else np.take(pixels[index], columns, axis=1)
        return chosen.reshape(height, -1).astype(np.float32)

    upper = rows(top)
    _blend(upper, rows(bottom), weight_y[:, None])
    near = np.take(upper, _interleaved(left), axis=1)
    _blend(near, np.take(upper, _interleaved(right), axis=1), np.repeat(weight_x, 3))
    near += np.float32(0.5)  # so that dropping the fraction rounds
    return near.astype(np.uint8).reshape(height, width, 3)


def _blend(
    first: npt.NDArray[np.float32],
    second: npt.NDArray[np.float32],
    weight: npt.NDArray[np.float32],
) -> None:
    """``first`` becomes first + (second - first) * weight; ``second`` is used up."""
    second -= first
    second *= weight
    first += second


def _interleaved(columns: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Positions of the three channels of ``columns`` in a row of interleaved RGB."""
    return (columns[:, None] * 3 + np.arange(3)).ravel()


def _taps(
    size_in: int, size_out: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """For each output position the two input positions and the weight of the second."""
    centre = (np.arange(size_out) + 0.5) * (size_in / size_out) - 0.5
    first = np.floor(centre).astype(np.int64)
    weight = (centre - first).astype(np.float32)
    return first.clip(0, size_in - 1), (first + 1).clip(0, size_in - 1), weight

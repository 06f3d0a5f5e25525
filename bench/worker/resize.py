"""Resizing of pictures, as the frameworks that detectors were trained with do it.

``bilinear``, ``bicubic`` and ``nearest`` as ``cv2.resize``: only the neighbours of a point are
read, so that the cost is that of the output whatever the size of a photo. The other two are
Pillow's, whose filters grow with the photo. Written for Python 3.10 and numpy alone (Pillow where
it is asked for), because workers preprocess, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

CUBIC_SHARPNESS = -0.75
"""The cubic's slope at one pixel from its centre (``interpolateCubic`` of OpenCV's resize.cpp)."""


def resize_bilinear(
    pixels: npt.NDArray[np.uint8], width: int, height: int
) -> npt.NDArray[np.uint8]:
    """Bilinear without antialiasing, pixel centres aligned, as ``cv2.resize`` with INTER_LINEAR.

    ``pixels`` is uint8 (height, width, 3); so is what is returned.
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


def resize_bicubic(pixels: npt.NDArray[np.uint8], width: int, height: int) -> npt.NDArray[np.uint8]:
    """Bicubic without antialiasing, the border repeated, as ``cv2.resize`` with INTER_CUBIC."""
    rows = _cubic(pixels, height, axis=0)
    both = _cubic(rows, width, axis=1)
    return np.rint(both).clip(0, 255).astype(np.uint8)


def _cubic(
    values: npt.NDArray[np.uint8] | npt.NDArray[np.float32], size_out: int, axis: int
) -> npt.NDArray[np.float32]:
    """Four neighbours along one axis, weighted."""
    size_in = values.shape[axis]
    centre = (np.arange(size_out) + 0.5) * (size_in / size_out) - 0.5
    first = np.floor(centre)
    a, t = CUBIC_SHARPNESS, centre - first
    near, far = t, 1 - t
    weights = [
        ((a * (near + 1) - 5 * a) * (near + 1) + 8 * a) * (near + 1) - 4 * a,
        ((a + 2) * near - (a + 3)) * near * near + 1,
        ((a + 2) * far - (a + 3)) * far * far + 1,
    ]
    weights.append(1 - sum(weights))
    shape = [-1 if index == axis else 1 for index in range(3)]
    mixed = np.float32(0)
    for offset, weight in enumerate(weights):
        index = (first.astype(np.int64) + offset - 1).clip(0, size_in - 1)
        mixed = mixed + np.take(values, index, axis) * weight.astype(np.float32).reshape(shape)
    return np.asarray(mixed, np.float32)


def resize_nearest(pixels: npt.NDArray[np.uint8], width: int, height: int) -> npt.NDArray[np.uint8]:
    """The pixel at the position rounded down, as ``cv2.resize`` with INTER_NEAREST."""
    rows, columns = (
        np.floor(np.arange(out) * (1 / (out / size))).astype(np.int64).clip(0, size - 1)
        for size, out in zip(pixels.shape, (height, width), strict=False)
    )
    taken: npt.NDArray[np.uint8] = pixels[rows[:, None], columns]
    return taken


def resize_bilinear_antialias(
    pixels: npt.NDArray[np.uint8], width: int, height: int
) -> npt.NDArray[np.uint8]:
    """Bilinear over all pixels that fall into one (Pillow's BILINEAR)."""
    from PIL import Image

    resized = Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(resized, dtype=np.uint8)


def resize_bicubic_antialias(
    pixels: npt.NDArray[np.uint8], width: int, height: int
) -> npt.NDArray[np.uint8]:
    """Bicubic over all pixels that fall into one (Pillow's BICUBIC)."""
    from PIL import Image

    resized = Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(resized, dtype=np.uint8)


RESIZERS: Mapping[str, Callable[[npt.NDArray[np.uint8], int, int], npt.NDArray[np.uint8]]] = {
    "bilinear": resize_bilinear,
    "bicubic": resize_bicubic,
    "nearest": resize_nearest,
    "bilinear-antialias": resize_bilinear_antialias,
    "bicubic-antialias": resize_bicubic_antialias,
}
"""How to resize (pixels, width, height), by ``inputs.Interpolation``."""

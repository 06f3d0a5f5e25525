"""Small pictures of an image with the boxes of two detectors, for a report to embed."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageDraw

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

LONGEST_SIDE_PX = 320

MOST_BYTES = 25_000
"""Size that a picture is compressed to: three dozen of them make a report 1 MB longer."""

QUALITIES = (70, 55, 40, 25)
"""JPEG qualities tried until the size is met; the last one is taken as it comes."""

REFERENCE_COLOUR = (0, 114, 178)
CANDIDATE_COLOUR = (230, 159, 0)
"""Blue and orange of Okabe and Ito's palette, told apart by readers who see no red or green."""

_LINE_PX, _DASH_PX, _GAP_PX = 2, 5, 5


def draw(
    pixels: npt.NDArray[np.uint8],
    reference: npt.NDArray[np.float32],
    candidate: npt.NDArray[np.float32],
    path: Path,
) -> None:
    """Write a JPEG of an image with the reference's boxes dashed in blue, the other's in orange.

    ``pixels``: uint8 (height, width, 3), RGB; boxes: (n, 4), x1, y1, x2, y2 in its pixels. It is
    scaled down to ``LONGEST_SIDE_PX`` where it is larger.
    """
    picture = Image.fromarray(pixels)
    scale = min(1.0, LONGEST_SIDE_PX / max(picture.size))
    if scale < 1:
        width, height = (max(1, round(side * scale)) for side in picture.size)
        picture = picture.resize((width, height), Image.Resampling.BOX)
    canvas = ImageDraw.Draw(picture)
    for corners in candidate * scale:
        canvas.rectangle(_inside(corners, picture), outline=CANDIDATE_COLOUR, width=_LINE_PX)
    for corners in reference * scale:  # above the others: through the gaps both are seen
        _dashed(canvas, _inside(corners, picture))
    path.write_bytes(_jpeg(picture))


def _inside(corners: npt.NDArray[np.float32], picture: Image.Image) -> tuple[int, int, int, int]:
    """A box cut to the picture, so that no side of it lies outside."""
    limits = (picture.width - 1, picture.height - 1) * 2
    x1, y1, x2, y2 = (
        min(max(round(float(value)), 0), limit)
        for value, limit in zip(corners, limits, strict=True)
    )
    return x1, y1, max(x1, x2), max(y1, y2)


def _dashed(canvas: Any, box: tuple[int, int, int, int]) -> None:
    x1, y1, x2, y2 = box
    style: dict[str, Any] = {"fill": REFERENCE_COLOUR, "width": _LINE_PX}
    for x in range(x1, x2 + 1, _DASH_PX + _GAP_PX):
        end = min(x + _DASH_PX - 1, x2)
        canvas.line((x, y1, end, y1), **style)
        canvas.line((x, y2, end, y2), **style)
    for y in range(y1, y2 + 1, _DASH_PX + _GAP_PX):
        end = min(y + _DASH_PX - 1, y2)
        canvas.line((x1, y, x1, end), **style)
        canvas.line((x2, y, x2, end), **style)


def _jpeg(picture: Image.Image) -> bytes:
    data = b""
    for quality in QUALITIES:
        stream = io.BytesIO()
        # Colours at full resolution: halved, they run into the gaps between the dashes.
        picture.save(stream, "JPEG", quality=quality, optimize=True, subsampling="4:4:4")
        data = stream.getvalue()
        if len(data) <= MOST_BYTES:
            break
    return data

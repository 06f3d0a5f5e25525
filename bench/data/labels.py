"""The boxes of one image, and the label text files of YOLO."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deploymark.bench.errors import BadInputError

if TYPE_CHECKING:
    import numpy.typing as npt

BOX_COLUMNS = 5
"""class, centre-x, centre-y, width, height; the last four as shares of the image's sides."""

POLYGON_COLUMNS_MIN = 7
"""class and at least three points."""

TOLERANCE = 0.01
"""How far a coordinate may lie outside [0, 1] (``ultralytics.data.utils.verify_image_label``)."""

Row = tuple[int, float, float, float, float]
"""Class, x1, y1, x2, y2; coordinates as shares of the image's sides."""


@dataclasses.dataclass(frozen=True, eq=False)
class ImageLabels:
    """One image and what is on it.

    ``width`` and ``height`` are pixels of the upright image. ``boxes``: float64 (n, 4), x1, y1, x2,
    y2 in pixels; ``classes``: int64 (n,), indices of the data set's class names; ``areas``: float64
    (n,), square pixels; ``crowd``: bool (n,), COCO's ``iscrowd``: regions that are not scored.
    """

    path: Path
    width: int
    height: int
    boxes: npt.NDArray[np.float64]
    classes: npt.NDArray[np.int64]
    areas: npt.NDArray[np.float64]
    crowd: npt.NDArray[np.bool_]


def label_path(image: Path) -> Path:
    """The label file of an image: its last folder ``images`` becomes ``labels``.

    As ``ultralytics.data.utils.img2label_paths``; without such a folder the label lies beside the
    image.
    """
    images, labels = f"{os.sep}images{os.sep}", f"{os.sep}labels{os.sep}"
    return Path(labels.join(str(image).rsplit(images, 1))).with_suffix(".txt")


def yolo_labels(image: Path, width: int, height: int, classes: int) -> ImageLabels:
    """An image with the boxes of its label file, none where there is no such file (background).

    Raises BadInputError (``file:line: …``) for a line that is no box.
    """
    path = label_path(image)
    return _image_labels(image, width, height, _read_rows(path, classes) if path.is_file() else [])


def unlabelled(image: Path, width: int, height: int) -> ImageLabels:
    """An image without boxes, whatever lies beside it."""
    return _image_labels(image, width, height, [])


def _image_labels(image: Path, width: int, height: int, rows: Sequence[Row]) -> ImageLabels:
    corners = np.array([row[1:] for row in rows], dtype=np.float64).reshape(-1, 4)
    boxes = corners * np.array([width, height, width, height], dtype=np.float64)
    return ImageLabels(
        path=image,
        width=width,
        height=height,
        boxes=boxes,
        classes=np.array([row[0] for row in rows], dtype=np.int64),
        areas=(boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]),
        crowd=np.zeros(len(rows), dtype=np.bool_),
    )


def _read_rows(path: Path, classes: int) -> list[Row]:
    """The rows of a label file, without repeated ones."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path}: cannot be read: {error}") from error
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    polygons = any(len(line.split()) >= POLYGON_COLUMNS_MIN for _, line in lines)
    rows = [_row(f"{path}:{number}", line, classes, polygons=polygons) for number, line in lines]
    return list(dict.fromkeys(rows))


def _row(where: str, line: str, classes: int, *, polygons: bool) -> Row:
    words = line.split()
    try:
        values = [float(word) for word in words]
    except ValueError:
        raise BadInputError(f"{where}: not all numbers: {line.strip()!r}") from None
    if polygons and (len(words) < POLYGON_COLUMNS_MIN or len(words) % 2 == 0):
        raise BadInputError(
            f"{where}: {len(words)} columns in a file of polygons, which have a class and 3 or more"
            " points",
            remedy="Give boxes or polygons in one file, not both.",
        )
    if not polygons and len(words) != BOX_COLUMNS:
        raise BadInputError(
            f"{where}: {len(words)} columns, expected {BOX_COLUMNS}:"
            " class, centre-x, centre-y, width, height"
        )
    index = _class_index(where, values[0], classes)
    coordinates = values[1:]
    if not all(-TOLERANCE <= value <= 1 + TOLERANCE for value in coordinates):
        raise BadInputError(
            f"{where}: a coordinate outside [0, 1]: {line.strip()!r}",
            remedy="Coordinates are shares of the image's width and height, not pixels.",
        )
    if polygons:
        xs, ys = coordinates[0::2], coordinates[1::2]
        return index, min(xs), min(ys), max(xs), max(ys)
    x, y, width, height = coordinates
    if width < 0 or height < 0:
        raise BadInputError(f"{where}: a negative width or height: {line.strip()!r}")
    return index, x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _class_index(where: str, value: float, classes: int) -> int:
    if not value.is_integer():
        raise BadInputError(f"{where}: the class {value} is not a whole number")
    if not 0 <= value < classes:
        raise BadInputError(
            f"{where}: class {int(value)} is out of range, the data set has {classes} names"
            f" (0 to {classes - 1})"
        )
    return int(value)

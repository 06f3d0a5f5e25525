"""The boxes of one image, and where YOLO keeps its label file."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deploymark.bench.data.fault_kinds import LABEL_UNREADABLE
from deploymark.bench.data.faults import Faults
from deploymark.bench.data.image_lists import is_file
from deploymark.bench.data.label_rows import LabelReader, RowFormat
from deploymark.bench.errors import BadInputError

if TYPE_CHECKING:
    import numpy.typing as npt


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


@dataclasses.dataclass(frozen=True, eq=False)
class Rows:
    """What the label file of an image says, before the image is looked at.

    ``corners``: float64 (n, 4), x1, y1, x2, y2 as shares of the image's sides; ``classes``: int64
    (n,). ``labelled`` is false where there is no label file.
    """

    path: Path
    classes: npt.NDArray[np.int64]
    corners: npt.NDArray[np.float64]
    labelled: bool

    def on(self, width: int, height: int) -> ImageLabels:
        """The labels of the image, whose upright size is known now."""
        boxes = self.corners * np.array([width, height, width, height], dtype=np.float64)
        return ImageLabels(
            path=self.path,
            width=width,
            height=height,
            boxes=boxes,
            classes=self.classes,
            areas=(boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]),
            crowd=np.zeros(len(boxes), dtype=np.bool_),
        )


def label_path(image: Path) -> Path:
    """The label file of an image: its last folder ``images`` becomes ``labels``.

    As ``ultralytics.data.utils.img2label_paths``; without such a folder the label lies beside the
    image.
    """
    images, labels = f"{os.sep}images{os.sep}", f"{os.sep}labels{os.sep}"
    return Path(labels.join(str(image).rsplit(images, 1))).with_suffix(".txt")


def read_rows(image: Path, reader: LabelReader) -> Rows | None:
    """The rows of an image's label file, none where there is none.

    None where the file cannot be read: a fault of the reader's.
    """
    path = label_path(image)
    if not is_file(path):
        return no_rows(image)
    try:
        rows = reader.read(path)
    except BadInputError as error:
        reader.faults.add(LABEL_UNREADABLE, path, error.message.removeprefix(f"{path}: "))
        return None
    return Rows(
        image,
        np.array([row[0] for row in rows], dtype=np.int64),
        np.array([row[1:] for row in rows], dtype=np.float64).reshape(-1, 4),
        labelled=True,
    )


def no_rows(image: Path) -> Rows:
    """An image without boxes, whatever lies beside it."""
    return Rows(image, np.zeros(0, np.int64), np.zeros((0, 4), np.float64), labelled=False)


def yolo_labels(image: Path, width: int, height: int, classes: int) -> ImageLabels:
    """An image with the boxes of its label file, none where there is no such file (background).

    Raises BadInputError for a file with lines that are no boxes.
    """
    reader = LabelReader(RowFormat(classes), Faults(), Counter())
    rows = read_rows(image, reader)
    reader.faults.check(str(label_path(image).name), "refuse")
    return (rows or no_rows(image)).on(width, height)


def unlabelled(image: Path, width: int, height: int) -> ImageLabels:
    """An image without boxes, whatever lies beside it."""
    return no_rows(image).on(width, height)

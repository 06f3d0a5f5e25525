"""Which class each number of an exported file is, where the file names none.

Taken from the data set, by the convention of the file's family; what was taken is said in a remark.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from deploymark.backends.base import OutputLayout
from deploymark.bench.data.coco_names import COCO_CATEGORY_NAMES, COCO_NAMES

BACKGROUND = "background"
"""The name of torchvision's class 0."""

_WITHOUT_ZERO = COCO_CATEGORY_NAMES[1:]


@dataclasses.dataclass(frozen=True)
class ClassOrder:
    """Names by the numbers that a file gives; ``remark`` where their order is a convention."""

    names: tuple[str, ...]
    remark: str = ""


def class_order(
    layout: OutputLayout, classes: int | None, dataset_names: Sequence[str]
) -> ClassOrder:
    """The class names of a file that has none, of ``classes`` where it tells how many.

    - COCO's 80 classes and a file of 91 or 90: category ids, from 0 or from 1 on.
    - ``torchvision``: 0 is the background (``torchvision/models/detection/faster_rcnn.py``); of
      COCO the others are category ids.
    - ``ssd``: numbers begin at the first class, without the background
      (``tensorflow/lite/kernels/detection_postprocess.cc``); of COCO they are category ids less
      one.
    - Otherwise the data set's names in their order, or numbers where that has none either (a folder
      of images).
    """
    names = tuple(dataset_names)
    if not names:
        return ClassOrder(tuple(str(index) for index in range(classes or 0)))
    if names == COCO_NAMES:
        found = _of_coco(layout, classes)
    elif layout == "torchvision":
        found = (BACKGROUND, *names), "0 for the background, then the data set's (torchvision's)"
    elif layout == "ssd":
        found = names, "the data set's, without a background (TensorFlow's)"
    else:
        found = names, ""
    taken, order = found
    said = "the file names no classes: its numbers are read as"
    return ClassOrder(taken, f"{said} {order}" if order else "")


def _of_coco(layout: OutputLayout, classes: int | None) -> tuple[tuple[str, ...], str]:
    """COCO's classes as a file counts them, and how that is."""
    if layout == "torchvision" or classes == len(COCO_CATEGORY_NAMES):
        return COCO_CATEGORY_NAMES, "COCO's category ids"
    if layout == "ssd" or classes == len(_WITHOUT_ZERO):
        return _WITHOUT_ZERO, "COCO's category ids less one (TensorFlow's)"
    return COCO_NAMES, ""

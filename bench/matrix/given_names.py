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
    - ``torchvision``: 0 is the background (``torchvision/models/detection/faster_rcnn.py``); of COCO
      the others are category ids.
    - ``ssd``: numbers begin at the first class, without the background
      (``tensorflow/lite/kernels/detection_postprocess.cc``); of COCO they are category ids less one.
    - Otherwise the data set's names in their order, or numbers where that has none either (a folder
      of images).
    """
    names = tuple(dataset_names)
    coco = names == COCO_NAMES
    if not names:
        return ClassOrder(tuple(str(index) for index in range(classes or 0)))
    if layout == "torchvision":
        if coco:
            return ClassOrder(COCO_CATEGORY_NAMES, _told("COCO's category ids (torchvision's)"))
        return ClassOrder(
            (BACKGROUND, *names), _told("0 for the background, then the data set's (torchvision's)")
        )
    if coco and classes == len(COCO_CATEGORY_NAMES):
        return ClassOrder(COCO_CATEGORY_NAMES, _told("COCO's category ids"))
    if coco and (classes == len(_WITHOUT_ZERO) or layout == "ssd"):
        return ClassOrder(_WITHOUT_ZERO, _told("COCO's category ids less one (TensorFlow's)"))
    if layout == "ssd":
        return ClassOrder(names, _told("the data set's, without a background (TensorFlow's)"))
    return ClassOrder(names)


def _told(order: str) -> str:
    return f"the file names no classes: its numbers are read as {order}"

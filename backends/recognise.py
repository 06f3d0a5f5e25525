"""Which contract an output of a file made elsewhere has: told by its shape and its maker's notes.

Never guessed: where more than one layout has such a shape, the file is refused with those that have
it and the line that says which. For files of several outputs see ``recognise_several``. Written for
Python 3.10 and nothing besides.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from deploymark.backends.ends import sizes
from deploymark.backends.errors import LoadError
from deploymark.backends.families import FAMILIES
from deploymark.backends.inputs import Size
from deploymark.backends.layout import (
    AS_SEEN,
    BOX_CHANNELS,
    DETECTION_COLUMNS,
    FamilyName,
    OutputLayout,
    OutputSpec,
    ReadAs,
)

FORMS: dict[OutputLayout, str] = {
    "anchors": "(batch, 4 + classes, places)",
    "anchors-last": "(batch, places, 4 + classes)",
    "yolov5": "(batch, places, 5 + classes)",
    "yolox": "(batch, places, 5 + classes)",
    "detections": "(batch, n, 6)",
    "queries": "(batch, n, 4 + classes)",
    "queries-ranked": "(batch, n, 6)",
    "detr": "logits (batch, n, classes) and boxes (batch, n, 4)",
    "rtdetr": "labels (batch, n), boxes (batch, n, 4) and scores (batch, n)",
    "nms-in-graph": "counts (batch, 1), boxes (batch, n, 4), scores and classes (batch, n)",
    "ssd": "boxes (batch, n, 4), classes and scores (batch, n), counts (batch,)",
    "torchvision": "boxes (n, 4), labels and scores (n,)",
    "paddle": "rows (n, 6) and counts (batch,)",
}
"""Shapes of the outputs of each layout."""

MOST_DETECTIONS = 1000
"""More rows are no list of finished detections: torchvision's and TensorFlow's stop at 100 to 1000,
Ultralytics' at 300."""

_GRIDS = (
    ((8, 16, 32), (1, 3)),
    ((8, 16, 32, 64), (1, 3)),
    ((4, 8, 16, 32), (1,)),
    ((16, 32), (3,)),
)
"""Strides of heads, and how many boxes each place of a grid has (YOLOv8's 1, YOLOv5's 3)."""

_YOLOX_STRIDES = (8, 16, 32)

_SIZES = range(32, 4097, 32)

OPTION = "beside `artifact:` in a matrix, or --family on the command line"
"""Where a user says what a file is."""

_ONE_OUTPUT = (
    "Export the detector with its boxes and scores: as one output, as Ultralytics' `export` does, "
    "or as one of the contracts of several in docs/models.md."
)
_OBJECTNESS = 5


@dataclasses.dataclass(frozen=True)
class Metadata:
    """What Ultralytics' exporter noted. ``precision`` is None where it noted nothing of it.

    ``nms``: suppression is in the file. ``confidence``: the lowest score that it keeps, None where
    that is not noted. ``maker`` is its sentence on the model, "Ultralytics YOLO11n model …", and
    the head's name, ``RTDETRDecoder``.
    """

    names: tuple[str, ...] = ()
    task: str = ""
    stride: int = 32
    end_to_end: bool = False
    precision: str | None = None
    nms: bool = False
    confidence: float | None = None
    maker: str = ""


@dataclasses.dataclass(frozen=True)
class Reading:
    """How outputs read; ``classes`` is None where shapes do not tell, ``family`` empty if none."""

    output: OutputSpec
    classes: int | None = None
    family: FamilyName | Literal[""] = ""


def is_places(count: int | None, size: Size | None) -> bool:
    """Whether a head has so many places for an input of ``size``; of any square, where None."""
    if count is None:
        return False
    return any(
        count == anchors * _places(each, strides)
        for each in ([Size(side, side) for side in _SIZES] if size is None else [size])
        for strides, several in _GRIDS
        for anchors in several
    )


def _places(size: Size, strides: Sequence[int]) -> int:
    return sum((size.height // stride) * (size.width // stride) for stride in strides)


def reading(
    path: Path,
    shape: Sequence[Any],
    metadata: Metadata,
    *,
    size: Size | None = None,
    told: ReadAs = AS_SEEN,
) -> Reading:
    """How the one output of a file, of ``shape``, reads, for an input of ``size``.

    Raises LoadError with the layouts that it may be, where it is none or more than one.
    """
    known = sizes(shape)
    if told.family is not None:
        found = _of_family(told.family, known, metadata, size)
        if found is None:
            raise LoadError(
                f"{path} gives an output of shape {tuple(shape)}, and family: {told.family} is "
                f"{forms_of(told.family)}",
                remedy=say_which(_candidates(*known[1:], size) if len(known) == 3 else {}),  # noqa: PLR2004 - batch, rows, columns
            )
        return found
    if len(known) != 3:  # noqa: PLR2004 - batch, rows, columns
        what = _other_rank(known)
        raise LoadError(f"{path} gives an output of shape {tuple(shape)}{what}", remedy=_ONE_OUTPUT)
    rows, columns = known[1], known[2]
    found = _noted(rows, columns, metadata, size) or _seen(rows, columns, metadata, size)
    if found is None:
        what, remedy = _doubt(rows, columns, metadata, size)
        raise LoadError(f"{path} gives an output of shape {tuple(shape)}, {what}", remedy=remedy)
    return found


def forms_of(family: FamilyName) -> str:
    """The shapes of the outputs that a family's files have."""
    return ", or ".join(dict.fromkeys(FORMS[output.layout] for output in FAMILIES[family].outputs))


def _anchors(rows: int | None) -> Reading:
    classes = None if rows is None else rows - BOX_CHANNELS
    return Reading(OutputSpec("anchors"), classes, "yolov8")


def _last(columns: int) -> Reading:
    return Reading(OutputSpec("anchors-last"), columns - BOX_CHANNELS, "yolov8")


def _detections() -> Reading:
    # One head's, or any other's with suppression in the file: of no family.
    return Reading(OutputSpec("detections"))


def _with_objectness(family: FamilyName, columns: int | None) -> Reading:
    classes = None if columns is None else columns - _OBJECTNESS
    return Reading(FAMILIES[family].outputs[0], classes, family)


def _queries(columns: int | None) -> Reading:
    """Ultralytics' RT-DETR: ranked, or with a score a class, as older versions exported it.

    One of two classes has six columns either way: read as ranked, where the guards see classes that
    are no whole numbers if it is not.
    """
    ranked, plain = FAMILIES["ultralytics-rtdetr"].outputs
    if columns in (DETECTION_COLUMNS, None):
        return Reading(ranked, None, "ultralytics-rtdetr")
    return Reading(plain, columns - BOX_CHANNELS, "ultralytics-rtdetr")


def _of_family(
    family: FamilyName, known: tuple[int | None, ...], metadata: Metadata, size: Size | None
) -> Reading | None:
    """What a family makes of a shape, None where the shape is not its own."""
    if len(known) != 3:  # noqa: PLR2004 - batch, rows, columns
        return None
    rows, columns = known[1], known[2]
    turned = is_places(columns, size) and not is_places(rows, size)
    if family == "yolov10":
        found = dataclasses.replace(_detections(), family="yolov10")
        return found if columns in (DETECTION_COLUMNS, None) else None
    if family in ("yolov5", "yolox"):
        fits = columns is None or (columns > _OBJECTNESS and not turned)
        if family == "yolox" and rows is not None and size is not None:
            fits = fits and rows == _places(size, _YOLOX_STRIDES)
        return _with_objectness(family, columns) if fits else None
    if family == "ultralytics-rtdetr":
        fits = columns is None or (columns > BOX_CHANNELS and not is_places(columns, size))
        return _queries(columns) if fits else None
    return _of_yolov8(rows, columns, metadata, size, turned=turned) if family == "yolov8" else None


def _of_yolov8(
    rows: int | None,
    columns: int | None,
    metadata: Metadata,
    size: Size | None,
    *,
    turned: bool,
) -> Reading | None:
    if columns is None or turned or rows == BOX_CHANNELS + (len(metadata.names) or -1):
        return _anchors(rows) if rows is None or rows > BOX_CHANNELS else None
    places_first = rows is None or is_places(rows, size) or rows > columns
    if places_first and columns > BOX_CHANNELS:
        return _last(columns)
    # columns that no box fits into are places, however few
    few = columns <= BOX_CHANNELS and not is_places(rows, size)
    return _anchors(rows) if (rows or 0) > BOX_CHANNELS and ((rows or 0) < columns or few) else None


def _noted(
    rows: int | None, columns: int | None, metadata: Metadata, size: Size | None
) -> Reading | None:
    """What Ultralytics' notes leave no doubt of."""
    count = len(metadata.names)
    if "rtdetr" in metadata.maker.lower() and not metadata.nms:
        return _queries(columns) if columns in (DETECTION_COLUMNS, BOX_CHANNELS + count) else None
    if metadata.end_to_end or metadata.nms:
        return _detections() if columns == DETECTION_COLUMNS else None
    if not count:
        return None
    found = []
    if rows == BOX_CHANNELS + count:
        found.append(_anchors(rows))
    if is_places(rows, size):
        if columns == BOX_CHANNELS + count:
            found.append(_last(columns))
        if columns == _OBJECTNESS + count:
            found.append(_with_objectness("yolov5", columns))
    return found[0] if len(found) == 1 else None


def _seen(
    rows: int | None, columns: int | None, metadata: Metadata, size: Size | None
) -> Reading | None:
    """What a shape alone leaves no doubt of."""
    if metadata.end_to_end:
        return None
    if columns == DETECTION_COLUMNS:
        finished = rows is not None and rows <= MOST_DETECTIONS and not is_places(rows, size)
        return _detections() if finished else None
    turned = is_places(rows, size) - is_places(columns, size)
    if rows is None:
        # Ultralytics' own files of open sizes leave open even the channels in some formats.
        last = turned < 0 or (columns is None and metadata.task == "detect")
    else:
        named = len(metadata.names)
        fits = rows > BOX_CHANNELS and named in (0, rows - BOX_CHANNELS)
        last = fits and turned <= 0 and (turned < 0 or columns is None or rows < columns)
    return _anchors(rows) if last else None


def _candidates(rows: int | None, columns: int | None, size: Size | None) -> dict[FamilyName, str]:
    """The families that have such a shape, and what each would be."""
    if columns is None:
        return {"yolov8": "YOLOv8's", "yolov5": "YOLOv5's"}
    if is_places(columns, size):
        return {}
    found: dict[FamilyName, str] = {}
    few = rows is not None and rows <= MOST_DETECTIONS and not is_places(rows, size)
    if columns == DETECTION_COLUMNS:
        found["yolov10"] = "finished detections (x1, y1, x2, y2, score, class)"
    if columns > _OBJECTNESS and not few:
        classes = count_of(columns - _OBJECTNESS)
        found["yolov5"] = f"YOLOv5's of {classes} {FORMS['yolov5']}"
        if rows is None or size is None or rows == _places(size, _YOLOX_STRIDES):
            found["yolox"] = f"YOLOX's of {classes}, the same shape with boxes on the grid"
    if columns > BOX_CHANNELS and not few:
        found["yolov8"] = (
            f"YOLOv8's of {count_of(columns - BOX_CHANNELS)} turned round {FORMS['anchors-last']}"
        )
    if columns > _OBJECTNESS and few:
        found["ultralytics-rtdetr"] = (
            f"Ultralytics' RT-DETR's of {count_of(columns - BOX_CHANNELS)} {FORMS['queries']}"
        )
    return found


def _doubt(
    rows: int | None, columns: int | None, metadata: Metadata, size: Size | None
) -> tuple[str, str]:
    """What a shape may be, and what to do about it."""
    noted = f" (the file names {count_of(len(metadata.names))})" if metadata.names else ""
    found = _candidates(rows, columns, size)
    if not found:
        read = "; ".join(dict.fromkeys(FORMS.values()))
        return f"which is no list of boxes{noted}", f"What is read: {read}."
    return f"which may be {', or '.join(found.values())}{noted}", say_which(found)


def say_which(found: Sequence[FamilyName] | dict[FamilyName, str]) -> str:
    """The remedy where a file may be of several families: the line to write."""
    if not found:
        return _ONE_OUTPUT
    lines = " or ".join(f"`family: {name}`" for name in found)
    return f"Say which it is, with {lines} {OPTION}."


def count_of(count: int) -> str:
    """A number of classes in words."""
    return "1 class" if count == 1 else f"{count} classes"


def _other_rank(shape: Sequence[int | None]) -> str:
    """What an output of another number of axes than three may be."""
    if len(shape) == 2 and shape[1] in (6, 7):  # noqa: PLR2004 - batch and columns
        return ": a list of the boxes of all images, as YOLOv7's export with NMS gives"
    if len(shape) == 2:  # noqa: PLR2004 - batch and classes
        return ": one row an image, as a classifier gives"
    if len(shape) in (4, 5):
        return ": a grid, as the raw head of a detector or a segmentation gives"
    return ", which is no list of boxes"

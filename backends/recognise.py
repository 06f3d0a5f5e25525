"""Which layout an output of a file made elsewhere has: told by its shape and its maker's notes.

Never guessed: where more than one layout has such a shape, the file is refused with those that have
it and the line that says which. Written for Python 3.10 and nothing besides.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deploymark.backends.errors import LoadError
from deploymark.backends.layout import (
    AS_SEEN,
    BOX_CHANNELS,
    DETECTION_COLUMNS,
    FamilyName,
    OutputLayout,
    ReadAs,
)

FORMS: dict[FamilyName, str] = {
    "yolov5": "(batch, places, 5 + classes)",
    "yolov8": "(batch, 4 + classes, places) or (batch, places, 4 + classes)",
    "yolov10": "(batch, n, 6)",
}
"""Shapes of the families' outputs."""

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

_SIZES = range(32, 4097, 32)

_OPTION = "beside `artifact:` in a matrix, or --family on the command line"
_ONE_OUTPUT = (
    "Deploymark reads one output, boxes and scores together: export the detector so, as "
    "Ultralytics' `export` does."
)
_OBJECTNESS = 5


@dataclasses.dataclass(frozen=True)
class Metadata:
    """What Ultralytics' exporter noted. ``precision`` is None where it noted nothing of it.

    ``nms``: suppression is in the file. ``confidence``: the lowest score that it keeps, None where
    that is not noted.
    """

    names: tuple[str, ...] = ()
    task: str = ""
    stride: int = 32
    end_to_end: bool = False
    precision: str | None = None
    nms: bool = False
    confidence: float | None = None


@dataclasses.dataclass(frozen=True)
class Reading:
    """How an output reads; ``classes`` is None where the shape does not tell."""

    layout: OutputLayout
    classes: int | None = None


def sizes(shape: Sequence[Any]) -> tuple[int | None, ...]:
    """A shape with None for each size that is left open: a name, -1, None."""
    return tuple(size if isinstance(size, int) and size > 0 else None for size in shape)


def is_places(count: int | None, size: int | None) -> bool:
    """Whether a head has so many places for an input of ``size`` pixels; of any, where None."""
    if count is None:
        return False
    return any(
        count == anchors * sum((side // stride) ** 2 for stride in strides)
        for side in (_SIZES if size is None else (size,))
        for strides, several in _GRIDS
        for anchors in several
    )


def reading(
    path: Path,
    shape: Sequence[Any],
    metadata: Metadata,
    *,
    size: int | None = None,
    told: ReadAs = AS_SEEN,
) -> Reading:
    """How an output of ``shape`` reads, for an input of ``size`` pixels.

    Raises LoadError with the layouts that it may be, where it is none or more than one.
    """
    known = sizes(shape)
    if len(known) != 3:  # noqa: PLR2004 - batch, rows, columns
        what = _other_rank(known)
        raise LoadError(f"{path} gives an output of shape {tuple(shape)}{what}", remedy=_ONE_OUTPUT)
    rows, columns = known[1], known[2]
    if told.family is not None:
        found = _of_family(told.family, rows, columns, metadata, size)
        if found is None:
            raise LoadError(
                f"{path} gives an output of shape {tuple(shape)}, and family: {told.family} is "
                f"{FORMS[told.family]}",
                remedy=_say_which(_candidates(rows, columns, size)),
            )
        return found
    found = _noted(rows, columns, metadata, size) or _seen(rows, columns, metadata, size)
    if found is None:
        what, remedy = _doubt(rows, columns, metadata, size)
        raise LoadError(f"{path} gives an output of shape {tuple(shape)}, {what}", remedy=remedy)
    return found


def _anchors(rows: int | None) -> Reading:
    return Reading("anchors", None if rows is None else rows - BOX_CHANNELS)


def _last(columns: int) -> Reading:
    return Reading("anchors-last", columns - BOX_CHANNELS)


def _of_family(
    family: FamilyName, rows: int | None, columns: int | None, metadata: Metadata, size: int | None
) -> Reading | None:
    """What a family makes of a shape, None where the shape is not its own."""
    if family == "yolov10":
        return Reading("detections") if columns in (DETECTION_COLUMNS, None) else None
    turned = is_places(columns, size) and not is_places(rows, size)
    if family == "yolov5":
        if columns is None:
            return Reading("yolov5")
        fits = columns > _OBJECTNESS and not turned
        return Reading("yolov5", columns - _OBJECTNESS) if fits else None
    if columns is None or turned or rows == BOX_CHANNELS + (len(metadata.names) or -1):
        return _anchors(rows) if rows is None or rows > BOX_CHANNELS else None
    places_first = rows is None or is_places(rows, size) or rows > columns
    if places_first and columns > BOX_CHANNELS:
        return _last(columns)
    # columns that no box fits into are places, however few
    few = columns <= BOX_CHANNELS and not is_places(rows, size)
    return _anchors(rows) if (rows or 0) > BOX_CHANNELS and ((rows or 0) < columns or few) else None


def _noted(
    rows: int | None, columns: int | None, metadata: Metadata, size: int | None
) -> Reading | None:
    """What Ultralytics' notes leave no doubt of."""
    if metadata.end_to_end or metadata.nms:
        return Reading("detections") if columns == DETECTION_COLUMNS else None
    count = len(metadata.names)
    if not count:
        return None
    found = []
    if rows == BOX_CHANNELS + count:
        found.append(_anchors(rows))
    if is_places(rows, size):
        if columns == BOX_CHANNELS + count:
            found.append(_last(columns))
        if columns == _OBJECTNESS + count:
            found.append(Reading("yolov5", count))
    return found[0] if len(found) == 1 else None


def _seen(
    rows: int | None, columns: int | None, metadata: Metadata, size: int | None
) -> Reading | None:
    """What a shape alone leaves no doubt of."""
    if metadata.end_to_end:
        return None
    if columns == DETECTION_COLUMNS:
        finished = rows is not None and rows <= MOST_DETECTIONS and not is_places(rows, size)
        return Reading("detections") if finished else None
    turned = is_places(rows, size) - is_places(columns, size)
    if rows is None:
        # Ultralytics' own files of open sizes leave open even the channels in some formats.
        last = turned < 0 or (columns is None and metadata.task == "detect")
    else:
        named = len(metadata.names)
        fits = rows > BOX_CHANNELS and named in (0, rows - BOX_CHANNELS)
        last = fits and turned <= 0 and (turned < 0 or columns is None or rows < columns)
    return _anchors(rows) if last else None


def _candidates(rows: int | None, columns: int | None, size: int | None) -> dict[str, str]:
    """The families that have such a shape, and what each would be."""
    found: dict[str, str] = {}
    if columns is None:
        return {"yolov8": "YOLOv8's", "yolov5": "YOLOv5's"}
    if is_places(columns, size):
        return {}
    queries = rows is not None and rows <= MOST_DETECTIONS and not is_places(rows, size)
    if columns == DETECTION_COLUMNS:
        found["yolov10"] = "finished detections (x1, y1, x2, y2, score, class)"
    if columns > _OBJECTNESS and not queries:
        found["yolov5"] = (
            f"YOLOv5's of {_classes(columns - _OBJECTNESS)} (batch, places, 5 + classes)"
        )
    if columns > BOX_CHANNELS and not queries:
        found["yolov8"] = (
            f"YOLOv8's of {_classes(columns - BOX_CHANNELS)} turned round "
            "(batch, places, 4 + classes)"
        )
    return found


def _doubt(
    rows: int | None, columns: int | None, metadata: Metadata, size: int | None
) -> tuple[str, str]:
    """What a shape may be, and what to do about it."""
    noted = f" (the file names {_classes(len(metadata.names))})" if metadata.names else ""
    found = _candidates(rows, columns, size)
    others = []
    if rows is not None and columns is not None and columns > _OBJECTNESS:
        if not found or set(found) == {"yolov10"}:
            others.append(
                "DETR's or RT-DETR's (batch, queries, 4 + classes), which is not read yet"
            )
        elif columns != DETECTION_COLUMNS:
            others.append("YOLOX's, which has YOLOv5's shape and is not read yet")
    if not found and not others:
        read = "; ".join(f"{name}: {form}" for name, form in FORMS.items())
        return f"which is no list of boxes{noted}", f"What is read: {read}."
    return f"which may be {', or '.join([*found.values(), *others])}{noted}", _say_which(found)


def _say_which(found: dict[str, str]) -> str:
    if not found:
        return "Export the detector with a YOLO head's output, or with NMS in the file."
    lines = " or ".join(f"`family: {name}`" for name in found)
    return f"Say which it is, with {lines} {_OPTION}."


def _classes(count: int) -> str:
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


def several(path: Path, names: Sequence[str], shapes: Sequence[Sequence[Any]]) -> LoadError:
    """The error for a file with another number of outputs than one, with what it may be."""
    listed = ", ".join(
        f"{name} {tuple(shape)}" if name else str(tuple(shape))
        for name, shape in zip(names or [""] * len(shapes), shapes, strict=False)
    )
    guess = _several(sorted((sizes(shape) for shape in shapes), key=len))
    return LoadError(
        f"{path} has {len(shapes)} outputs, Deploymark reads one: {listed}{guess}",
        remedy=_ONE_OUTPUT,
    )


def _several(shapes: Sequence[tuple[int | None, ...]]) -> str:
    ranks = [len(shape) for shape in shapes]
    last = [shape[-1] if shape else None for shape in shapes]
    if ranks == [3, 4]:
        return ". With a grid of prototypes it is a segmentation model"
    if ranks == [3, 3] and BOX_CHANNELS in last:
        return ". Boxes and scores apart are as DETR and RT-DETR give them"
    if len(ranks) == 4 and max(ranks) == 3 and BOX_CHANNELS in last:  # noqa: PLR2004 - SSD's four
        return ". Boxes, classes, scores and their number are as SSD of TensorFlow gives them"
    if len(ranks) == 3 and max(ranks) <= 2 and BOX_CHANNELS in last:  # noqa: PLR2004
        return ". Boxes, labels and scores are as torchvision's detectors give them"
    if min(ranks) >= 4:  # noqa: PLR2004 - batch, channels, rows, columns
        return ". Grids are the raw heads of a detector, before boxes are made of them"
    return ""

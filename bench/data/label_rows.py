"""The lines of YOLO's label files: boxes, polygons, oriented boxes, boxes with keypoints."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from pathlib import Path

from deploymark.bench.data.fault_kinds import (
    LABEL_CLASS_NOT_WHOLE,
    LABEL_CLASS_RANGE,
    LABEL_COLUMNS,
    LABEL_COORDINATES,
    LABEL_NEGATIVE_SIZE,
    LABEL_NOT_NUMBERS,
    LABEL_SCORE,
    LABEL_SEPARATOR,
    LABELS_CORNERS,
    LABELS_KEYPOINTS,
    FaultKind,
)
from deploymark.bench.data.faults import Faults
from deploymark.bench.text_files import read_text

BOX_COLUMNS = 5
"""class, centre-x, centre-y, width, height; the last four as shares of the image's sides."""

POLYGON_COLUMNS_MIN = 7
"""class and at least three points."""

ORIENTED_COLUMNS = 9
"""class and the four corners of an oriented box, in Ultralytics' sets for the task ``obb``."""

KEYPOINT_COLUMNS_MIN = 11
"""class, box and three keypoints: what may be told from a polygon by its numbers."""

TOLERANCE = 0.01
"""How far a coordinate may lie outside [0, 1] (``ultralytics.data.utils.verify_image_label``)."""

GUESS_SHARE = 0.2
"""Share of boxes that have to stick out of their images before they are guessed to be corners."""

GUESS_MARGIN = 0.05
"""How far a box sticks out that counts for the guess: further than a sloppy label does."""

_GUESS_BOXES = 5
"""Boxes from which lines of labels are guessed to be corners: one or two prove nothing."""

_GUESS_ALL = 0.95

_SHOWN_LINE = 60

_SEPARATED = re.compile(r"[-+.\deE\s]+([,;][-+.\deE\s]*)+")

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")

Row = tuple[int, float, float, float, float]
"""Class, x1, y1, x2, y2; coordinates as shares of the image's sides."""


@dataclasses.dataclass(frozen=True)
class RowFormat:
    """What the lines of a data set may be.

    It has so many ``classes``; a row of keypoints (``kpt_shape``) has so many columns; and it may
    say that its boxes are ``oriented``.
    """

    classes: int
    keypoint_columns: int | None = None
    oriented: bool = False


class LabelReader:
    """Reads label files; ``faults`` gets their bad lines, ``counts`` what was met besides.

    The counts are ``rows`` (of all kinds, faults and repeated ones as well), ``repeated``,
    ``no_size``, ``clipped``, ``polygons``, ``oriented``, ``keypoints``.
    """

    def __init__(self, rows: RowFormat, faults: Faults, counts: Counter[str]) -> None:
        self.faults = faults
        self._format = rows
        self._counts = counts
        self._boxes = self._as_corners = self._sticking_out = 0
        self._polygon_columns: Counter[int] = Counter()
        self._as_keypoints = 0
        self._first = ""

    def read(self, path: Path) -> list[Row]:
        """The boxes of a file, without repeated ones and those of no size.

        Raises BadInputError where it is no text.
        """
        rows: dict[tuple[float, ...], Row] = {}
        for number, line in enumerate(read_text(path).splitlines(), 1):
            if not (words := line.split()):
                continue
            self._counts["rows"] += 1
            found = self._row(path, number, line, words)
            if found is None:
                continue
            key, row = found
            if row[1] >= row[3] or row[2] >= row[4]:
                self._counts["no_size"] += 1
            elif key in rows:
                self._counts["repeated"] += 1
            else:
                rows[key] = row
        return list(rows.values())

    def check_guesses(self) -> None:
        """Faults of all lines together: corners in place of a size, keypoints unannounced."""
        if self._boxes >= _GUESS_BOXES and self._as_corners >= _GUESS_ALL * self._boxes:
            share = self._sticking_out / self._boxes
            if share >= GUESS_SHARE:
                self.faults.add(
                    LABELS_CORNERS,
                    self._first,
                    f"{share:.0%} of the boxes stick out of their images, but none would as x1 y1"
                    " x2 y2",
                )
        polygons = sum(self._polygon_columns.values())
        if polygons > 1 and len(self._polygon_columns) == 1 and self._as_keypoints == polygons:
            columns = next(iter(self._polygon_columns))
            self.faults.add(
                LABELS_KEYPOINTS,
                self._first,
                f"all rows have {columns} columns, and the points after the first four numbers lie"
                " in the box that these would be",
            )

    def _row(
        self, path: Path, number: int, line: str, words: list[str]
    ) -> tuple[tuple[float, ...], Row] | None:
        """What tells a row from others, and the row; None, and a fault, where it is none."""
        values = self._values(path, number, line, words)
        if values is None:
            return None
        index = self._class_index(path, number, values[0])
        if index is None:
            return None
        coordinates = values[1:]
        polygon = len(values) > BOX_COLUMNS
        if not all(-TOLERANCE <= value <= 1 + TOLERANCE for value in coordinates):
            hint = " (keypoints need `kpt_shape`)" if polygon else ""
            detail = f"a coordinate outside [0, 1]: {_shown(line)}{hint}"
            self._bad(LABEL_COORDINATES, path, number, detail)
            return None
        if not polygon and min(coordinates[2:]) < 0:
            detail = f"a negative width or height: {_shown(line)}"
            self._bad(LABEL_NEGATIVE_SIZE, path, number, detail)
            return None
        self._first = self._first or f"{path}:{number}"
        read = self._polygon if polygon else self._box
        return tuple(values), read(index, coordinates)

    def _values(self, path: Path, number: int, line: str, words: list[str]) -> list[float] | None:
        """The numbers of a line, without keypoints; None, and a fault, where they are no row."""
        try:
            values = [float(word) for word in words]
        except ValueError:
            separated = _SEPARATED.fullmatch(line.strip())
            kind = LABEL_SEPARATOR if separated else LABEL_NOT_NUMBERS
            told = line if separated else _numbers_alone(words)
            self._bad(kind, path, number, f"not all numbers: {_shown(told)}")
            return None
        columns, keypoints = len(values), self._format.keypoint_columns
        if columns == keypoints:
            self._counts["keypoints"] += 1
            return values[:BOX_COLUMNS]
        if columns == BOX_COLUMNS + 1:
            self._bad(LABEL_SCORE, path, number, f"6 columns, expected 5: {_shown(line)}")
            return None
        polygon = columns >= POLYGON_COLUMNS_MIN and columns % 2 == 1 and not keypoints
        if columns == BOX_COLUMNS or polygon:
            return values
        expected = f"{BOX_COLUMNS}: class, centre-x, centre-y, width, height"
        if keypoints:
            expected = f"{keypoints} by `kpt_shape`, or {expected}"
        self._bad(LABEL_COLUMNS, path, number, f"{columns} columns, expected {expected}")
        return None

    def _box(self, index: int, coordinates: list[float]) -> Row:
        x, y, width, height = coordinates
        corners = x - width / 2, y - height / 2, x + width / 2, y + height / 2
        if width == 0 or height == 0:
            return index, x, y, x, y
        self._boxes += 1
        self._as_corners += width > x and height > y
        if min(corners) >= -TOLERANCE and max(corners) <= 1 + TOLERANCE:
            return index, *corners
        self._sticking_out += min(corners) < -GUESS_MARGIN or max(corners) > 1 + GUESS_MARGIN
        self._counts["clipped"] += 1
        left, top, right, bottom = (min(max(value, 0.0), 1.0) for value in corners)
        return index, left, top, right, bottom

    def _polygon(self, index: int, coordinates: list[float]) -> Row:
        """The bounding box of a polygon, or of an oriented box."""
        columns = len(coordinates) + 1
        oriented = columns == ORIENTED_COLUMNS and self._format.oriented
        self._counts["oriented" if oriented else "polygons"] += 1
        self._polygon_columns[columns] += 1
        if columns >= KEYPOINT_COLUMNS_MIN:
            self._as_keypoints += _like_keypoints(coordinates)
        xs, ys = coordinates[0::2], coordinates[1::2]
        return index, min(xs), min(ys), max(xs), max(ys)

    def _class_index(self, path: Path, number: int, value: float) -> int | None:
        classes = self._format.classes
        if not value.is_integer():
            detail = f"the class {value} is not a whole number"
            self._bad(LABEL_CLASS_NOT_WHOLE, path, number, detail)
            return None
        if not 0 <= value < classes:
            self._bad(
                LABEL_CLASS_RANGE,
                path,
                number,
                f"class {value:.0f} is out of range, the data set has {classes} names"
                f" (0 to {classes - 1})",
            )
            return None
        return int(value)

    def _bad(self, kind: FaultKind, path: Path, number: int, detail: str) -> None:
        self.faults.add(kind, f"{path}:{number}", detail)


def _like_keypoints(coordinates: list[float]) -> bool:
    """Whether the first four numbers are a box that all further points lie in.

    Points have two numbers, or three of which the last is their visibility; (0, 0) is one that is
    not there.
    """
    x, y, width, height = coordinates[:4]
    rest = coordinates[4:]
    for step in (2, 3):
        seen = set(rest[2::step]) if step == 3 else set()  # noqa: PLR2004 - two or three numbers
        if len(rest) % step or not seen <= {0.0, 1.0, 2.0}:
            continue
        if all(
            (px == py == 0) or (abs(px - x) <= width / 2 and abs(py - y) <= height / 2)
            for px, py in zip(rest[0::step], rest[1::step], strict=True)
        ):
            return True
    return False


def _numbers_alone(words: list[str]) -> str:
    """The words of a line that are numbers, the others as ``…``.

    A label may be a link to any file, whose text is nobody's to quote.
    """
    return " ".join(word if _NUMBER.fullmatch(word) else "…" for word in words)


def _shown(line: str) -> str:
    text = line.strip()
    return repr(text if len(text) <= _SHOWN_LINE else text[: _SHOWN_LINE - 1] + "…")

"""The boxes of COCO annotations, judged against the images that they are on."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from deploymark.bench.data.coco_document import number, yes_no
from deploymark.bench.data.fault_kinds import (
    COCO_BBOX,
    COCO_NORMALISED,
    COCO_NUMBER,
    COCO_OUTSIDE,
    COCO_SIZE,
    COCO_XYXY,
)
from deploymark.bench.data.faults import Fault, Faults
from deploymark.bench.data.label_rows import GUESS_MARGIN, GUESS_SHARE, TOLERANCE
from deploymark.bench.data.labels import ImageLabels

_SMALL_PIXELS = 16
"""In an image with longer sides than this, boxes below one pixel are taken for shares."""

_GUESS_ALL = 0.95

Box = tuple[float, float, float, float]
"""x, y, width, height in pixels."""


@dataclasses.dataclass(frozen=True)
class Annotation:
    """One box: the index of its class, and its area in square pixels where the file says it."""

    where: str
    category: int
    bbox: Box
    area: float | None
    crowd: bool


@dataclasses.dataclass(frozen=True)
class CocoImage:
    """An entry of ``images``: its place, its file, the size that it says, and what is on it."""

    json: Path
    place: str
    file: Path
    said: tuple[float | None, float | None]
    annotations: tuple[Annotation, ...]


def annotation(
    where: str, record: Mapping[str, Any], category: int, faults: Faults
) -> Annotation | None:
    """An entry of ``annotations`` as a box; None, and a fault, where it is none."""
    value = record["bbox"]
    if not isinstance(value, list) or len(value) != 4:  # noqa: PLR2004 - x, y, width, height
        faults.add(COCO_BBOX, where, f"bbox must be [x, y, width, height], got {_shown(value)}")
        return None
    numbers = [number(item) for item in value]
    if None in numbers:
        words = any(isinstance(item, str) for item in value)
        kind = COCO_NUMBER if words else COCO_BBOX
        faults.add(kind, where, f"bbox {_shown(value)} is no box")
        return None
    x, y, width, height = (float(item) for item in numbers if item is not None)
    if min(width, height) < 0:
        faults.add(COCO_BBOX, where, f"bbox {_shown(value)} is no box")
        return None
    area = record.get("area")
    if area is not None and (number(area) is None):
        faults.add(COCO_NUMBER, where, f"area {_shown(area)} is no number")
        return None
    crowd = yes_no(record.get("iscrowd") or 0)
    if crowd is None:
        faults.add(COCO_NUMBER, where, f"iscrowd {_shown(record['iscrowd'])} is neither 0 nor 1")
        return None
    return Annotation(where, category, (x, y, width, height), number(area), crowd)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"  # noqa: PLR2004 - a line's worth


class BoxChecks:
    """Turns entries into labels once the size of an image is known.

    ``counts`` gets ``no_size`` and ``clipped``.
    """

    def __init__(self, faults: Faults, counts: Counter[str]) -> None:
        self._faults = faults
        self._counts = counts
        self._outside: list[Fault] = []
        self._boxes = self._as_corners = self._sticking_out = self._as_shares = 0
        self._first = ""

    def labels(self, image: CocoImage, width: int, height: int) -> ImageLabels | None:
        """The labels of an image; None, and a fault, where the file means one of another size."""
        said = image.said
        if any(
            given is not None and given != real
            for given, real in zip(said, (width, height), strict=True)
        ):
            words = " x ".join("?" if given is None else f"{given:g}" for given in said)
            self._faults.add(
                COCO_SIZE,
                image.place,
                f"says that {image.file.name} is {words} pixels, but upright it is {width} x"
                f" {height}",
            )
            return None
        kept = [
            (item, corners)
            for item in image.annotations
            if (corners := self._corners(item, width, height)) is not None
        ]
        boxes = np.array([corners for _, corners in kept], dtype=np.float64).reshape(-1, 4)
        sizes = boxes[:, 2:] - boxes[:, :2]
        own = sizes[:, 0] * sizes[:, 1]
        areas = [
            item.area if item.area is not None else computed
            for (item, _), computed in zip(kept, own, strict=True)
        ]
        return ImageLabels(
            path=image.file,
            width=width,
            height=height,
            boxes=boxes,
            classes=np.array([item.category for item, _ in kept], dtype=np.int64),
            areas=np.array(areas, dtype=np.float64),
            crowd=np.array([item.crowd for item, _ in kept], dtype=np.bool_),
        )

    def _corners(self, item: Annotation, width: int, height: int) -> list[float] | None:
        """x1, y1, x2, y2, clipped where they stick out by more than a rounding.

        None where the box is left out.
        """
        x, y, across, down = item.bbox
        if across == 0 or down == 0:
            self._counts["no_size"] += 1
            return None
        limits = (width, height, width, height)
        corners = [x, y, x + across, y + down]
        self._note(item, corners, width, height)
        centre = (x + across / 2, y + down / 2)
        if not all(
            -TOLERANCE * limit <= value <= (1 + TOLERANCE) * limit
            for value, limit in zip(centre, limits, strict=False)
        ):
            shown = ", ".join(f"{value:g}" for value in item.bbox)
            detail = f"bbox [{shown}] lies outside of the {width} x {height} pixels of its image"
            self._outside.append(Fault(COCO_OUTSIDE, item.where, detail))
            return None
        if _within(corners, limits, TOLERANCE):
            return corners
        self._counts["clipped"] += 1
        return [min(max(value, 0.0), limit) for value, limit in zip(corners, limits, strict=True)]

    def _note(self, item: Annotation, corners: list[float], width: int, height: int) -> None:
        """Count what tells corners and shares from boxes in pixels."""
        x, y, across, down = item.bbox
        self._first = self._first or item.where
        self._boxes += 1
        self._as_shares += max(item.bbox) <= 1 + TOLERANCE and max(width, height) > _SMALL_PIXELS
        inside = across <= width * (1 + TOLERANCE) and down <= height * (1 + TOLERANCE)
        self._as_corners += across > x and down > y and inside
        self._sticking_out += not _within(corners, (width, height, width, height), GUESS_MARGIN)

    def check_guesses(self) -> None:
        """Faults of all boxes together: shares or corners, and otherwise those outside."""
        if self._boxes and self._as_shares == self._boxes:
            detail = f"all numbers of all {self._boxes} boxes are at most 1"
            self._faults.add(COCO_NORMALISED, self._first, detail)
        elif (
            self._boxes
            and self._as_corners >= _GUESS_ALL * self._boxes
            and self._sticking_out >= max(1, GUESS_SHARE * self._boxes)
        ):
            self._faults.add(
                COCO_XYXY,
                self._first,
                f"{self._sticking_out} of {self._boxes} boxes reach out of their images, but none"
                " would as [x1, y1, x2, y2]",
            )
        else:
            for fault in self._outside:
                self._faults.append(fault)
        self._outside = []


def _within(corners: list[float], limits: tuple[int, ...], margin: float) -> bool:
    low = all(
        value >= -margin * limit for value, limit in zip(corners[:2], limits[:2], strict=True)
    )
    return low and all(
        value <= (1 + margin) * limit and math.isfinite(value)
        for value, limit in zip(corners[2:], limits[2:], strict=True)
    )

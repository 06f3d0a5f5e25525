"""The labels of a data set as one file, for where the data set itself is not."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from deploymark.bench.data.calibration import CalibrationSource
from deploymark.bench.data.census import Census
from deploymark.bench.data.datasets import Dataset
from deploymark.bench.data.labels import ImageLabels
from deploymark.bench.errors import BadInputError
from deploymark.bench.records.files import dump_json, unreadable

LABELS_VERSION = 1


@dataclasses.dataclass(frozen=True)
class _Image:
    """One image: its file's name, upright sides in pixels; corners, class, area, crowd of boxes."""

    name: str
    width: int
    height: int
    boxes: list[tuple[float, float, float, float]]
    classes: list[int]
    areas: list[float]
    crowd: list[bool]


@dataclasses.dataclass(frozen=True)
class _Record:
    version: int
    name: str
    names: list[str]
    images: list[_Image]
    calibration: list[str]
    calibration_source: CalibrationSource
    scored_hash: str
    calibration_hash: str
    labelled: bool
    census: Census
    calibration_lacks: str


_RECORD = TypeAdapter(_Record)


def dump_labels(dataset: Dataset) -> str:
    """The record of a data set: JSON, without its pictures."""
    return dump_json(
        {
            "version": LABELS_VERSION,
            "name": dataset.name,
            "names": list(dataset.names),
            "images": [_values(image) for image in dataset.scored],
            "calibration": [path.name for path in dataset.calibration],
            "calibration_source": dataset.calibration_source,
            "scored_hash": dataset.scored_hash,
            "calibration_hash": dataset.calibration_hash,
            "labelled": dataset.labelled,
            "census": {
                **dataclasses.asdict(dataset.census),
                "faults": [dict(fault) for fault in dataset.census.faults],
            },
            "calibration_lacks": dataset.calibration_lacks,
        },
        indent=None,
    )


def _values(image: ImageLabels) -> dict[str, Any]:
    return {
        "name": image.path.name,
        "width": image.width,
        "height": image.height,
        "boxes": image.boxes.tolist(),
        "classes": image.classes.tolist(),
        "areas": image.areas.tolist(),
        "crowd": image.crowd.tolist(),
    }


def read_labels(path: Path) -> Dataset:
    """The data set of a record; its images are names alone. Raises BadInputError."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values.get("version") != LABELS_VERSION:
            raise BadInputError(
                f"{path} has version {values.get('version')!r}, this Deploymark reads "
                f"{LABELS_VERSION}"
            )
        record = _RECORD.validate_python(values)
        images = tuple(_image(image, len(record.names)) for image in record.images)
    except (OSError, ValueError, AttributeError, RecursionError, ValidationError) as error:
        raise unreadable(path, error) from error
    return Dataset(
        name=record.name,
        names=tuple(record.names),
        scored=images,
        calibration=tuple(Path(name) for name in record.calibration),
        calibration_source=record.calibration_source,
        scored_hash=record.scored_hash,
        calibration_hash=record.calibration_hash,
        labelled=record.labelled,
        census=record.census,
        calibration_lacks=record.calibration_lacks,
    )


def _image(image: _Image, classes: int) -> ImageLabels:
    """Raises ValueError for what no data set has."""
    count = len(image.boxes)
    if {len(image.classes), len(image.areas), len(image.crowd)} != {count}:
        raise ValueError(f"{image.name}: boxes, classes, areas and crowd are not as many")
    boxes = np.array(image.boxes, dtype=np.float64).reshape(count, 4)
    areas = np.array(image.areas, dtype=np.float64)
    if not (np.isfinite(boxes).all() and np.isfinite(areas).all()):
        raise ValueError(f"{image.name}: a box is no number")
    if image.width < 1 or image.height < 1 or any(not 0 <= c < classes for c in image.classes):
        raise ValueError(f"{image.name}: a side or a class that no image has")
    return ImageLabels(
        path=Path(image.name),
        width=image.width,
        height=image.height,
        boxes=boxes,
        classes=np.array(image.classes, dtype=np.int64),
        areas=areas,
        crowd=np.array(image.crowd, dtype=bool),
    )

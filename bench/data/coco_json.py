"""COCO JSON files (``instances_*.json``): images, boxes, areas and crowd regions."""

from __future__ import annotations

import json
import math
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deploymark.bench.data.images import image_size
from deploymark.bench.data.labels import ImageLabels
from deploymark.bench.errors import BadInputError

_PREFIX = "instances_"


def read_coco_json(
    path: Path, images: Path | None = None
) -> tuple[tuple[str, ...], tuple[ImageLabels, ...]]:
    """Class names and labelled images of a COCO JSON file, in its order.

    Classes are numbered in the order of their category ids, which may have gaps. ``images`` is the
    folder that file names are relative to; see ``image_folders`` where it is None. Raises
    BadInputError with the file and the key.
    """
    document = _read(path)
    names, index_of = _categories(path, document["categories"])
    records = document["images"]
    if not records:
        raise BadInputError(f"{path}: `images` is empty")
    by_image = _annotations(path, document["annotations"], index_of, {r["id"] for r in records})
    files = _files(path, [str(record["file_name"]) for record in records], images)
    return names, tuple(
        _labels(path, record, file, by_image[record["id"]])
        for record, file in zip(records, files, strict=True)
    )


def image_folders(path: Path) -> list[Path]:
    """Where the images of ``instances_<split>.json`` are looked for, in this order.

    Beside the file, in ``images`` beside it, and next to its folder in ``images``,
    ``images/<split>``, ``<split>``, and ``images/<split>2017``, ``<split>2017``.
    """
    here, above = path.parent, path.parent.parent
    split = path.stem.removeprefix(_PREFIX)
    return [
        here,
        here / "images",
        above / "images",
        above / "images" / split,
        above / split,
        above / "images" / f"{split}2017",
        above / f"{split}2017",
    ]


def _read(path: Path) -> Mapping[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInputError(f"{path}: no such file") from None
    except json.JSONDecodeError as error:
        raise BadInputError(f"{path}:{error.lineno}:{error.colno}: not JSON: {error.msg}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path}: cannot be read: {error}") from error
    for key in ("images", "annotations", "categories"):
        if not isinstance(document, dict) or not isinstance(document.get(key), list):
            raise BadInputError(
                f"{path}: is no COCO JSON: it has no list `{key}`",
                remedy="Give an instances_*.json with images, annotations and categories.",
            )
    for key, needed in (
        ("images", ("id", "file_name")),
        ("annotations", ("image_id", "category_id", "bbox")),
        ("categories", ("id", "name")),
    ):
        for index, record in enumerate(document[key]):
            if not isinstance(record, dict) or any(name not in record for name in needed):
                raise BadInputError(f"{path}: {key}[{index}]: needs {', '.join(needed)}")
    result: Mapping[str, Any] = document
    return result


def _categories(
    path: Path, records: Sequence[Mapping[str, Any]]
) -> tuple[tuple[str, ...], dict[Any, int]]:
    if not records:
        raise BadInputError(f"{path}: `categories` is empty")
    ordered = sorted(records, key=lambda record: record["id"])
    index_of = {record["id"]: index for index, record in enumerate(ordered)}
    if len(index_of) != len(records):
        raise BadInputError(f"{path}: `categories` gives an id twice")
    return tuple(str(record["name"]) for record in ordered), index_of


Box = tuple[int, list[float], float, bool]
"""Class index, [x, y, width, height] in pixels, area, crowd."""


def _annotations(
    path: Path,
    records: Sequence[Mapping[str, Any]],
    index_of: Mapping[Any, int],
    image_ids: set[Any],
) -> dict[Any, list[Box]]:
    by_image: dict[Any, list[Box]] = defaultdict(list)
    for place, record in enumerate(records):
        where = f"{path}: annotations[{place}]"
        if record["image_id"] not in image_ids:
            raise BadInputError(f"{where}: image_id {record['image_id']!r} is no id of `images`")
        if record["category_id"] not in index_of:
            raise BadInputError(
                f"{where}: category_id {record['category_id']!r} is no id of `categories`"
            )
        box = _box(where, record["bbox"])
        area = record.get("area")
        by_image[record["image_id"]].append(
            (
                index_of[record["category_id"]],
                box,
                box[2] * box[3] if area is None else float(area),
                bool(record.get("iscrowd", 0)),
            )
        )
    return by_image


def _box(where: str, value: Any) -> list[float]:
    try:
        x, y, width, height = (float(number) for number in value)
    except (TypeError, ValueError):
        raise BadInputError(f"{where}: bbox must be [x, y, width, height], got {value!r}") from None
    if not all(math.isfinite(number) for number in (x, y, width, height)) or min(width, height) < 0:
        raise BadInputError(f"{where}: bbox {value!r} is no box")
    return [x, y, width, height]


def _files(path: Path, names: Sequence[str], images: Path | None) -> list[Path]:
    """The image files, of the first folder that has the first image."""
    folders = [images] if images is not None else image_folders(path)
    folder = next((folder for folder in folders if (folder / names[0]).is_file()), None)
    if folder is None:
        places = ", ".join(os.path.normpath(folder) for folder in folders)
        raise BadInputError(
            f"{path}: its first image {names[0]} is not in {places}",
            remedy="Name the folder of the images (`images:` beside `annotations:`).",
        )
    files = [Path(os.path.normpath(folder / name)) for name in names]
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise BadInputError(
            f"{path}: {len(missing)} of its {len(files)} images do not exist, such as {missing[0]}"
        )
    return files


def _labels(path: Path, record: Mapping[str, Any], file: Path, boxes: list[Box]) -> ImageLabels:
    width, height = image_size(file)
    said = (record.get("width", width), record.get("height", height))
    if said != (width, height):
        raise BadInputError(
            f"{path}: says that {file.name} is {said[0]} x {said[1]} pixels, but upright it is"
            f" {width} x {height}",
            remedy="Its boxes belong to another version of the image: export the data set anew.",
        )
    xywh = np.array([box for _, box, _, _ in boxes], dtype=np.float64).reshape(-1, 4)
    return ImageLabels(
        path=file,
        width=width,
        height=height,
        boxes=np.concatenate((xywh[:, :2], xywh[:, :2] + xywh[:, 2:]), axis=1),
        classes=np.array([index for index, _, _, _ in boxes], dtype=np.int64),
        areas=np.array([area for _, _, area, _ in boxes], dtype=np.float64),
        crowd=np.array([crowd for _, _, _, crowd in boxes], dtype=np.bool_),
    )

"""Labelled images for recipes: handed to a build child as one JSON file.

They are images of the train split: never those that are scored, so that no figure is measured on
images that shaped the model.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deploymark.bench.data.labels import ImageLabels
from deploymark.bench.records.files import dump_json, write_text_atomically


@dataclasses.dataclass(frozen=True)
class TrainingData:
    """The images of a data set that recipes may see; classes are the model's.

    ``training`` are trained on. ``selection`` are held out of it: by them a recipe judges its own
    choices (how much to prune, which cycle to keep).
    """

    training: tuple[ImageLabels, ...]
    selection: tuple[ImageLabels, ...]

    def in_classes_of_model(self, class_map: Mapping[int, int]) -> TrainingData:
        """The same with the model's classes; boxes of other classes are left out."""
        return TrainingData(
            tuple(_mapped(image, class_map) for image in self.training),
            tuple(_mapped(image, class_map) for image in self.selection),
        )

    def digest(self) -> str:
        """SHA-256 over the images' names, sizes in bytes and labels, hexadecimal.

        A train split has many gigabytes at times, too many to read for a key.
        """
        total = hashlib.sha256()
        for part in (self.training, self.selection):
            for image in part:
                name = f"{image.path.name}\0{image.path.stat().st_size}\0"
                total.update(os.fsencode(name) + image.boxes.tobytes() + image.classes.tobytes())
            total.update(b"\n")
        return total.hexdigest()

    def write(self, path: Path) -> None:
        """Write the JSON that ``read`` takes."""
        values = {
            "training": [_plain(image) for image in self.training],
            "selection": [_plain(image) for image in self.selection],
        }
        write_text_atomically(path, dump_json(values, indent=None))

    @classmethod
    def read(cls, path: Path) -> TrainingData:
        """Read what ``write`` wrote."""
        values = json.loads(path.read_text(encoding="utf-8"))
        return cls(*(tuple(map(_image, values[key])) for key in ("training", "selection")))


def identity(count: int) -> dict[int, int]:
    """The class map of data whose classes are the model's already."""
    return {index: index for index in range(count)}


def _mapped(image: ImageLabels, class_map: Mapping[int, int]) -> ImageLabels:
    known = np.array([int(index) in class_map for index in image.classes], dtype=np.bool_)
    classes = [class_map[int(index)] for index in image.classes[known]]
    return dataclasses.replace(
        image,
        boxes=image.boxes[known],
        classes=np.array(classes, dtype=np.int64),
        areas=image.areas[known],
        crowd=image.crowd[known],
    )


def _plain(image: ImageLabels) -> dict[str, Any]:
    return {
        "path": str(image.path),
        "width": image.width,
        "height": image.height,
        "boxes": image.boxes.tolist(),
        "classes": image.classes.tolist(),
        "areas": image.areas.tolist(),
        "crowd": image.crowd.tolist(),
    }


def _image(values: Mapping[str, Any]) -> ImageLabels:
    def array(key: str, dtype: type, *shape: int) -> Any:
        numbers: Sequence[Any] = values[key]
        return np.array(numbers, dtype=dtype).reshape(-1, *shape)

    return ImageLabels(
        path=Path(values["path"]),
        width=int(values["width"]),
        height=int(values["height"]),
        boxes=array("boxes", np.float64, 4),
        classes=array("classes", np.int64),
        areas=array("areas", np.float64),
        crowd=array("crowd", np.bool_),
    )

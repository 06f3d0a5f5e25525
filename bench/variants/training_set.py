"""The training images as Ultralytics' trainer reads them: a view of them in a folder of its own.

Ultralytics finds labels beside images, writes a cache beside the labels, and repairs images that
it takes for damaged. None of that may happen in the user's data set, so it is given links.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from deploymark.backends.base import UnavailableError
from deploymark.bench.data.labels import ImageLabels
from deploymark.bench.data.training_data import TrainingData

_JPEG_SUFFIXES = frozenset({".jpeg", ".jpg", ".mpo"})
_JPEG_END = b"\xff\xd9"
"""End of image, ITU-T T.81, table B.1."""


def training_images(
    data: TrainingData | None, *, images: int | None, batch: int, seed: int
) -> tuple[ImageLabels, ...]:
    """The images to train on: all of the train split, or ``images`` of them chosen by ``seed``.

    Raises UnavailableError where there is no train split, or fewer images than one ``batch``, or no
    box in them.
    """
    if data is None:
        raise UnavailableError(
            "the data set has no train split to train on",
            remedy="Give `data:` a data.yaml with a train split.",
        )
    chosen = data.training
    if images is not None and images < len(chosen):
        order = np.random.default_rng(seed).permutation(len(chosen))[:images]
        chosen = tuple(chosen[index] for index in sorted(order))
    if len(chosen) < batch:
        raise UnavailableError(
            f"{len(chosen)} images to train on are fewer than one batch of {batch}",
            remedy="Give a larger train split, or lower the step's `batch`."
            if len(chosen) == len(data.training)
            else "Raise the step's `images`, or lower its `batch`.",
        )
    if not any(len(_rows(image)) for image in chosen):
        raise UnavailableError(
            f"none of the {len(chosen)} images to train on has a box of the model's classes",
            remedy="Give a train split with labelled images.",
        )
    return chosen


def write_training_set(images: Sequence[ImageLabels], folder: Path) -> Path:
    """Lay out ``images`` and their labels under ``folder``, which is empty; returns the images'.

    ``images/train`` holds links, or copies where the system makes none, named by their index;
    ``labels/train`` the boxes in the text format of YOLO, regions of crowds left out.
    """
    places, labels = folder / "images" / "train", folder / "labels" / "train"
    places.mkdir(parents=True)
    labels.mkdir(parents=True)
    for index, image in enumerate(images):
        name = f"{index:07d}"
        _link(image.path, places / (name + image.path.suffix.lower()))
        text = "".join(
            f"{int(row[0])} {' '.join(f'{value:.9g}' for value in row[1:])}\n"
            for row in _rows(image)
        )
        (labels / f"{name}.txt").write_text(text, encoding="ascii")
    return places


def _rows(image: ImageLabels) -> list[list[float]]:
    """Class, centre-x, centre-y, width and height, shares of the image; boxes cut to the image."""
    size = np.array([image.width, image.height] * 2, dtype=np.float64)
    corners = np.clip(image.boxes / size, 0.0, 1.0)
    sides = corners[:, 2:] - corners[:, :2]
    kept = ~image.crowd & (sides > 0).all(axis=1)
    centres = (corners[:, 2:] + corners[:, :2]) / 2
    columns = np.column_stack((image.classes, centres, sides))
    rows: list[list[float]] = columns[kept].tolist()
    return rows


def _link(source: Path, target: Path) -> None:
    # Releases of Ultralytics differ in whether such a repair goes through a link.
    if source.suffix.lower() in _JPEG_SUFFIXES and not _is_complete(source):
        shutil.copyfile(source, target)
        return
    try:
        target.symlink_to(source.resolve())
    except OSError:
        shutil.copyfile(source, target)


def _is_complete(jpeg: Path) -> bool:
    with jpeg.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - len(_JPEG_END)))
        return file.read() == _JPEG_END

"""Label files that are not where they are looked for, and those that belong to no image."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from deploymark.bench.data.image_lists import is_file
from deploymark.bench.data.labels import label_path

_NO_LABELS = frozenset({"classes.txt", "labels.txt", "notes.txt", "readme.txt", "obj.names"})
"""Text files that annotation tools put beside label files."""


def labels_elsewhere(images: Sequence[Path]) -> list[Path]:
    """For images without a label file: a file of that name where it is not looked for.

    Beside the image, in ``labels`` beside it or above it, and in ``labels`` next to ``images``
    without the folder of the split.
    """
    found = []
    for image in images:
        wanted = label_path(image)
        place = next(
            (path for path in _other_places(image) if path != wanted and is_file(path)), None
        )
        if place is not None:
            found.append(place)
    return found


def _other_places(image: Path) -> Iterator[Path]:
    name = f"{image.stem}.txt"
    yield image.with_suffix(".txt")
    folder = image.parent
    yield folder / "labels" / name
    for above in list(folder.parents)[:2]:
        yield above / "labels" / name
        yield above / "labels" / folder.name / name
    yield label_path(image).with_suffix(".TXT")


def labels_without_image(images: Sequence[Path]) -> int:
    """Label files of the folders of these images that belong to no file beside the images."""
    folders: dict[Path, set[Path]] = {}
    for image in images:
        folders.setdefault(label_path(image).parent, set()).add(image.parent)
    count = 0
    for labels, pictures in folders.items():
        stems = {Path(name).stem for folder in pictures for name in _names(folder)}
        count += sum(
            name.endswith(".txt")
            and name.lower() not in _NO_LABELS
            and name.removesuffix(".txt") not in stems
            for name in _names(labels)
            if labels not in pictures
        )
    return count


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 - names alone, of folders with many thousands
    except OSError:
        return []

"""The data set files of Ultralytics: ``data.yaml`` and the lists of images that it names."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

from deploymark.bench.data.images import IMAGE_SUFFIXES
from deploymark.bench.errors import BadInputError
from deploymark.bench.yaml_source import YamlSource, load_yaml

Split = tuple[Path, ...]


@dataclasses.dataclass(frozen=True)
class DataYaml:
    """A ``data.yaml`` that was read. ``train`` and ``val`` are image files, sorted.

    ``train`` is None where the file names no such split.
    """

    names: tuple[str, ...]
    val: Split
    train: Split | None


def read_data_yaml(path: Path, default_names: tuple[str, ...] | None = None) -> DataYaml:
    """Read a ``data.yaml`` and list the images of its splits.

    ``path:`` is relative to the file; splits are relative to ``path:``, each a folder (searched
    through all its folders), a text file of images, one image, or a list of those.
    ``default_names`` are the class names where the file has no ``names``. Raises BadInputError with
    file and line.
    """
    source = load_yaml(path)
    names = _names(source, default_names)
    root = _root(source, path)
    val = next((key for key in ("val", "validation") if _given(source, key)), None)
    if val is None:
        raise source.error((), "names no `val` split", remedy="Add `val:`, the images to score on.")
    train = _split(source, "train", root) if _given(source, "train") else None
    return DataYaml(names=names, val=_split(source, val, root), train=train)


def train_split(path: Path) -> Split:
    """The images of the ``train`` split of a ``data.yaml``. Raises BadInputError if it has none."""
    source = load_yaml(path)
    if not isinstance(source.document, dict) or not _given(source, "train"):
        raise source.error((), "names no `train` split to calibrate on")
    return _split(source, "train", _root(source, path))


def list_images(place: Path, root: Path | None = None) -> Split:
    """The images of a folder, or of a text file with one path a line, sorted.

    A path in a text file is relative to that file, or else to ``root``. Raises BadInputError where
    there is nothing at ``place``, no image in it, or a listed image does not exist.
    """
    if place.is_dir():
        found = [
            file
            for file in place.rglob("*")
            if file.suffix.lower() in IMAGE_SUFFIXES
            and not any(part.startswith(".") for part in file.relative_to(place).parts)
        ]
        if not found:
            raise BadInputError(f"{place}: no image in this folder or below it")
    elif place.suffix.lower() in IMAGE_SUFFIXES and place.is_file():
        found = [place]
    elif place.is_file():
        found = _listed(place, root)
        if not found:
            raise BadInputError(f"{place}: lists no image")
    else:
        raise BadInputError(f"{place}: no such folder or file of images")
    return tuple(sorted(found))


def _listed(file: Path, root: Path | None) -> list[Path]:
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"{file}: is no list of images: {error}") from error
    found = []
    for number, line in enumerate(lines, 1):
        if not (word := line.strip()):
            continue
        bases = [file.parent, *([root] if root else [])]
        places = [_normal(base / word) for base in bases]
        image = next((place for place in places if place.is_file()), None)
        if image is None:
            raise BadInputError(f"{file}:{number}: no such image: {places[0]}")
        if image.suffix.lower() in IMAGE_SUFFIXES:
            found.append(image)
    return found


def _given(source: YamlSource, key: str) -> bool:
    return bool(source.document.get(key))


def _names(source: YamlSource, default: tuple[str, ...] | None) -> tuple[str, ...]:
    document = source.document
    if not isinstance(document, dict):
        raise source.error((), "is not a mapping of train, val and names")
    names: Any = document.get("names")
    if names is None and default is not None:
        return default
    if names is None:
        raise source.error(
            (), "has no `names`", remedy="Add `names:`, the class names in the order of the labels."
        )
    if isinstance(names, dict):
        if sorted(names, key=str) != sorted(range(len(names)), key=str):
            raise source.error(
                ("names",),
                f"its keys must be 0 to {len(names) - 1}, got {', '.join(map(str, names))}",
            )
        names = [names[index] for index in range(len(names))]
    if not isinstance(names, list) or not names:
        raise source.error(("names",), "must be a list of class names, or a mapping from 0 on")
    count = document.get("nc")
    if count is not None and count != len(names):
        raise source.error(("nc",), f"says {count} classes, but there are {len(names)} names")
    return tuple(str(name) for name in names)


def _root(source: YamlSource, file: Path) -> Path:
    given = source.document.get("path")
    if given is not None and not isinstance(given, str):
        raise source.error(("path",), f"must be a folder, got {given!r}")
    root = _normal(file.parent / (given or ""))
    if not root.is_dir():
        raise source.error(
            ("path",), f"no such folder: {root}", remedy="`path:` is relative to this file."
        )
    return root


def _split(source: YamlSource, key: str, root: Path) -> Split:
    value: Any = source.document[key]
    places = value if isinstance(value, list) else [value]
    if not all(isinstance(place, str) for place in places):
        raise source.error((key,), f"must be a path or a list of paths, got {value!r}")
    images: list[Path] = []
    for place in places:
        try:
            images += list_images(_place(root, place), root)
        except BadInputError as error:
            raise source.error((key,), error.message, remedy=error.remedy) from error
    return tuple(sorted(set(images)))


def _place(root: Path, value: str) -> Path:
    """A split's path. ``../train`` may mean ``train``: some exporters write it so.

    As ``ultralytics.data.utils.check_det_dataset``.
    """
    place = _normal(root / value)
    without = _normal(root / value.removeprefix("../"))
    return without if without.exists() and not place.exists() else place


def _normal(path: Path) -> Path:
    """Absolute, without ``..``; links are kept, because labels are found by an image's own path."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - Path.resolve() would follow links

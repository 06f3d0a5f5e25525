"""The data set files of Ultralytics: ``data.yaml``."""

from __future__ import annotations

import dataclasses
from functools import cached_property
from pathlib import Path, PureWindowsPath
from typing import Any

from deploymark.bench.data.image_lists import (
    IMAGE_SUFFIXES,
    Listing,
    is_folder,
    is_there,
    listing,
    normal,
    path_forms,
)
from deploymark.bench.data.known_sets import dataset_folders
from deploymark.bench.data.label_rows import BOX_COLUMNS, RowFormat
from deploymark.bench.errors import BadInputError
from deploymark.bench.yaml_source import YamlSource, did_you_mean, load_yaml

Split = tuple[Path, ...]

_SPLITS = ("train", "val", "test")


@dataclasses.dataclass(frozen=True)
class DataYaml:
    """A ``data.yaml`` that was read. ``listing`` has the images of ``val``."""

    names: tuple[str, ...]
    listing: Listing
    rows: RowFormat
    root: Path
    source: YamlSource

    @property
    def val(self) -> Split:
        """The images to score on, sorted."""
        return self.listing.images

    @cached_property
    def train(self) -> Split | None:
        """The images of ``train``, sorted; None where the file names no such split.

        Listed when asked for: raises BadInputError where the split is not there.
        """
        if not _given(self.source, "train"):
            return None
        return _split(self.source, "train", self.root).images


def read_data_yaml(path: Path, default_names: tuple[str, ...] | None = None) -> DataYaml:
    """Read a ``data.yaml`` and list the images of its ``val`` split.

    ``path:`` is relative to the file, or to where Ultralytics keeps data sets; splits are relative
    to ``path:``, each a folder (searched through all its folders), a text file of images, one
    image, or a list of those. ``default_names`` are the class names where the file has none.
    Raises BadInputError with file and line.
    """
    source = load_yaml(path)
    names = _names(source, default_names)
    root = _root(source, path)
    val = next((key for key in ("val", "validation") if _given(source, key)), None)
    if val is None:
        raise source.error((), "names no `val` split", remedy=_val_remedy(source))
    return DataYaml(
        names=names,
        listing=_split(source, val, root),
        rows=row_format(path, len(names)),
        root=root,
        source=source,
    )


def train_split(path: Path) -> Split:
    """The images of the ``train`` split of a ``data.yaml``. Raises BadInputError if it has none."""
    source = load_yaml(path)
    if not isinstance(source.document, dict) or not _given(source, "train"):
        raise source.error(
            (), "names no `train` split to calibrate on", remedy="Add `train:`, a folder of images."
        )
    return _split(source, "train", _root(source, path)).images


def row_format(path: Path, classes: int) -> RowFormat:
    """What the lines of the labels of a ``data.yaml`` may be, by all that it says of them."""
    source = load_yaml(path)
    if not isinstance(source.document, dict):
        return RowFormat(classes)
    return RowFormat(classes, _keypoint_columns(source), oriented=_oriented(source))


def _given(source: YamlSource, key: str) -> bool:
    return bool(source.document.get(key))


def _val_remedy(source: YamlSource) -> str:
    remedy = "Add `val:`, the images to score on"
    near = next((key for key in source.document if did_you_mean(key, ("val", "validation"))), None)
    others = [key for key in _SPLITS if _given(source, key)]
    if near is not None and near not in _SPLITS:
        return f"{remedy}: `{near}:` is not read, did you mean `val:`?"
    return f"{remedy}; it names {' and '.join(others)}." if others else f"{remedy}."


def _names(source: YamlSource, default: tuple[str, ...] | None) -> tuple[str, ...]:
    document = source.document
    if not isinstance(document, dict):
        raise source.error(
            (),
            "is not a mapping of train, val and names",
            remedy="Give an Ultralytics data.yaml, a COCO JSON or a folder of images.",
        )
    names: Any = document.get("names")
    if names is None and default is not None:
        return default
    if names is None:
        raise source.error(
            (), "has no `names`", remedy="Add `names:`, the class names in the order of the labels."
        )
    if isinstance(names, dict):
        by_index = {_whole(key): name for key, name in names.items()}
        if len(by_index) != len(names) or set(by_index) != set(range(len(names))):
            raise source.error(
                ("names",),
                f"its keys must be 0 to {len(names) - 1}, got {', '.join(map(str, names))}",
                remedy="Number the classes from 0, without a gap, as the labels do.",
            )
        names = [by_index[index] for index in range(len(names))]
    if not isinstance(names, list) or not names:
        raise source.error(
            ("names",),
            "must be a list of class names, or a mapping from 0 on",
            remedy="Write: names: [cat, dog]",
        )
    for index, name in enumerate(names):
        if name is None or isinstance(name, (list, dict)):
            raise source.error(
                ("names",),
                f"the name of class {index} is none: {name!r}",
                remedy="Give each class a name: names: [cat, dog]",
            )
    count = document.get("nc")
    if count is not None and _whole(count) != len(names):
        raise source.error(
            ("nc",),
            f"says {count} classes, but there are {len(names)} names",
            remedy="Correct `nc`, or delete it: the names are counted.",
        )
    return tuple(str(name) for name in names)


def _whole(value: object) -> int | None:
    """A whole number, or text that is one."""
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    text = value.strip() if isinstance(value, str) else ""
    return int(text) if text.isascii() and text.isdigit() else None


def _keypoint_columns(source: YamlSource) -> int | None:
    shape = source.document.get("kpt_shape")
    if shape is None:
        return None
    numbers = [_whole(value) for value in shape] if isinstance(shape, list) else []
    if len(numbers) != 2 or not numbers[0] or numbers[1] not in (2, 3):  # noqa: PLR2004 - x, y, v
        raise source.error(
            ("kpt_shape",),
            "must be [keypoints, 2 or 3]",
            remedy="Write: kpt_shape: [17, 3], or delete it where labels are boxes alone.",
        )
    return BOX_COLUMNS + numbers[0] * numbers[1]


def _oriented(source: YamlSource) -> bool:
    return str(source.document.get("task", "")).lower() == "obb"


def _root(source: YamlSource, file: Path) -> Path:
    given = source.document.get("path")
    if given is not None and not isinstance(given, str):
        raise source.error(
            ("path",), f"must be a folder, got {given!r}", remedy="Write: path: my/folder"
        )
    places = [normal(file.parent / form) for form in path_forms(given or "")]
    if given:
        places += [normal(folder / given) for folder in dataset_folders()]
    root = next((place for place in places if is_folder(place)), None)
    if root is None:
        looked = "" if len(places) == 1 else f" (nor {', '.join(map(str, places[1:]))})"
        raise source.error(
            ("path",),
            f"no such folder: {places[0]}{looked}",
            remedy="`path:` is relative to this file, or to where Ultralytics keeps data sets;"
            " delete it where the splits lie beside the file. Nothing is downloaded.",
        )
    return root


def _split(source: YamlSource, key: str, root: Path) -> Listing:
    value: Any = source.document[key]
    places = value if isinstance(value, list) else [value]
    if not places or not all(isinstance(place, str) for place in places):
        raise source.error((key,), f"must be a path or a list of paths, got {value!r}")
    found = Listing()
    for place in places:
        try:
            found = found.merged(listing(_place(root, place), root))
        except BadInputError as error:
            raise source.error(
                (key,), error.message, remedy=error.remedy or _path_remedy(place, root)
            ) from error
    return found


def _path_remedy(place: str, root: Path) -> str:
    """What mends a split that is not there."""
    if not place.isprintable():
        return f"In double quotes \\t and \\v are other characters: write {key_text(place)}."
    if "\\" in place or PureWindowsPath(place).drive:
        return (
            "It is a path of Windows: write a path of this machine, with /, relative to `path:`"
            f" ({root})."
        )
    suffixes = ", ".join(sorted(IMAGE_SUFFIXES))
    return f"Splits are relative to {root}: a folder with images ({suffixes}) or a list of them."


def key_text(place: str) -> str:
    r"""A path whose ``\t`` and the like were meant as a backslash and a letter, with ``/``."""
    meant = {"\t": "/t", "\v": "/v", "\n": "/n", "\r": "/r", "\b": "/b", "\f": "/f", "\a": "/a"}
    return "".join(meant.get(character, character) for character in place).replace("\\", "/")


def _place(root: Path, value: str) -> Path:
    """A split's path. ``../train`` may mean ``train``: some exporters write it so.

    As ``ultralytics.data.utils.check_det_dataset``.
    """
    forms = path_forms(value)
    tried = [normal(root / form) for form in forms]
    tried += [normal(root / form.removeprefix("../")) for form in forms]
    return next((place for place in tried if is_there(place)), tried[0])

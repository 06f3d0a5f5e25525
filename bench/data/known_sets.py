"""Data sets by Ultralytics' names (``coco8.yaml``): where they are kept, and what is none."""

from __future__ import annotations

import json
import os
import sys
from importlib.util import find_spec
from pathlib import Path

from deploymark.bench.data.image_lists import IMAGE_SUFFIXES, is_file, is_folder
from deploymark.bench.errors import BadInputError

_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar", ".bz2", ".xz")
_VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv")
_MODELS = (".pt", ".pth", ".onnx", ".engine", ".xml", ".tflite", ".mlpackage", ".torchscript")
_READ = "an Ultralytics data.yaml, a COCO JSON or a folder of images"


def dataset_folders() -> tuple[Path, ...]:
    """Where Ultralytics keeps data sets: the folder of its settings, ``datasets`` here and at home.

    The settings are those of ``ultralytics.utils.get_user_config_dir``.
    """
    found = []
    try:
        told = json.loads((_config_folder() / "settings.json").read_text(encoding="utf-8"))
        found.append(Path(told["datasets_dir"]).expanduser())
    except (OSError, ValueError, KeyError, TypeError, RuntimeError):
        pass  # no Ultralytics has been here
    found += [Path.cwd() / "datasets", _home() / "datasets"]
    return tuple(dict.fromkeys(found))


def _home() -> Path:
    return Path(os.path.expanduser("~"))  # noqa: PTH111 - Path.home() fails where there is none


def _config_folder() -> Path:
    if given := os.environ.get("YOLO_CONFIG_DIR"):
        return Path(os.path.expanduser(given)) / "Ultralytics"  # noqa: PTH111 - as _home
    if sys.platform == "win32":
        return _home() / "AppData" / "Roaming" / "Ultralytics"
    if sys.platform == "darwin":
        return _home() / "Library" / "Application Support" / "Ultralytics"
    return Path(os.environ.get("XDG_CONFIG_HOME", _home() / ".config")) / "Ultralytics"


def is_address(reference: str) -> bool:
    """Whether it names something on a network."""
    return "://" in reference


def named_set(reference: str) -> Path | None:
    """The ``data.yaml`` that a bare name such as ``coco8.yaml`` means, where it is here.

    Looked for in the installed Ultralytics, whose files say where the images lie, and in the
    folders of data sets. None where it is no bare name or is nowhere.
    """
    if not _is_bare(reference):
        return None
    name, stem = reference, Path(reference).stem
    places = [
        place
        for folder in dataset_folders()
        for place in (folder / stem / name, folder / stem / "data.yaml", folder / name)
    ]
    installed = find_spec("ultralytics")
    if installed is not None and installed.origin:
        package = Path(installed.origin).parent
        places.insert(0, package / "cfg" / "datasets" / name)
    return next((place for place in places if is_file(place)), None)


def _is_bare(reference: str) -> bool:
    yaml = reference.lower().endswith((".yaml", ".yml"))
    return yaml and not any(mark in reference for mark in ("/", "\\", ":"))


def check_no_address(reference: str) -> None:
    """Raise BadInputError for the address of a data set: nothing is downloaded."""
    if is_address(reference):
        raise BadInputError(
            f"{reference}: is an address, and nothing is downloaded",
            remedy=f"Download it, unpack it and give {_READ}.",
        )


def check_kind(path: Path) -> None:
    """Raise BadInputError for what is no data set, saying what it is and what to give instead."""
    suffix, shown = path.suffix.lower(), str(path)
    if is_folder(path):
        return
    if not is_file(path):
        raise BadInputError(f"{shown}: no such file or folder", remedy=_where(path))
    if suffix in _ARCHIVES:
        raise BadInputError(
            f"{shown}: is an archive", remedy=f"Unpack it and give what is in it: {_READ}."
        )
    if suffix in IMAGE_SUFFIXES or suffix in {".gif", ".heic"}:
        raise BadInputError(
            f"{shown}: is a single image",
            remedy=f"Give the folder of the images: {path.parent}. To measure mAP: a data.yaml.",
        )
    if suffix in _VIDEOS:
        raise BadInputError(
            f"{shown}: is a video", remedy=f"Save its frames as images and give {_READ}."
        )
    if suffix in _MODELS:
        raise BadInputError(
            f"{shown}: is a model or a label file, no data set", remedy=f"Give {_READ}."
        )
    if suffix == ".txt":
        raise BadInputError(
            f"{shown}: is a text file; a list of images names no classes",
            remedy=f"Write a data.yaml with `val: {path.name}` and `names: […]`, and give that.",
        )


def _where(path: Path) -> str:
    """Where a data set that is not there was looked for."""
    if path.suffix.lower() not in {".yaml", ".yml"}:
        return f"Give {_READ}."
    folders = ", ".join(str(folder / path.stem) for folder in dataset_folders())
    return (
        f"A set by a name of Ultralytics is looked for in {folders}; nothing is downloaded. Give"
        " the path of your data.yaml."
    )

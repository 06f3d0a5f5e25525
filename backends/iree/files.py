"""The files of an IREE artifact, checked before the runtime meets them."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from pathlib import Path

from deploymark.backends.base import Artifact, LoadError
from deploymark.backends.untrusted import ARCHIVE_ERRORS

FACTS_FILE = "model.json"
"""Shape and processor of the module: IREE keeps neither where the runtime can read it."""


@dataclasses.dataclass(frozen=True)
class Facts:
    """What ``model.json`` keeps beside a module. ``features`` are LLVM's names."""

    input_shape: tuple[int, ...]
    target_cpu: str
    features: tuple[str, ...]


def read_facts(artifact: Artifact) -> Facts:
    """What the export noted. Raises LoadError where a file is missing or no note of it."""
    path = artifact.folder / FACTS_FILE
    for file in (artifact.path, path):
        if not file.is_file():
            raise LoadError(f"there is no file {file}")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return Facts(
            tuple(int(size) for size in values["input_shape"]),
            str(values["target_cpu"]),
            tuple(str(feature) for feature in values["features"]),
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise LoadError(f"{path} is no note of an IREE module: {error}") from error


def require_whole(path: Path) -> None:
    """Raise LoadError unless the module's bytes are those that were written.

    The file is a ZIP archive besides, whose directory stands at its end and keeps checksums.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except ARCHIVE_ERRORS as error:
        raise LoadError(f"{path} is no IREE module, or it is cut off: {error}") from error
    if damaged is not None:
        raise LoadError(f"{path} is damaged: the checksum of its part {damaged} is another")

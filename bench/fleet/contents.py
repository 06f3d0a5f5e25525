"""What a device is sent: the files of a bundle and the agent's source, by their hashes."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import deploymark
from deploymark.bench.children.spawn import SOURCE_ROOT
from deploymark.bench.fleet.agent import SOURCE
from deploymark.bench.fleet.device import FOLDER_WORD, OUTPUT_WORD, Files
from deploymark.bench.records.files import sha256_of
from deploymark.bench.run.bundled import Unpacked


@dataclasses.dataclass(frozen=True)
class Contents:
    """Files by their paths on the device, and where each lies here, by its hash."""

    files: Files
    places: Mapping[str, Path]


@functools.cache
def source() -> Contents:
    """The source of the agent and its workers, as a package of its own."""
    face = Path(deploymark.__file__)
    name = deploymark.__name__
    paths = {f"{name}/{face.name}": face}
    for pattern in SOURCE:
        for path in SOURCE_ROOT.glob(pattern):
            paths[f"{name}/{path.relative_to(SOURCE_ROOT).as_posix()}"] = path
    hashes = {path: sha256_of(place) for path, place in paths.items()}
    return Contents(
        files={path: (hashes[path], place.stat().st_size) for path, place in paths.items()},
        places={hashes[path]: place for path, place in paths.items()},
    )


@dataclasses.dataclass(frozen=True)
class Call:
    """A worker's job as it reads on a device, the files it takes, and where its output belongs."""

    job: Mapping[str, Any]
    files: Files
    outputs: Mapping[str, Path]


class BundleFiles:
    """The files of an unpacked bundle, and jobs that name them."""

    def __init__(self, bundle: Unpacked) -> None:
        self._root = str(bundle.folder)
        self._files = {entry.path: (entry.sha256, entry.bytes) for entry in bundle.manifest.files}
        self.places = {
            entry.sha256: bundle.folder.joinpath(*entry.path.split("/"))
            for entry in bundle.manifest.files
        }

    def call(self, job: Mapping[str, Any]) -> Call:
        """A job of this machine's paths as a device does it.

        Paths below the bundle's folder are files that are sent, ``predictions`` is what comes back.
        """
        needed: dict[str, tuple[str, int]] = {}
        outputs = {}
        told = dict(job)
        if told.get("predictions"):
            place = Path(told["predictions"])
            outputs["predictions.npz"] = place
            told["predictions"] = f"{OUTPUT_WORD}/predictions.npz"
        return Call(self._told(told, needed), needed, outputs)

    def _told(self, value: Any, needed: dict[str, tuple[str, int]]) -> Any:
        if isinstance(value, Mapping):
            return {key: self._told(item, needed) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._told(item, needed) for item in value]
        if not isinstance(value, str) or not value.startswith(self._root):
            return value
        path = Path(value).relative_to(self._root).as_posix()
        needed |= {
            name: found
            for name, found in self._files.items()
            if name == path or name.startswith(f"{path}/")
        }
        return f"{FOLDER_WORD}/{path}"

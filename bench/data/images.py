"""Image files in the parent: their sizes, checking them, and preparing them for the workers."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deploymark.backends.inputs import InputSpec, Size
from deploymark.bench.data.pictures import ORIENTATION_TAG, TURNED
from deploymark.bench.errors import BadInputError
from deploymark.bench.records.files import sealed, sha256_of, unsealed, write_text_atomically
from deploymark.bench.room import require_room, writing
from deploymark.bench.worker.letterbox import Geometry, geometry, letterbox, open_image, read_rgb

if TYPE_CHECKING:
    import numpy.typing as npt

_FORMAT_VERSION = 2
"""Raised when the same image gives other pixels, so that older prepared images are made anew."""

Progress = Callable[[int, int], None]
"""Called with the number of images done and the number of all."""


@dataclasses.dataclass(frozen=True)
class PreparedImages:
    """Images at the size of the input on disk, for workers to map.

    ``path`` is a ``.npy`` of uint8 (n, height, width, 3), RGB; ``geometries`` tell where each image
    lies in it.
    """

    path: Path
    geometries: tuple[Geometry, ...]


def image_size(path: Path) -> tuple[int, int]:
    """Width and height of the upright image, from its header. Raises BadInputError."""
    try:
        with open_image(path) as image:
            width, height = image.size
            turned = image.getexif().get(ORIENTATION_TAG) in TURNED
    except Exception as error:
        raise _corrupt(path, error) from error
    return (height, width) if turned else (width, height)


def prepare_images(
    paths: Sequence[Path],
    spec: InputSpec,
    destination: Path,
    progress: Progress | None = None,
    elsewhere: Sequence[Path] = (),
) -> PreparedImages:
    """Bring all images to the size of ``spec``, into the ``.npy`` file ``destination``, in order.

    The geometries and the hash of all go to a ``.json`` beside it. Both appear in one step each;
    where they are there already (or ``elsewhere``), fit and are whole, they are used as they are:
    ``destination`` must depend on the images' content.
    Colours and values are as the files have them: ``to_input`` makes what a session takes.
    Raises BadInputError naming an image that cannot be decoded, StorageError without room.
    """
    for place in (destination, *elsewhere):
        if (ready := _load_prepared(len(paths), spec, place)) is not None:
            return ready
    shape = (len(paths), *spec.size, 3)
    partial = destination.with_name(f".{destination.name}.{os.getpid()}.partial")
    geometries: list[Geometry] = []
    with writing(destination):
        destination.parent.mkdir(parents=True, exist_ok=True)
        require_room(destination.parent, math.prod(shape), f"{len(paths)} prepared images")
        try:
            # No mapping: the first byte beyond a full disk would end this process by a signal.
            with partial.open("wb") as stream:
                header = {"descr": "|u1", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(stream, header)  # type: ignore[no-untyped-call]
                for index, path in enumerate(paths):
                    pixels, lies = letterboxed(path, spec)
                    stream.write(pixels.tobytes())
                    geometries.append(lies)
                    if progress:
                        progress(index + 1, len(paths))
            _write_geometries(destination, spec, geometries, sha256_of(partial))
            partial.replace(destination)
        finally:
            partial.unlink(missing_ok=True)
    return PreparedImages(path=destination, geometries=tuple(geometries))


def letterboxed(path: Path, spec: InputSpec) -> tuple[npt.NDArray[np.uint8], Geometry]:
    """One image as uint8 (height, width, 3) of ``spec.size``, RGB, and where it lies in it.

    Raises BadInputError where it cannot be decoded.
    """
    try:
        pixels = read_rgb(path)
    except Exception as error:
        raise _corrupt(path, error) from error
    return letterbox(pixels, spec), geometry(pixels.shape[1], pixels.shape[0], spec)


def _corrupt(path: Path, error: Exception) -> BadInputError:
    if isinstance(error, FileNotFoundError):
        return BadInputError(f"{path}: no such image")
    return BadInputError(
        f"{path}: cannot be decoded as an image: {error}",
        remedy="Replace the file, or take it out of the data set.",
    )


def _geometries_path(destination: Path) -> Path:
    return destination.with_suffix(".json")


def _write_geometries(
    destination: Path, spec: InputSpec, geometries: Sequence[Geometry], sha256: str
) -> None:
    values = {
        "version": _FORMAT_VERSION,
        "size": spec.size,
        "placed": spec.placed,
        "geometries": [dataclasses.astuple(place) for place in geometries],
        "sha256": sha256,
    }
    write_text_atomically(_geometries_path(destination), json.dumps(sealed(values)))


def _load_prepared(count: int, spec: InputSpec, destination: Path) -> PreparedImages | None:
    """What an earlier call left at ``destination``; None where nothing fits, or it is damaged."""
    try:
        known = unsealed(json.loads(_geometries_path(destination).read_text(encoding="utf-8")))
        size, rows = Size.of(known["size"]), known["geometries"]
        found = (known["version"], size, known["placed"], len(rows))
        wanted = (_FORMAT_VERSION, spec.size, spec.placed, count)
        shape = np.load(destination, mmap_mode="r").shape
        fits = found == wanted and shape == (count, *spec.size, 3)
        whole = fits and known["sha256"] == _sha256(destination, stamp(destination))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SyntaxError, EOFError):
        whole = False
    if not whole:
        sys.stderr.write(f"deploymark: note: {destination} is damaged or old: it is made anew\n")
        return None
    return PreparedImages(path=destination, geometries=tuple(Geometry(*row) for row in rows))


Stamp = tuple[int, int, int]


def stamp(path: Path) -> Stamp | None:
    """What changes when a file is replaced or written (bytes, time, inode); None if it is gone."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns, found.st_ino


@functools.lru_cache(maxsize=64)
def _sha256(path: Path, _stamp: Stamp | None) -> str:
    """SHA-256 of a file, read once a process while nobody writes it."""
    return sha256_of(path)

"""Image files in the parent: their sizes, checking them, and preparing them for the workers."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deploymark.backends.inputs import InputSpec, Size
from deploymark.bench.data.pictures import ORIENTATION_TAG, TURNED
from deploymark.bench.errors import BadInputError
from deploymark.bench.worker.letterbox import Geometry, geometry, letterbox, open_image, read_rgb

if TYPE_CHECKING:
    import numpy.typing as npt

_FORMAT_VERSION = 1
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
    paths: Sequence[Path], spec: InputSpec, destination: Path, progress: Progress | None = None
) -> PreparedImages:
    """Bring all images to the size of ``spec``, into the ``.npy`` file ``destination``, in order.

    The geometries go to a ``.json`` beside it. Both appear in one step each; where they are there
    already and fit, they are used as they are: ``destination`` must depend on the images' content.
    Colours and values are as the files have them: ``to_input`` makes what a session takes.
    Raises BadInputError naming an image that cannot be decoded.
    """
    if (ready := _load_prepared(len(paths), spec, destination)) is not None:
        return ready
    destination.parent.mkdir(parents=True, exist_ok=True)
    partial = destination.with_name(f".{destination.name}.{os.getpid()}.partial")
    geometries = []
    try:
        shape = (len(paths), *spec.size, 3)
        pixels: Any = np.lib.format.open_memmap(  # type: ignore[no-untyped-call]
            partial, mode="w+", dtype=np.uint8, shape=shape
        )
        for index, path in enumerate(paths):
            pixels[index], place = letterboxed(path, spec)
            geometries.append(place)
            if progress:
                progress(index + 1, len(paths))
        pixels.flush()
        del pixels
        _write_geometries(destination, spec, geometries)
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


def _write_geometries(destination: Path, spec: InputSpec, geometries: Sequence[Geometry]) -> None:
    values = {
        "version": _FORMAT_VERSION,
        "size": spec.size,
        "placed": spec.placed,
        "geometries": [dataclasses.astuple(place) for place in geometries],
    }
    path = _geometries_path(destination)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text(json.dumps(values), encoding="utf-8")
    partial.replace(path)


def _load_prepared(count: int, spec: InputSpec, destination: Path) -> PreparedImages | None:
    """What an earlier call left at ``destination``; None where there is nothing that fits.

    What was written before there were rectangles has a square's side as ``imgsz`` in place of
    ``size``, and was placed as the default has it.
    """
    try:
        known = json.loads(_geometries_path(destination).read_text(encoding="utf-8"))
        size = Size.of(known["size"] if "size" in known else known["imgsz"])
        placed = known.get("placed", InputSpec().placed)
        rows = known["geometries"]
        stored = np.load(destination, mmap_mode="r").shape
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    if known.get("version") != _FORMAT_VERSION or len(rows) != count:
        return None
    if (size, placed, stored) != (spec.size, spec.placed, (count, *spec.size, 3)):
        return None
    return PreparedImages(path=destination, geometries=tuple(Geometry(*row) for row in rows))

"""Image files in the parent: their sizes, checking them, and letterboxing them for the workers."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

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
    """Letterboxed images on disk, for workers to map.

    ``path`` is a ``.npy`` of uint8 (n, imgsz, imgsz, 3), RGB; ``geometries`` tell where each image
    lies in its square.
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
    paths: Sequence[Path], imgsz: int, destination: Path, progress: Progress | None = None
) -> PreparedImages:
    """Letterbox all images into the ``.npy`` file ``destination``, in order.

    The geometries go to a ``.json`` beside it. Both appear in one step each; where they are there
    already and fit, they are used as they are: ``destination`` must depend on the images' content.
    Raises BadInputError naming an image that cannot be decoded.
    """
    if (ready := _load_prepared(len(paths), imgsz, destination)) is not None:
        return ready
    destination.parent.mkdir(parents=True, exist_ok=True)
    partial = destination.with_name(f".{destination.name}.{os.getpid()}.partial")
    geometries = []
    try:
        shape = (len(paths), imgsz, imgsz, 3)
        pixels: Any = np.lib.format.open_memmap(  # type: ignore[no-untyped-call]
            partial, mode="w+", dtype=np.uint8, shape=shape
        )
        for index, path in enumerate(paths):
            pixels[index], place = letterboxed(path, imgsz)
            geometries.append(place)
            if progress:
                progress(index + 1, len(paths))
        pixels.flush()
        del pixels
        _write_geometries(destination, imgsz, geometries)
        partial.replace(destination)
    finally:
        partial.unlink(missing_ok=True)
    return PreparedImages(path=destination, geometries=tuple(geometries))


def letterboxed(path: Path, imgsz: int) -> tuple[npt.NDArray[np.uint8], Geometry]:
    """One image as uint8 (imgsz, imgsz, 3), RGB, and where it lies in it.

    Raises BadInputError where it cannot be decoded.
    """
    try:
        pixels = read_rgb(path)
    except Exception as error:
        raise _corrupt(path, error) from error
    return letterbox(pixels, imgsz), geometry(pixels.shape[1], pixels.shape[0], imgsz)


def _corrupt(path: Path, error: Exception) -> BadInputError:
    if isinstance(error, FileNotFoundError):
        return BadInputError(f"{path}: no such image")
    return BadInputError(
        f"{path}: cannot be decoded as an image: {error}",
        remedy="Replace the file, or take it out of the data set.",
    )


def _geometries_path(destination: Path) -> Path:
    return destination.with_suffix(".json")


def _write_geometries(destination: Path, imgsz: int, geometries: Sequence[Geometry]) -> None:
    rows = [dataclasses.astuple(place) for place in geometries]
    text = json.dumps({"version": _FORMAT_VERSION, "imgsz": imgsz, "geometries": rows})
    path = _geometries_path(destination)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def _load_prepared(count: int, imgsz: int, destination: Path) -> PreparedImages | None:
    """What an earlier call left at ``destination``; None where there is nothing that fits."""
    try:
        known = json.loads(_geometries_path(destination).read_text(encoding="utf-8"))
        rows = known["geometries"]
        stored = np.load(destination, mmap_mode="r").shape
    except (OSError, ValueError, KeyError):
        return None
    if known.get("version") != _FORMAT_VERSION or stored != (count, imgsz, imgsz, 3):
        return None
    if len(rows) != count:
        return None
    return PreparedImages(path=destination, geometries=tuple(Geometry(*row) for row in rows))

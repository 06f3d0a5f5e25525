"""What a backend asks before it runs a file: the runtime, the file, the device, the images' shape.

Each raises the error that becomes the cell's status, in the same words for every backend.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deploymark.backends.base import LoadError, LoadOptions, UnavailableError
from deploymark.backends.ends import batched
from deploymark.backends.foreign import fits


def runtime(module: str, remedy: str, *, called: str = "") -> Any:
    """The runtime's module, imported. ``called`` is its name in the message, if that is another.

    Raises UnavailableError.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UnavailableError(
            f"{called or module} cannot be imported: {error}", remedy=remedy
        ) from error


def require_file(path: Path) -> None:
    """Raise LoadError where there is no such file."""
    if not path.is_file():
        raise LoadError(f"there is no file {path}")


def require_cpu(backend: str, options: LoadOptions) -> None:
    """Raise UnavailableError where a backend of the processor alone is given another device."""
    if options.device != "cpu":
        raise UnavailableError(f"{backend} has no device {options.device!r} here")


def require_shape(path: Path, found: Sequence[Any], options: LoadOptions) -> None:
    """Raise LoadError where a file takes images of another shape, (batch, 3, height, width).

    In the order of ``options.spec``.

    A size that it leaves open (None, -1, a name) fits any, and one image is a batch of one.
    """
    wanted = options.spec.shape(options.input_shape)
    if not fits(batched(found), wanted):
        raise LoadError(f"{path} takes images of shape {tuple(found)}, not {wanted}")

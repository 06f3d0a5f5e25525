"""The words of a matrix file's axes, as types that check them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StrictBool, StrictInt

from deploymark.backends import registry
from deploymark.bench.yaml_source import did_you_mean

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
"""Names of models and variants: they become parts of cell ids and of file names."""

OPTION_PATTERN = r"^[A-Za-z][A-Za-z0-9_]{0,31}$"
"""Names of runtime options that are an axis, which become parts of cell ids."""

DEVICE_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.+-]{0,31}$"

_MAX_THREADS = 1024


def known_backend(name: str) -> str:
    """The name of a backend that is there. Raises ValueError with the names that are."""
    if name not in registry.specs():
        known = sorted(registry.specs())
        raise ValueError(
            f"unknown backend, expected one of {', '.join(known)}{did_you_mean(name, known)}"
        )
    return name


Name = Annotated[str, Field(pattern=NAME_PATTERN)]
BackendName = Annotated[str, Field(pattern=NAME_PATTERN), AfterValidator(known_backend)]
DeviceName = Annotated[str, Field(pattern=DEVICE_PATTERN)]
OptionName = Annotated[str, Field(pattern=OPTION_PATTERN)]
OptionValue = StrictBool | StrictInt | Name


def _threads(value: object) -> object:
    if value == "auto" or (type(value) is int and 1 <= value <= _MAX_THREADS):
        return value
    raise ValueError(f"expected 'auto' or a whole number from 1 to {_MAX_THREADS}")


Threads = Annotated[Literal["auto"] | int, BeforeValidator(_threads)]
MIN_IMGSZ, MAX_IMGSZ = 32, 4096
"""Sizes of an input, pixels a side."""

ImageSize = Annotated[int, Field(ge=MIN_IMGSZ, le=MAX_IMGSZ)]

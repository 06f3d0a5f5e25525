"""The words of a matrix file's axes, as types that check them."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    StrictBool,
    StrictInt,
    WithJsonSchema,
)

from deploymark.backends import registry
from deploymark.backends.inputs import Size
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
MemoryLimit = Annotated[int, Field(ge=16, le=1 << 20)]
"""A limit on the memory of a launch in MiB. A bare interpreter takes some 10."""

MIN_IMGSZ, MAX_IMGSZ = 32, 4096
"""Sizes of an input, pixels a side."""

SIZE_PATTERN = r"[0-9]{2,4}x[0-9]{2,4}"
"""A rectangle in one word: height, ``x``, width."""


def image_size(value: object) -> Size:
    """A size as a matrix or a command has it: 640, [384, 640], ``384x640``; the height first.

    Raises ValueError.
    """
    if isinstance(value, (list, tuple)):
        sides = list(value)
    elif isinstance(value, str) and (re.fullmatch(SIZE_PATTERN, value) or _is_whole(value)):
        sides = [int(word) for word in value.split("x")]
    else:
        sides = [value]
    fits = len(sides) in (1, 2) and all(
        type(side) is int and MIN_IMGSZ <= side <= MAX_IMGSZ for side in sides
    )
    if not fits or (isinstance(value, (list, tuple)) and len(sides) != 2):  # noqa: PLR2004 - two sides
        raise ValueError(
            f"expected whole numbers of pixels from {MIN_IMGSZ} to {MAX_IMGSZ}: 640 for a square, "
            "[384, 640] or 384x640 for height and width"
        )
    return Size.of(sides)


def _is_whole(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= len(str(MAX_IMGSZ))


def _written(size: Size) -> int | list[int]:
    return size.height if size.square else list(size)


_SIDE = {"type": "integer", "minimum": MIN_IMGSZ, "maximum": MAX_IMGSZ}

ImageSize = Annotated[
    Size,
    PlainValidator(image_size),
    PlainSerializer(_written),
    WithJsonSchema(
        {
            "anyOf": [
                _SIDE,
                {"type": "array", "items": _SIDE, "minItems": 2, "maxItems": 2},
                {"type": "string", "pattern": f"^{SIZE_PATTERN}$"},
            ]
        }
    ),
]


def _image_sizes(value: object) -> tuple[Size, ...]:
    """One size, or a list of any of them: a list is never one rectangle, as in ``imgsz``."""
    return tuple(map(image_size, value if isinstance(value, (list, tuple)) else (value,)))


ImageSizes = Annotated[
    tuple[Size, ...],
    PlainValidator(_image_sizes),
    PlainSerializer(lambda sizes: [_written(size) for size in sizes]),
    WithJsonSchema(
        {
            "anyOf": [
                _SIDE,
                {"type": "string", "pattern": f"^{SIZE_PATTERN}$"},
                {
                    "type": "array",
                    "items": {
                        "anyOf": [
                            _SIDE,
                            {"type": "array", "items": _SIDE, "minItems": 2, "maxItems": 2},
                            {"type": "string", "pattern": f"^{SIZE_PATTERN}$"},
                        ]
                    },
                },
            ]
        }
    ),
]
"""Sizes of which a cell has one."""

"""Paddle's exported program: a JSON text of its intermediate representation, and a file of weights.

Read without Paddle, so that a damaged file is told before the runtime meets it. The keys are those
of ``paddle/fluid/pir/serialize_deserialize/include/schema.h``.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from deploymark.backends.base import LoadError

OPERATOR, OUTPUTS, TYPE = "#", "O", "TT"
VALUE = "D"
PARAMETER = "p"

SIZES = {
    "f16": 2,
    "bf16": 2,
    "f32": 4,
    "f64": 8,
    "i8": 1,
    "ui8": 1,
    "i16": 2,
    "i32": 4,
    "i64": 8,
    "bool": 1,
}
"""Bytes of an element, by the type's name in the file."""

SHORT_TYPES = {"ui8": "u8"}

VERSION_BYTES, LEVELS_BYTES, LENGTH_BYTES = 4, 8, 4
"""A weight's head: a version, a count of levels (0), a version, the length of its description
(``paddle/phi/core/framework/dense_tensor_serialize.cc``)."""

WEIGHTLESS = frozenset({"data", "fetch", "combine", "split", "full", "full_int_array"})
"""Operators that hand values over, or make constants."""


@dataclasses.dataclass(frozen=True)
class Value:
    """A tensor of a program: ``element`` like ``f32``, -1 in ``shape`` for a size left open."""

    element: str
    shape: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Program:
    """Inputs and outputs, the weights' tensors, and operators by the type of their first result."""

    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    weights: tuple[Value, ...]
    operators: Mapping[str, int]


def read_program(path: Path) -> Program:
    """A program's file. Raises LoadError where there is none, or it is no program."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise LoadError(f"there is no file {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise LoadError(f"{path} cannot be read: {error}") from error
    try:
        return _program(json.loads(text))
    except (
        ValueError,
        KeyError,
        TypeError,
        IndexError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise LoadError(
            f"{path} is no program of Paddle, or it is cut off: {type(error).__name__}: {error}"
        ) from error


def _program(content: Any) -> Program:
    inputs: list[Value] = []
    outputs: list[Value] = []
    weights: list[Value] = []
    operators: dict[str, int] = {}
    for operator in _operators(content["program"]):
        # "1.conv2d": the number stands for a dialect that the file names elsewhere.
        name = str(operator[OPERATOR]).partition(".")[2] or str(operator[OPERATOR])
        results = operator.get(OUTPUTS) or []
        results = results if isinstance(results, list) else [results]
        value = next((_value(result[TYPE]) for result in results if _is_tensor(result)), None)
        if value is None:
            continue
        if name == PARAMETER:
            weights.append(value)
        elif name == "data":
            inputs.append(value)
        elif name == "fetch":
            outputs.append(value)
        if name not in WEIGHTLESS | {PARAMETER}:
            key = f"{name}:{SHORT_TYPES.get(value.element, value.element)}"
            operators[key] = operators.get(key, 0) + 1
    return Program(tuple(inputs), tuple(outputs), tuple(weights), dict(sorted(operators.items())))


def _operators(program: Any) -> Iterator[Any]:
    for region in program["regions"]:
        for block in region["blocks"]:
            yield from block["ops"]


def _is_tensor(result: Any) -> bool:
    return str(result[TYPE][OPERATOR]).endswith("_dtensor")


def _value(kind: Any) -> Value:
    """A dense tensor's type: its element's type, its shape, and more that is not asked for."""
    element, shape = kind[VALUE][:2]
    return Value(str(element[OPERATOR]).rpartition("t_")[2], tuple(int(size) for size in shape))


def require_whole(path: Path, program: Program) -> None:
    """Raise LoadError unless the file of weights holds the program's weights and nothing else.

    The runtime ends the process, or reads beyond the end, where it does not.
    """
    if not path.is_file():
        raise LoadError(f"there is no file {path}")
    expected = sorted(
        SIZES.get(value.element, 0) * math.prod(value.shape) for value in program.weights
    )
    size = path.stat().st_size
    lengths: list[int] = []
    with path.open("rb") as file:
        place = 0
        while place < size:
            head = file.read(VERSION_BYTES + LEVELS_BYTES + VERSION_BYTES + LENGTH_BYTES)
            length = int.from_bytes(head[-LENGTH_BYTES:], "little")
            description = file.read(length) if length < size else b""
            if any(head[: VERSION_BYTES + LEVELS_BYTES]) or len(description) != length:
                break
            bytes_ = _bytes_of(description)
            lengths.append(bytes_)
            if bytes_ > size:
                break
            place = file.seek(bytes_, 1)
    if place != size or sorted(lengths) != expected:
        raise LoadError(f"{path} does not hold the weights of its program, or it is cut off")


def _bytes_of(description: bytes) -> int:
    """Bytes of a weight from its ``TensorDesc``: its type's number, and its sizes."""
    from deploymark.backends.onnx.wire import fields

    element, sizes = 0, []
    try:
        for number, value in fields(memoryview(description)):
            if number == 1 and isinstance(value, int):
                element = value
            elif number == 2 and isinstance(value, int):  # noqa: PLR2004 - TensorDesc.dims
                sizes.append(value)
    except (ValueError, IndexError):
        return 0
    return DESCRIBED_SIZES.get(element, 0) * math.prod(sizes)


DESCRIBED_SIZES = {0: 1, 1: 2, 2: 4, 3: 8, 4: 2, 5: 4, 6: 8, 20: 1, 21: 1, 22: 2}
"""Bytes of an element by ``VarType.Type`` (``paddle/phi/core/framework/framework.proto``)."""

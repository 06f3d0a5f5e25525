"""What an ONNX file says of its inputs, outputs and maker, read from its bytes without ``onnx``.

Protocol Buffers' wire format is a row of (field number, value); the few fields wanted here are
numbered as in ``onnx/onnx.proto``. For runtimes that open ONNX files but do not tell their shapes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path

from deploymark.backends.base import LoadError
from deploymark.backends.ends import End

MODEL_GRAPH, MODEL_METADATA = 7, 14
GRAPH_INITIALIZER, GRAPH_INPUT, GRAPH_OUTPUT = 5, 11, 12
INITIALIZER_NAME = 8
VALUE_NAME, VALUE_TYPE = 1, 2
TYPE_TENSOR = 1
TENSOR_ELEMENT, TENSOR_SHAPE = 1, 2
SHAPE_SIZE = 1
SIZE_VALUE = 1
ENTRY_KEY, ENTRY_VALUE = 1, 2

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Wire types of ``protobuf.dev/programming-guides/encoding``."""

LONGEST_SHIFT = 63
"""Of an integer's last 7 bits: it has 64 bits at most."""

FLOAT, FLOAT16 = 1, 10
"""``TensorProto.DataType``."""

ELEMENTS = {1: "float32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 10: "float16"}
"""``TensorProto.DataType`` by NumPy's names."""


@dataclasses.dataclass(frozen=True)
class Tensor:
    """One input or output. ``shape`` has None where a size is left open."""

    name: str
    element: int
    shape: tuple[int | None, ...]


@dataclasses.dataclass(frozen=True)
class Header:
    """What a file says of itself. ``inputs`` are those that no initializer fills."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    metadata: dict[str, str]


def ends(tensors: Iterable[Tensor]) -> list[End]:
    """Inputs or outputs as every format tells them."""
    return [End(item.name, item.shape, ELEMENTS.get(item.element, "")) for item in tensors]


def read_header(path: Path) -> Header:
    """Inputs, outputs and metadata of an ONNX file.

    Raises LoadError where there is no file, or its bytes are no ONNX model.
    """
    try:
        data = memoryview(path.read_bytes())
    except FileNotFoundError:
        raise LoadError(f"there is no file {path}") from None
    except OSError as error:
        raise LoadError(f"{path} cannot be read: {error}") from error
    try:
        return _header(data)
    except (ValueError, IndexError, TypeError) as error:
        raise LoadError(
            f"{path} is no ONNX model, or it is cut off: {error}",
            remedy="Fetch it again, or export it anew.",
        ) from error


def _header(data: memoryview) -> Header:
    inputs: list[Tensor] = []
    outputs: list[Tensor] = []
    metadata: dict[str, str] = {}
    filled: set[str] = set()
    graphs = 0
    for number, value in fields(data):
        if number == MODEL_GRAPH:
            graphs += 1
            for inner, part in fields(_message(value)):
                if inner == GRAPH_INITIALIZER:
                    filled.update(
                        _text(name)
                        for field, name in fields(_message(part))
                        if field == INITIALIZER_NAME
                    )
                elif inner == GRAPH_INPUT:
                    inputs.append(_tensor(_message(part)))
                elif inner == GRAPH_OUTPUT:
                    outputs.append(_tensor(_message(part)))
        elif number == MODEL_METADATA:
            entry = {field: _text(text) for field, text in fields(_message(value))}
            metadata[entry.get(ENTRY_KEY, "")] = entry.get(ENTRY_VALUE, "")
    if graphs != 1 or not outputs:
        raise ValueError("it holds no graph")
    return Header(
        tuple(tensor for tensor in inputs if tensor.name not in filled), tuple(outputs), metadata
    )


def fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Field numbers and values of one message. Raises ValueError where the bytes are none."""
    place = 0
    while place < len(data):
        tag, place = _varint(data, place)
        number, wire = tag >> 3, tag & 7
        if wire == VARINT:
            value, place = _varint(data, place)
            yield number, value
            continue
        if wire == BYTES:
            size, place = _varint(data, place)
        elif wire in (FIXED32, FIXED64):
            size = 4 if wire == FIXED32 else 8
        else:
            raise ValueError(f"wire type {wire} at byte {place}")
        if place + size > len(data):
            raise ValueError(f"{place + size - len(data)} bytes are missing")
        yield number, data[place : place + size]
        place += size


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    """An integer of 7 bits a byte, and the place behind it."""
    value = shift = 0
    while True:
        byte = data[place]
        place += 1
        if shift > LONGEST_SHIFT:
            raise ValueError(f"a number of more than 64 bits at byte {place}")
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - the highest bit says that more follow
            return value, place
        shift += 7


def _message(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise TypeError("a number where a message belongs")
    return value


def _text(value: int | memoryview) -> str:
    return bytes(_message(value)).decode("utf-8")


def _tensor(data: memoryview) -> Tensor:
    name, element = "", 0
    shape: list[int | None] = []
    for number, value in fields(data):
        if number == VALUE_NAME:
            name = _text(value)
        elif number == VALUE_TYPE:
            for kind, tensor in fields(_message(value)):
                if kind != TYPE_TENSOR:
                    continue
                for field, part in fields(_message(tensor)):
                    if field == TENSOR_ELEMENT and isinstance(part, int):
                        element = part
                    elif field == TENSOR_SHAPE:
                        shape += [
                            _size(_message(size))
                            for inner, size in fields(_message(part))
                            if inner == SHAPE_SIZE
                        ]
    return Tensor(name, element, tuple(shape))


def _size(data: memoryview) -> int | None:
    for number, value in fields(data):
        if number == SIZE_VALUE and isinstance(value, int):
            return value
    return None

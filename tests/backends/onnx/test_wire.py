from __future__ import annotations

from pathlib import Path

import pytest

from deploymark.backends.base import LoadError
from deploymark.backends.onnx import wire as onnx_wire


def varint(value: int) -> bytes:
    last = bytes([value & 0x7F | (0x80 if value > 0x7F else 0)])
    return last + varint(value >> 7) if value > 0x7F else last


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def part(field: int, *content: bytes | str) -> bytes:
    data = b"".join(one.encode() if isinstance(one, str) else one for one in content)
    return varint(field << 3 | 2) + varint(len(data)) + data


def tensor(name: str, *sizes: int | str) -> bytes:
    """A ``ValueInfoProto`` of float32."""
    shape = [part(1, number(1, size) if isinstance(size, int) else part(2, size)) for size in sizes]
    return part(1, name) + part(2, part(1, number(1, onnx_wire.FLOAT), part(2, *shape)))


def model(*graph: bytes) -> bytes:
    return number(1, 8) + part(7, *graph) + part(14, part(1, "names"), part(2, "{0: 'a'}"))


def test_inputs_outputs_and_notes_are_read(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(
        model(
            part(5, number(2, 1), part(8, "weight")),
            part(11, tensor("images", "batch", 3, 320, 640)),
            part(11, tensor("weight", 16)),
            part(12, tensor("output0", 1, 84, 2100)),
        )
    )
    header = onnx_wire.read_header(path)
    assert header.inputs == (onnx_wire.Tensor("images", onnx_wire.FLOAT, (None, 3, 320, 640)),)
    assert header.outputs == (onnx_wire.Tensor("output0", onnx_wire.FLOAT, (1, 84, 2100)),)
    assert header.metadata == {"names": "{0: 'a'}"}


def test_numbers_of_fixed_width_are_passed_over() -> None:
    message = memoryview(b"\x0d1234" + b"\x1112345678" + number(3, 300))
    assert [
        (field, bytes(value) if isinstance(value, memoryview) else value)
        for field, value in onnx_wire.fields(message)
    ] == [(1, b"1234"), (2, b"12345678"), (3, 300)]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no model " * 99,
        model(part(12, tensor("output0", 1, 84, 2100)))[:-9],
        model(part(11, tensor("images", 1, 3, 64, 64))),
        number(7, 1),
        b"\x08\xff",
    ],
    ids=["empty", "garbage", "cut off", "no output", "a number as graph", "an endless number"],
)
def test_other_bytes_are_a_load_error(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    with pytest.raises(LoadError, match=r"model\.onnx is no ONNX model"):
        onnx_wire.read_header(path)


def test_a_missing_file_is_a_load_error(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="there is no file"):
        onnx_wire.read_header(tmp_path / "model.onnx")

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deploymark.backends.base import LoadError
from deploymark.backends.onnx import content as onnx_content


def content(
    *operators: str, float32: int = 0, float16: int = 0, bfloat16: int = 0
) -> onnx_content.Content:
    return onnx_content.Content(
        dict.fromkeys(operators, 1), {1: float32, 10: float16, 16: bfloat16, 7: 9999}, ()
    )


@pytest.mark.parametrize(
    ("found", "precision"),
    [
        (content("Conv", float32=10), "fp32"),
        (content("Conv", "Cast", float32=10, float16=90), "fp16"),
        (content("Conv", float32=10, bfloat16=90), "bf16"),
        (content("Conv", "QuantizeLinear", "DequantizeLinear", float32=10), "int8"),
        (content("QLinearConv", float32=10), "int8"),
        (content("ConvInteger", "DynamicQuantizeLinear", float32=10), "int8-dynamic"),
        (content("Conv", "DequantizeLinear", float32=10), "int8-weights"),
        (content("Conv"), None),
    ],
)
def test_operators_and_weights_tell_the_precision(
    found: onnx_content.Content, precision: str | None
) -> None:
    assert found.precision == precision


@pytest.mark.heavy
@pytest.mark.parametrize("beside", [False, True])
def test_a_file_is_read_without_its_library(tmp_path: Path, *, beside: bool) -> None:
    onnx: Any = pytest.importorskip("onnx")
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    weights = [
        numpy_helper.from_array(np.ones((8, 3, 3, 3), np.float32), "a"),
        numpy_helper.from_array(np.ones((2, 5), np.float16), "b"),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "a"], ["y"]), helper.make_node("Relu", ["y"], ["z"])],
        "g",
        [value("x", 1, (1, 3, 8, 8))],
        [value("z", 1, None)],
        weights,
    )
    model = helper.make_model(graph)
    path = tmp_path / "m.onnx"
    if beside:
        onnx.save(model, path, save_as_external_data=True, location="m.bin", size_threshold=0)
    else:
        onnx.save(model, path)
    found = onnx_content.read_content(path)
    assert found.operators == {"Conv": 1, "Relu": 1}
    assert found.weights == {1: 216, 10: 10}
    assert found.external == (("m.bin",) if beside else ())
    files = onnx_content.files_of(path, found)
    assert [file.name for file in files] == (["m.onnx", "m.bin"] if beside else ["m.onnx"])


@pytest.mark.parametrize(
    ("name", "said"), [("gone.bin", "there is no file"), ("../m.bin", "outside of its folder")]
)
def test_weights_must_lie_beside_the_file(name: str, said: str, tmp_path: Path) -> None:
    found = onnx_content.Content({}, {}, (name,))
    with pytest.raises(LoadError, match=said):
        onnx_content.files_of(tmp_path / "m.onnx", found)


@pytest.mark.parametrize("data", [b"no model " * 9, b"\x3a\x7f"])
def test_other_bytes_are_a_load_error(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    with pytest.raises(LoadError, match="cannot be read"):
        onnx_content.read_content(path)
    path.write_bytes(data)
    with pytest.raises(LoadError, match="is no ONNX model"):
        onnx_content.read_content(path)

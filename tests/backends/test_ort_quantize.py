from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends import ort_calibrate, ort_quantize
from backends.base import Detector, ExportError, ExportRequest, UnsupportedError


def test_every_default_is_explicit() -> None:
    assert ort_quantize.resolve({}) == {
        "calibration": "minmax",
        "activations": "uint8",
        "per_channel": True,
        "reduce_range": "first_layer",
        "decode": "float",
        "calibration_images": None,
        "float_layers": [],
        "max_drop": None,
        "search_images": 16,
    }


def test_given_options_win() -> None:
    given = {
        "calibration": "entropy",
        "per_channel": False,
        "max_drop": 0.01,
        "float_layers": ["a"],
    }
    assert ort_quantize.resolve(given) == ort_quantize.resolve({}) | given


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"bits": 4}, "no option bits"),
        ({"calibration": "magic"}, "minmax, entropy, percentile, got 'magic'"),
        ({"per_channel": 1}, "True, False, got 1"),
        ({"reduce_range": True}, "first_layer, all, none, got True"),
        ({"calibration_images": 0}, "null or a whole number from 1, got 0"),
        ({"search_images": None}, "a whole number from 1, got None"),
        ({"float_layers": "model.0"}, "a list of names of layers, got 'model.0'"),
        ({"max_drop": 1.0}, "null or a number between 0 and 1, got 1.0"),
        ({"max_drop": True}, "got True"),
    ],
)
def test_other_options_and_values_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UnsupportedError, match=said):
        ort_quantize.resolve(options)


def images(count: int) -> list[Any]:
    return [np.full((1, 3, 2, 2), index, np.float32) for index in range(count)]


def test_batches_hold_every_image_and_are_filled_from_the_first() -> None:
    found = ort_quantize.batches(images(5), 4)
    assert [batch.shape for batch in found] == [(4, 3, 2, 2)] * 2
    assert [batch[:, 0, 0, 0].tolist() for batch in found] == [[0, 1, 2, 3], [4, 0, 1, 2]]
    assert [batch[0, 0, 0, 0] for batch in ort_quantize.batches(images(3), 1)] == [0, 1, 2]


def test_no_images_are_an_error() -> None:
    with pytest.raises(ExportError, match="calibration images"):
        ort_quantize.batches([], 1)


@pytest.mark.heavy
def test_first_layers_are_looked_for_behind_operators_without_weights() -> None:
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    weights = [
        helper.make_tensor(name, onnx.TensorProto.FLOAT, (1,), [1.0]) for name in ("s", "a", "b")
    ]
    graph = helper.make_graph(
        [
            helper.make_node("Div", ["images", "s"], ["scaled"]),
            helper.make_node("Conv", ["scaled", "a"], ["x"]),
            helper.make_node("Relu", ["scaled"], ["y"]),
            helper.make_node("Conv", ["x", "b"], ["z"]),
        ],
        "g",
        [helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, (1, 3, 4, 4))],
        [helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, None)],
        weights,
    )
    assert ort_calibrate.first_layers(graph) == ["a"]


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("options", "first", "second"),
    [
        ({}, 64, 127),
        ({"reduce_range": "all"}, 64, 64),
        ({"reduce_range": "none"}, 127, 127),
        ({"calibration": "percentile", "per_channel": False}, 64, 127),
        ({"calibration": "entropy", "activations": "int8"}, 64, 127),
    ],
)
def test_weights_get_the_bits_that_options_say(
    options: dict[str, Any], first: int, second: int, tmp_path: Path
) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    random = np.random.default_rng(0)
    initializers = [
        onnx.numpy_helper.from_array(random.normal(size=shape).astype(np.float32), name)
        for name, shape in (("first", (4, 3, 3, 3)), ("second", (4, 4, 3, 3)))
    ]
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Conv", ["images", "first"], ["x"], "/a/Conv"),
            onnx.helper.make_node("Relu", ["x"], ["r"], "/a/Relu"),
            onnx.helper.make_node("Conv", ["r", "second"], ["y"], "/b/Conv"),
            onnx.helper.make_node("Conv", ["y", "second"], ["output0"], "/c/Conv"),
        ],
        "g",
        [value("images", onnx.TensorProto.FLOAT, (2, 3, 16, 16))],
        [value("output0", onnx.TensorProto.FLOAT, (2, 4, 10, 10))],
        initializers,
    )
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8
    )
    onnx.save(model, tmp_path / "fp32.onnx")
    images = [random.random((1, 3, 16, 16), np.float32) for _ in range(5)]
    request = ExportRequest(
        model=lambda: None,
        detector=Detector(names=()),
        precision="int8",
        device="cpu",
        imgsz=16,
        batch=2,
        folder=tmp_path,
        calibration=lambda: images,
        float_nodes=(r"^/c/.*",),
    )
    resolved = ort_quantize.resolve(options)
    notes = ort_quantize.quantize(
        tmp_path / "fp32.onnx", tmp_path / "int8.onnx", tmp_path, request, resolved
    )
    assert notes == ()
    quantized = onnx.load(tmp_path / "int8.onnx").graph
    largest = {
        tensor.name: int(np.abs(onnx.numpy_helper.to_array(tensor).astype(int)).max())
        for tensor in quantized.initializer
        if tensor.name.endswith("_quantized")
    }
    assert largest == {"first_quantized": first, "second_quantized": second}
    feeding = {output: node.op_type for node in quantized.node for output in node.output}
    fed = {node.name: feeding.get(node.input[0]) for node in quantized.node}
    assert fed["/b/Conv"] == "DequantizeLinear"
    kinds = {
        tensor.data_type for tensor in quantized.initializer if tensor.name.endswith("zero_point")
    }
    assert (onnx.TensorProto.UINT8 in kinds) is (resolved["activations"] == "uint8")

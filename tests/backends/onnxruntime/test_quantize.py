from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deploymark.backends.base import Detector, ExportError, ExportRequest, UnsupportedError
from deploymark.backends.inputs import Size
from deploymark.backends.onnxruntime import calibrate as ort_calibrate
from deploymark.backends.onnxruntime import quantize as ort_quantize


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
        imgsz=Size.of(16),
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


@pytest.fixture
def spoilt_by_its_decode(tmp_path: Path) -> ExportRequest:
    """An INT8 export of ``head.onnx`` beside it, whose boxes and scores share a tensor at last.

    (1, 3, 8, 8) to (1, 6, 64): boxes side by side on a grid, scores of two classes. Named as
    ``write_onnx`` names a detector's nodes.
    """
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    helper, random = onnx.helper, np.random.default_rng(0)
    y, x = np.mgrid[160:2560:320, 160:2560:320].reshape(2, 64)
    grid = np.stack([x, y, np.full(64, 320), np.full(64, 320)])[None]
    weights = {
        "first": random.normal(0, 0.5, (16, 3, 3, 3)).astype(np.float32),
        "second": random.normal(0, 0.12, (16, 16, 3, 3)).astype(np.float32),
        "third": random.normal(0, 0.5, (6, 16, 3, 3)).astype(np.float32),
        "shape": np.array([1, 6, 64]),
        "parts": np.array([4, 2]),
        "grid": grid.astype(np.float32),
    }
    pads = {"pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Conv", ["images", "first"], ["a"], "/model.0/conv/Conv", **pads),
        helper.make_node("Relu", ["a"], ["b"], "/model.0/act/Relu"),
        helper.make_node("Conv", ["b", "second"], ["c"], "/model.1/cv1/conv/Conv", **pads),
        helper.make_node("Relu", ["c"], ["d"], "/model.1/cv1/act/Relu"),
        helper.make_node("Conv", ["d", "third"], ["e"], "/model.1/cv2/Conv", **pads),
        helper.make_node("Reshape", ["e", "shape"], ["f"], "/model.1/Reshape"),
        helper.make_node("Split", ["f", "parts"], ["g", "h"], "/model.1/Split", axis=1),
        helper.make_node("Add", ["g", "grid"], ["i"], "/model.1/Add"),
        helper.make_node("Sigmoid", ["h"], ["j"], "/model.1/Sigmoid"),
        helper.make_node("Concat", ["i", "j"], ["output0"], "/model.1/Concat", axis=1),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [value("images", onnx.TensorProto.FLOAT, (1, 3, 8, 8))],
        [value("output0", onnx.TensorProto.FLOAT, (1, 6, 64))],
        [onnx.numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "head.onnx")
    images = [random.random((1, 3, 8, 8), np.float32) for _ in range(6)]
    return ExportRequest(
        model=lambda: None,
        detector=Detector(names=("a", "b")),
        precision="int8",
        device="cpu",
        imgsz=Size.of(8),
        batch=1,
        folder=tmp_path,
        calibration=lambda: images,
        float_nodes=(r"^/model\.1/(?!cv[12]).*",),
    )


def quantized(request: ExportRequest, **options: Any) -> tuple[tuple[str, ...], set[str]]:
    """The notes on an export of ``head.onnx``, and the nodes whose output is rounded."""
    import onnx

    target = request.folder / "int8.onnx"
    notes = ort_quantize.quantize(
        request.folder / "head.onnx", target, request.folder, request, ort_quantize.resolve(options)
    )
    nodes = onnx.load(target).graph.node
    rounded = {node.input[0] for node in nodes if node.op_type == "QuantizeLinear"}
    return notes, {node.name for node in nodes if not rounded.isdisjoint(node.output)}


CONVOLUTIONS = {"/model.0/conv/Conv", "/model.1/cv1/conv/Conv", "/model.1/cv2/Conv"}


@pytest.mark.heavy
def test_layers_are_kept_in_float_by_name(spoilt_by_its_decode: ExportRequest) -> None:
    notes, rounded = quantized(spoilt_by_its_decode)
    assert notes == ()
    assert rounded & CONVOLUTIONS == CONVOLUTIONS
    notes, rounded = quantized(spoilt_by_its_decode, float_layers=["model.1.cv*"])
    assert notes == ("kept in float by float_layers: model.1.cv* (2 layers)",)
    assert rounded & CONVOLUTIONS == {"/model.0/conv/Conv"}
    with pytest.raises(ExportError, match=r"'model\.1\.cv3'"):
        quantized(spoilt_by_its_decode, float_layers=["model.1.cv3"])


@pytest.mark.heavy
def test_fewer_images_calibrate(spoilt_by_its_decode: ExportRequest) -> None:
    seen: list[Any] = []

    def scales(count: int | None) -> list[bytes]:
        import onnx

        quantized(spoilt_by_its_decode, calibration_images=count)
        graph = onnx.load(spoilt_by_its_decode.folder / "int8.onnx").graph
        return [x.SerializeToString() for x in graph.initializer if x.name.endswith("_scale")]

    seen = [scales(count) for count in (None, 6, 1)]
    assert seen[0] == seen[1]
    assert seen[0] != seen[2]
    with pytest.raises(ExportError, match="asks for 7, and 6 were given"):
        scales(7)


@pytest.mark.heavy
def test_the_search_keeps_the_layer_that_spoils_all_in_float(
    spoilt_by_its_decode: ExportRequest, capfd: pytest.CaptureFixture[str]
) -> None:
    _, rounded = quantized(spoilt_by_its_decode, decode="int8")
    assert "/model.1/Concat" in rounded
    assert not capfd.readouterr().err
    (note,), rounded = quantized(spoilt_by_its_decode, decode="int8", max_drop=0.3)
    assert note.startswith("kept in float by the search: model.1.Concat (1 of 7 layers)")
    assert "agreement with FP32 0.000 -> 0." in note
    assert note.endswith("over 6 images, limit 0.700")
    assert "/model.1/Concat" not in rounded
    assert rounded >= CONVOLUTIONS
    # The build's log tells how far it is.
    assert "ranked 7 of 7 layers; model.1.Concat alone costs 1.000" in capfd.readouterr().err
    # In float by default, the decode is none of the layers searched.
    (note,), rounded = quantized(spoilt_by_its_decode, max_drop=0.3)
    assert note.startswith("no layer kept in float by the search: agreement with FP32 ")
    assert rounded >= CONVOLUTIONS


@pytest.mark.heavy
def test_what_no_layer_can_keep_is_an_export_error(spoilt_by_its_decode: ExportRequest) -> None:
    with pytest.raises(ExportError, match=r"with one layer in INT8 and 2 in float"):
        quantized(spoilt_by_its_decode, max_drop=1e-6)

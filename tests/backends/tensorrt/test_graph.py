"""The ONNX files that TensorRT is given: made, checked and, but for bfloat16, run here."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deploymark.backends import telemetry
from deploymark.backends.base import ExportError, UnsupportedError
from deploymark.backends.tensorrt import graph as tensorrt_graph

pytestmark = pytest.mark.heavy

telemetry.silence()

CONVOLUTIONS = 88
QUANTIZED = 87
"""All convolutions but the decode's own."""

ERRORS = {"fp32": (2e-3, 1e-4), "fp16": (1, 0.01), "int8": (30, 0.4)}
"""Largest error of a box (pixels) and of a score, as the contract tests allow them."""

MEAN_ERRORS = {"fp32": (1e-4, 1e-5), "fp16": (0.1, 2e-3), "int8": (2, 0.06)}


def write(detector: Any, folder: Path, precision: str, batch: int = 1, **given: Any) -> Path:
    """The typed ONNX file of the small detector."""
    pytest.importorskip("onnxruntime")
    target = folder / "typed.onnx"
    request = detector.request(folder / "out", precision, batch)
    options = tensorrt_graph.resolve(precision, given)
    tensorrt_graph.write(request, target, folder, options)
    return target


def load(path: Path) -> Any:
    onnx = pytest.importorskip("onnx")
    model = onnx.load(path)
    onnx.checker.check_model(model)
    return model


def element_types(model: Any) -> dict[str, str]:
    """Element types of all values by name, as ONNX infers them."""
    import onnx

    graph = onnx.shape_inference.infer_shapes(model).graph
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    for values in (graph.input, graph.output, graph.value_info):
        types |= {value.name: value.type.tensor_type.elem_type for value in values}
    return {name: onnx.TensorProto.DataType.Name(number) for name, number in types.items()}


def ends(model: Any) -> list[tuple[str, int, list[int]]]:
    return [
        (
            value.name,
            value.type.tensor_type.elem_type,
            [size.dim_value for size in value.type.tensor_type.shape.dim],
        )
        for value in (*model.graph.input, *model.graph.output)
    ]


@pytest.mark.parametrize(
    ("precision", "given"),
    [("fp32", {}), ("fp16", {}), ("int8", {}), ("int8", {"float_part": "fp32"})],
)
def test_predictions_are_those_of_the_model(
    detector: Any, tmp_path: Path, precision: str, given: dict[str, str]
) -> None:
    ort = pytest.importorskip("onnxruntime")
    path = write(detector, tmp_path, precision, 2, **given)
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"images": detector.images})
    assert found.dtype == np.float32
    error = np.abs(found - detector.expected)
    limits = zip(ERRORS[precision], MEAN_ERRORS[precision], strict=True)
    for part, (largest, mean) in zip((error[:, :4], error[:, 4:]), limits, strict=True):
        assert part.max() <= largest
        assert part.mean() <= mean


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16", "int8"])
def test_ends_are_float32_of_fixed_shape(detector: Any, tmp_path: Path, precision: str) -> None:
    model = load(write(detector, tmp_path, precision))
    assert ends(model) == [("images", 1, [1, 3, 64, 64]), ("output0", 1, [1, 7, 84])]


@pytest.mark.parametrize(
    ("precision", "half"), [("fp32", "FLOAT"), ("fp16", "FLOAT16"), ("bf16", "BFLOAT16")]
)
def test_all_convolutions_but_the_decodes_are_of_the_precision(
    detector: Any, tmp_path: Path, precision: str, half: str
) -> None:
    model = load(write(detector, tmp_path, precision))
    types = element_types(model)
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    for node in convolutions:
        decode = node.name.startswith("/model.23/dfl")
        assert {types[name] for name in node.input} == {"FLOAT" if decode else half}, node.name
    assert len(convolutions) == CONVOLUTIONS
    # Boxes and scores come out of float32 arithmetic, not out of rounded numbers cast back.
    sources = {output: node for node in model.graph.node for output in node.output}
    assert sources["output0"].op_type == "Concat"


def test_bfloat16_is_valid_onnx_at_the_opset_that_knows_it(detector: Any, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    from onnx import version_converter

    model = load(write(detector, tmp_path, "bf16"))
    onnx.checker.check_model(version_converter.convert_version(model, 22), full_check=True)


@pytest.mark.parametrize(("float_part", "scale_type"), [("fp16", "float16"), ("fp32", "float32")])
def test_pairs_are_symmetric_as_tensorrt_wants_them(
    detector: Any, tmp_path: Path, float_part: str, scale_type: str
) -> None:
    onnx = pytest.importorskip("onnx")
    model = load(write(detector, tmp_path, "int8", float_part=float_part))
    onnx.checker.check_model(model, full_check=True)
    graph = model.graph
    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    sources = {output: node for node in graph.node for output in node.output}
    pairs = [node for node in graph.node if node.op_type in {"QuantizeLinear", "DequantizeLinear"}]
    assert len({node.domain for node in pairs} - {"", "ai.onnx"}) == 0
    for node in pairs:
        scale, zero_point = (values[name] for name in node.input[1:3])
        assert zero_point.dtype == np.int8
        assert not zero_point.any()
        assert scale.dtype == scale_type
        assert (scale > 0).all()
    per_channel = 0
    for node in (node for node in graph.node if node.op_type == "Conv"):
        feeders = [sources.get(name) for name in node.input]
        kinds = ["" if feeder is None else feeder.op_type for feeder in feeders]
        if node.name.startswith("/model.23/dfl"):
            assert "DequantizeLinear" not in kinds
            continue
        # The image and the weights go through a pair, the bias does not.
        assert kinds[:2] == ["DequantizeLinear"] * 2, node.name
        assert "DequantizeLinear" not in kinds[2:]
        weights = feeders[1]
        assert sources[weights.input[0]].op_type == "QuantizeLinear"
        axes = {attribute.name: attribute.i for attribute in weights.attribute}
        assert axes.get("axis") == 0
        assert (
            values[weights.input[1]].shape == values[sources[weights.input[0]].input[0]].shape[:1]
        )
        per_channel += 1
        # A pair behind it would keep it from the activation that it is fused with.
        users = [user.op_type for user in graph.node if node.output[0] in user.input]
        assert "QuantizeLinear" not in users
    assert per_channel == QUANTIZED
    assert Counter(node.op_type for node in pairs)["QuantizeLinear"] <= 2 * QUANTIZED


def test_the_same_request_gives_the_same_bytes(detector: Any, tmp_path: Path) -> None:
    files = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        files.append(write(detector, folder, "int8").read_bytes())
    assert files[0] == files[1]


def test_int8_without_images_and_models_of_two_outputs_are_export_errors(
    detector: Any, tmp_path: Path
) -> None:
    import torch

    class Pair(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return x, x

    class Fails(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            raise ValueError("no such layer")

    target = tmp_path / "typed.onnx"
    bare = detector.request(tmp_path, "int8", calibration=None)
    with pytest.raises(ExportError, match="calibration images"):
        tensorrt_graph.write(bare, target, tmp_path, tensorrt_graph.resolve("int8", {}))
    for precision in tensorrt_graph.PRECISIONS:
        options = tensorrt_graph.resolve(precision, {})
        for model, reason in ((Pair, "tuple"), (Fails, "no such layer")):
            request = detector.request(tmp_path, precision, model=model)
            with pytest.raises(ExportError, match=reason):
                tensorrt_graph.write(request, target, tmp_path, options)


def test_options_are_explicit() -> None:
    common = {
        "sparsity": False,
        "tf32": False,
        "optimization_level": 3,
        "workspace_mib": 0,
        "dla_core": 0,
    }
    assert tensorrt_graph.resolve("fp16", {}) == common
    int8 = {"calibration": "minmax", "float_part": "fp16"}
    assert tensorrt_graph.resolve("int8", {"sparsity": True}) == common | int8 | {"sparsity": True}


@pytest.mark.parametrize("given", [{"wings": 2}, {"float_part": "fp16"}, {"sparsity": 1}])
def test_other_options_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedError, match=next(iter(given))):
        tensorrt_graph.resolve("fp16", given)

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deploymark.backends import openvino, ptq
from deploymark.backends.agreement import agreement
from deploymark.backends.base import Detector, ExportError, ExportRequest, UnsupportedError
from deploymark.backends.inputs import Size
from deploymark.backends.layout import PLAIN_OUTPUT
from deploymark.backends.onnx.graph import output_names, write_onnx
from deploymark.backends.openvino import quantize as ov_quantize


def test_every_default_is_explicit() -> None:
    assert openvino.OpenVinoBackend().resolve_options("int8", {}) == {
        "preset": "mixed",
        "overflow_fix": "first_layer_only",
        "accuracy_control": None,
        "calibration_images": None,
        "float_layers": [],
    }
    assert openvino.OpenVinoBackend().resolve_options("fp32", {}) == {}


def test_given_options_win() -> None:
    given = {"preset": "performance", "accuracy_control": 0.05}
    assert ov_quantize.resolve(given) == ov_quantize.resolve({}) | given


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"presets": "mixed"}, "presets"),
        ({"preset": "fast"}, "one of mixed, performance, got 'fast'"),
        ({"accuracy_control": 0}, "between 0 and 1, got 0"),
        ({"accuracy_control": 1.0}, "between 0 and 1, got 1.0"),
        ({"accuracy_control": True}, "got True"),
        ({"accuracy_control": "0.01"}, "got '0.01'"),
        ({"accuracy_control": float("nan")}, "got nan"),
    ],
)
def test_other_options_and_values_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UnsupportedError, match=said):
        ov_quantize.resolve(options)


def test_an_unknown_option_is_told_all_that_there_are() -> None:
    with pytest.raises(UnsupportedError) as caught:
        ov_quantize.resolve({"bits": 4})
    assert caught.value.remedy == (
        "Its options are preset, overflow_fix, accuracy_control, calibration_images, float_layers."
    )


def head_of_three_layers() -> Any:
    """A small OpenVINO detector of two classes: (1, 3, 16, 16) to (1, 6, 64)."""
    ov = pytest.importorskip("openvino")
    ops = ov.opset13
    random = np.random.default_rng(0)

    def convolution(x: Any, channels: int, stride: int, name: str) -> Any:
        shape = (channels, x.get_output_shape(0)[1], 3, 3)
        kernel = random.normal(0, 1.5 / np.sqrt(np.prod(shape[1:])), shape).astype(np.float32)
        steps, pads = [stride, stride], [1, 1]
        return ops.convolution(
            x, ops.constant(kernel), steps, pads, pads, [1, 1], name=f"/{name}/Conv"
        )

    image = ops.parameter([1, 3, 16, 16], np.float32, name="images")
    x = ops.relu(convolution(image, 16, 2, "first"))
    x = ops.relu(convolution(x, 16, 1, "second"))
    x = convolution(x, 6, 1, "third")
    x = ops.reshape(x, ops.constant(np.array([1, 6, 64])), special_zero=False)
    boxes = ops.multiply(ops.abs(x), ops.constant(np.float32(40)))
    scores = ops.sigmoid(x)
    axis, lengths = ops.constant(np.array(1)), ops.constant(np.array([4, 2]))
    output = ops.concat(
        [
            ops.variadic_split(boxes, axis, lengths).output(0),
            ops.variadic_split(scores, axis, lengths).output(1),
        ],
        1,
    )
    return ov.Model([output], [image])


def quantized(request: Any, limit: float | None) -> tuple[int, float]:
    """How many tensors are rounded at a limit, and how far that agrees with FP32."""
    import openvino as ov

    core, model = ov.Core(), head_of_three_layers()
    images, names = request.calibration(), output_names(PLAIN_OUTPUT)
    expected = ov_quantize._outputs(core, model, images, names)
    options = ov_quantize.resolve({"accuracy_control": limit})
    result, notes = ov_quantize.quantize(model, request, options)
    assert notes == ()
    found = ov_quantize._outputs(core, result, images, names)
    rounded = sum(node.get_type_name() == "FakeQuantize" for node in result.get_ops())
    return rounded, agreement(expected, found, PLAIN_OUTPUT, request.imgsz)


@pytest.fixture
def small(tmp_path: Path) -> ExportRequest:
    """An INT8 export of it with six calibration images."""
    pytest.importorskip("nncf")
    random = np.random.default_rng(1)
    images = [random.random((1, 3, 16, 16), np.float32) for _ in range(6)]
    return ExportRequest(
        model=lambda: None,
        detector=Detector(names=("a", "b")),
        precision="int8",
        device="cpu",
        imgsz=Size.of(16),
        batch=1,
        folder=tmp_path,
        calibration=lambda: images,
    )


@pytest.mark.heavy
def test_accuracy_control_reverts_layers_until_the_limit_is_met(small: ExportRequest) -> None:
    plain, agreed = quantized(small, None)
    assert plain > 0
    # Boxes and scores of this head share one scale, which drowns the scores.
    assert agreed < 0.8
    # A limit that is met at once changes nothing.
    assert quantized(small, 0.9) == (plain, agreed)
    left, agreed = quantized(small, 0.1)
    assert left < plain
    assert agreed >= 0.9


@pytest.mark.heavy
def test_a_limit_that_cannot_be_met_is_an_export_error(
    small: ExportRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ov_quantize, "agreement", lambda *arguments: 0.5)
    with pytest.raises(ExportError, match=r"agrees with FP32 by 0\.500 only, not by 0\.900"):
        quantized(small, 0.1)


@pytest.mark.heavy
def test_layers_are_named_as_in_the_onnx_file(detector: Any, tmp_path: Path) -> None:
    ov = pytest.importorskip("openvino")
    onnx = pytest.importorskip("onnx")
    write_onnx(detector.model(), tmp_path / "fp32.onnx", batch=1, imgsz=Size.of(64))
    found = ov_quantize.layers(ov.convert_model(tmp_path / "fp32.onnx"))
    # OpenVINO has an activation as one node, and the addition of a bias as one of its own.
    convolution = "/model.2/m.0/cv1/conv/Conv"
    assert found["model.2.m.0.cv1"] == [
        f"{convolution}/WithoutBiases",
        convolution,
        "/model.2/m.0/cv1/act/Mul",
    ]
    nodes = onnx.load(tmp_path / "fp32.onnx").graph.node
    known = ptq.layers(node.name for node in nodes)
    assert set(found) <= set(known)
    convolutions = {node.name for node in nodes if node.op_type == "Conv"}
    assert set(found) >= {name for name in known if convolutions.intersection(known[name])}


@pytest.mark.heavy
def test_layers_are_kept_in_float_by_name(small: ExportRequest) -> None:
    def rounded(*names: str) -> set[str]:
        options = ov_quantize.resolve({"float_layers": list(names), "calibration_images": 2})
        model, notes = ov_quantize.quantize(head_of_three_layers(), small, options)
        assert bool(notes) is bool(names)
        nodes = [node for node in model.get_ops() if node.get_type_name() == "Convolution"]
        return {
            node.get_friendly_name()
            for node in nodes
            if node.input_value(1).get_node().get_type_name() != "Constant"
        }

    assert rounded() == {"/first/Conv", "/second/Conv", "/third/Conv"}
    assert rounded("second", "th*") == {"/first/Conv"}
    with pytest.raises(ExportError, match="no layer is named like 'fourth'"):
        rounded("fourth")


@pytest.mark.heavy
def test_no_more_images_calibrate_than_there_are(small: ExportRequest) -> None:
    options = ov_quantize.resolve({"calibration_images": 7})
    with pytest.raises(ExportError, match="asks for 7, and 6 were given"):
        ov_quantize.quantize(head_of_three_layers(), small, options)

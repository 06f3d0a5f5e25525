"""Q/DQ pairs that were trained, in the form that each runtime takes, and run where it can be."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from deploymark.backends import registry, telemetry
from deploymark.backends.base import QAT_PRECISION, LoadOptions, UnsupportedError
from deploymark.backends.hardware import cpu
from deploymark.backends.inputs import Size
from deploymark.backends.onnx import qdq
from deploymark.backends.onnx.graph import write_onnx
from deploymark.backends.tensorrt import graph as tensorrt_graph
from deploymark.bench.score.executed import convolutions
from tests.backends.conftest import IMGSZ, SmallDetector

pytestmark = pytest.mark.heavy

telemetry.silence()

QUANTIZED = 87
"""All convolutions but the decode's own."""

OUTPUTS = 6
"""Convolutions that give the boxes and the scores of three strides."""

SILUS = 77

LARGEST, MEAN = (30, 0.4), (2, 0.06 if cpu.detect().has_int8_dot else 0.09)
"""Errors of a box (pixels) and of a score, as the contract tests allow them for int8. Without dot
products of bytes, sums saturate and the reduced range rounds more: 0.063 (ONNX Runtime) and 0.073
(OpenVINO) were seen on such a processor."""


@pytest.fixture(scope="session")
def trained(detector: SmallDetector) -> SmallDetector:
    """The small detector with its rounding simulated; ``expected`` is what PyTorch then gives."""
    import torch

    from deploymark.bench.variants.qat import fake_quantize
    from deploymark.bench.variants.qat_ranges import calibrate

    model = detector.model()
    layers = fake_quantize(model)
    assert len(layers) == QUANTIZED
    calibrate(model, layers, [torch.from_numpy(image) for image in detector.calibration])
    with torch.no_grad():
        expected = model(torch.from_numpy(detector.images)).numpy()

    def fresh() -> Any:
        import copy

        return copy.deepcopy(model)

    return dataclasses.replace(detector, model=fresh, expected=expected)


@pytest.fixture(scope="session")
def source(trained: SmallDetector, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ONNX file that all three backends start from, of two images."""
    pytest.importorskip("onnx")
    path = tmp_path_factory.mktemp("qdq") / "trained.onnx"
    write_onnx(trained.model(), path, batch=2, imgsz=Size.of(IMGSZ))
    return path


def run_literally(path: Path, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The graph as it is written, every pair by itself."""
    ort = pytest.importorskip("onnxruntime")
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    found: npt.NDArray[np.float32] = session.run(None, {"images": images})[0]
    return found


def assert_close(found: npt.NDArray[np.float32], expected: npt.NDArray[np.float32]) -> None:
    error = np.abs(found - expected)
    for part, largest, mean in zip((error[:, :4], error[:, 4:]), LARGEST, MEAN, strict=True):
        assert part.max() <= largest
        assert part.mean() <= mean


def test_rounding_changes_the_small_detector(
    detector: SmallDetector, trained: SmallDetector
) -> None:
    assert np.abs(trained.expected - detector.expected).max() > 0.1
    assert_close(trained.expected, detector.expected)


def test_the_file_computes_what_the_model_does(source: Path, trained: SmallDetector) -> None:
    assert_close(run_literally(source, trained.images), trained.expected)


def test_uint8_codes_give_the_same_bits(
    source: Path, trained: SmallDetector, tmp_path: Path
) -> None:
    import onnx

    model = onnx.load(source)
    graph = qdq.Graph(model)
    found = qdq.quantized_convolutions(graph)
    assert len(found) == QUANTIZED
    qdq.to_uint8(graph, found)
    qdq.store_integers(graph, found)
    graph.sweep()
    onnx.save(model, tmp_path / "uint8.onnx")
    types = {values.dtype.name for values in zero_points(model)}
    assert types == {"uint8", "int8"}
    np.testing.assert_array_equal(
        run_literally(tmp_path / "uint8.onnx", trained.images),
        run_literally(source, trained.images),
    )


def zero_points(model: Any) -> list[npt.NDArray[Any]]:
    graph = qdq.Graph(model)
    return [
        graph.constants[node.input[2]]
        for node in graph.proto.node
        if node.op_type in {qdq.QUANTIZE, qdq.DEQUANTIZE} and len(node.input) > 2
    ]


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_every_learned_convolution_runs_in_integers(
    name: str, trained: SmallDetector, tmp_path: Path
) -> None:
    pytest.importorskip(name)
    backend = registry.resolve(registry.BUILTIN[name])
    service = backend.probe().service("cpu", QAT_PRECISION)
    assert service.served
    artifact = backend.export(trained.request(tmp_path, QAT_PRECISION, 2))
    shape = (2, 3, IMGSZ, IMGSZ)
    session = backend.load(artifact, LoadOptions("cpu", QAT_PRECISION, 1, shape))
    assert_close(session.infer(trained.images), trained.expected)
    layers = session.executed_precision().layers
    counts = convolutions(layers)
    # ONNX Runtime computes those in float whose output is not rounded.
    floats = OUTPUTS if name == "onnxruntime" else 0
    assert counts.get("u8", 0) + counts.get("i8", 0) == QUANTIZED - floats
    if name == "onnxruntime":
        # Each SiLU is one operator; the sigmoid left is that of the scores.
        operators = {key.partition(":")[0]: count for key, count in layers.items()}
        assert operators["Sigmoid"] == 1
        assert operators["QuickGelu"] == SILUS
    # A YOLO11n has 2.6 million weights, a byte each.
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 4 << 20


@pytest.mark.parametrize(("float_part", "scale_type"), [("fp16", "float16"), ("fp32", "float32")])
def test_tensorrt_gets_symmetric_pairs_before_convolutions_only(
    float_part: str, scale_type: str, trained: SmallDetector, tmp_path: Path
) -> None:
    onnx = pytest.importorskip("onnx")
    target = tmp_path / "typed.onnx"
    options = tensorrt_graph.resolve(QAT_PRECISION, {"float_part": float_part})
    request = trained.request(tmp_path / "out", QAT_PRECISION, 2)
    tensorrt_graph.write(request, target, tmp_path, options)
    model = onnx.load(target)
    onnx.checker.check_model(model, full_check=True)
    assert all(values.dtype == np.int8 and not values.any() for values in zero_points(model))
    graph = qdq.Graph(model)
    found = qdq.quantized_convolutions(graph)
    assert len(found) == QUANTIZED
    assert all(convolution.after is None for convolution in found)
    scales = {
        graph.constants[node.input[1]].dtype.name
        for node in graph.proto.node
        if node.op_type in {qdq.QUANTIZE, qdq.DEQUANTIZE}
    }
    assert scales == {scale_type}
    kinds = Counter(node.op_type for node in graph.proto.node)
    assert kinds[qdq.QUANTIZE] <= 2 * QUANTIZED
    # One cast where the network begins and those of the decode; none around a pair.
    assert kinds["Cast"] <= 20
    assert_close(run_literally(target, trained.images), trained.expected)


@pytest.mark.parametrize(
    "rewrite", [qdq.for_onnxruntime, qdq.for_openvino, qdq.for_tensorrt], ids=lambda f: f.__name__
)
def test_a_model_without_rounding_is_unsupported(
    rewrite: Callable[[Path, Path], None], detector: SmallDetector, tmp_path: Path
) -> None:
    pytest.importorskip("onnx")
    plain = tmp_path / "plain.onnx"
    write_onnx(detector.model(), plain, batch=1, imgsz=Size.of(IMGSZ))
    with pytest.raises(UnsupportedError, match="qat step"):
        rewrite(plain, tmp_path / "out.onnx")

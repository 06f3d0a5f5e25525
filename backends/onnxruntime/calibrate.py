"""Static INT8 with ONNX Runtime's quantizer: ranges from calibration images, then Q/DQ pairs.

The two are apart, so that a search writes many files from ranges that are found once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploymark.backends.exporting import quiet
from deploymark.backends.onnx.graph import INPUT_NAME

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""Operators that have weights, as their second input."""

FOLLOWERS = frozenset(
    {
        "AveragePool",
        "Flatten",
        "MaxPool",
        "Reshape",
        "Resize",
        "Slice",
        "Squeeze",
        "TopK",
        "Transpose",
        "Unsqueeze",
    }
)
"""Operators that the quantizer leaves in float unless their input is quantized, and then gives the
scale of their input (its ``QDQDirect8BitOp``): they round nothing by themselves."""


def first_layers(graph: Any) -> list[str]:
    """Names of the weights that the graph's input meets first (``graph``: an ONNX ``GraphProto``).

    Operators without weights (a division by 255, a slice) are looked through.
    """
    initializers = {tensor.name for tensor in graph.initializer}
    reached = {value.name for value in graph.input} - initializers
    weights: list[str] = []
    for node in graph.node:  # in topological order, as ONNX demands
        if reached.isdisjoint(node.input):
            continue
        if node.op_type in LAYERS and len(node.input) > 1 and node.input[1] in initializers:
            weights.append(node.input[1])
        else:
            reached.update(node.output)
    return weights


NO_EXTRA: Mapping[str, npt.NDArray[Any]] = {}
"""Of models that take images alone."""


class CalibrationReader:
    """Calibration batches, as ``quantize_static`` reads them (its ``CalibrationDataReader``)."""

    def __init__(
        self,
        arrays: Sequence[npt.NDArray[np.float32]],
        extra: Mapping[str, npt.NDArray[Any]] = NO_EXTRA,
    ) -> None:
        self._arrays, self._extra = arrays, extra
        self._next, self._end = 0, len(arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Go on with this slice: called where activations are collected piecewise."""
        self._next, self._end = start_index, end_index

    def get_next(self) -> dict[str, npt.NDArray[Any]] | None:
        """The next batch by input name, None at the end."""
        if self._next >= self._end:
            return None
        self._next += 1
        return {INPUT_NAME: self._arrays[self._next - 1], **self._extra}


def calibration_settings(name: str) -> tuple[Any, dict[str, Any]]:
    """ONNX Runtime's ``CalibrationMethod``, and the ``extra_options`` that go with it."""
    from onnxruntime.quantization import CalibrationMethod

    methods = {
        "minmax": CalibrationMethod.MinMax,
        "entropy": CalibrationMethod.Entropy,
        "percentile": CalibrationMethod.Percentile,
    }
    # Histograms of one batch at a time: all batches' activations would fill the memory.
    return methods[name], {} if name == "minmax" else {"CalibStridedMinMax": 1}


@contextlib.contextmanager
def quiet_quantizer() -> Iterator[None]:
    """Hold back what ONNX Runtime's quantizer logs and prints."""
    with quiet("root"), io.StringIO() as sink, contextlib.redirect_stdout(sink):
        yield


@dataclasses.dataclass(frozen=True)
class Calibrated:
    """A float graph with the range of each of its tensors: INT8 files are written from it.

    ``path`` is the graph's file, ``nodes`` are the names of all its nodes, ``rounding`` of those
    that are quantized by themselves, and do not only follow what feeds them. ``operators`` are the
    types of node that ONNX Runtime can quantize, ``ranges`` its ``TensorsData``; ``options`` as
    ``ort_quantize.resolve`` gives them.
    """

    path: Path
    nodes: tuple[str, ...]
    rounding: frozenset[str]
    operators: tuple[str, ...]
    ranges: Any
    options: Mapping[str, Any]

    def write(self, target: Path, floats: Collection[str]) -> None:
        """Write a file with Q/DQ pairs around every node but those named ``floats``."""
        import onnx
        from onnxruntime.quantization import QDQQuantizer, QuantType, TensorsData

        options = self.options
        types = {"uint8": QuantType.QUInt8, "int8": QuantType.QInt8}
        extra: dict[str, Any] = {}
        model = onnx.load(self.path)
        if options["reduce_range"] == "first_layer":
            seven_bits = {"quant_type": QuantType.QInt8, "symmetric": True, "reduce_range": True}
            if options["per_channel"]:
                seven_bits["axis"] = 0
            names = first_layers(model.graph)
            extra["TensorQuantOverrides"] = {name: [seven_bits] for name in names}
        with quiet_quantizer():
            quantizer = QDQQuantizer(
                model,
                per_channel=options["per_channel"],
                reduce_range=options["reduce_range"] == "all",
                weight_qType=QuantType.QInt8,
                activation_qType=types[options["activations"]],
                # a copy, as the quantizer narrows ranges in place
                tensors_range=TensorsData(self.ranges.calibration_method, self.ranges.data),
                nodes_to_quantize=[],
                nodes_to_exclude=list(floats),
                op_types_to_quantize=list(self.operators),
                extra_options=extra,
            )
            quantizer.quantize_model()
            quantizer.model.save_model_to_file(str(target), use_external_data_format=False)


def calibrate(
    source: Path,
    scratch: Path,
    arrays: Sequence[npt.NDArray[np.float32]],
    options: Mapping[str, Any],
    extra: Mapping[str, npt.NDArray[Any]] = NO_EXTRA,
) -> Calibrated:
    """Find the range of every tensor of ``source``, an FP32 ONNX file, over batches of images.

    ``options`` as ``ort_quantize.resolve`` gives them, ``extra`` are the inputs besides.
    ``scratch`` is a folder for files in between, which what is returned reads.
    """
    import onnx
    from onnxruntime.quantization import create_calibrator
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = scratch / "prepared.onnx"
    method, settings = calibration_settings(options["calibration"])
    operators = tuple(sorted({*QDQRegistry, *QLinearOpsRegistry}))
    with quiet_quantizer():
        # Shapes are fixed, so that plain shape inference sees them all.
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        calibrator = create_calibrator(
            prepared,
            operators,
            augmented_model_path=str(scratch / "augmented.onnx"),
            calibrate_method=method,
        )
        reader = CalibrationReader(arrays, extra)
        stride = settings.get("CalibStridedMinMax", len(arrays))
        for start in range(0, len(arrays), stride):
            reader.set_range(start, start + stride)
            calibrator.collect_data(reader)
        ranges = calibrator.compute_data()
    nodes = onnx.load(prepared, load_external_data=False).graph.node
    return Calibrated(
        path=prepared,
        nodes=tuple(node.name for node in nodes),
        rounding=frozenset(node.name for node in nodes if node.op_type in {*operators} - FOLLOWERS),
        operators=operators,
        ranges=ranges,
        options=options,
    )

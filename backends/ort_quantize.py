"""INT8 for ONNX Runtime: Q/DQ pairs placed from calibration images, or scales made at run time."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backends.base import ExportError
from backends.onnx_graph import INPUT_NAME, matching, quiet
from backends.options import resolve_choices

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

OPTIONS: dict[str, tuple[Any, ...]] = {
    "calibration": ("minmax", "entropy", "percentile"),
    "activations": ("uint8", "int8"),
    "per_channel": (True, False),
    "reduce_range": ("first_layer", "all", "none"),
}
"""Options of an INT8 export and their values, the default first.

``activations``: uint8 is the fast type on x86; int8 ran slower than FP32 there. ``per_channel``:
one weight scale an output channel. ``reduce_range``: which weights get 7 bits. Without VNNI, x86
adds two u8 x s8 products in 16 saturating bits, which 7-bit weights cannot overflow. It is the
first layer that overflows, fed by pixels of the full range: a YOLO11n of mAP50-95 0.309 in FP32
scored 0.263 on such a CPU with ``none``, 0.293 with ``all`` and 0.309 with ``first_layer``. That
costs nothing on other CPUs (NNCF does it for all of them, ``OverflowFix.FIRST_LAYER``), so it is
the default everywhere and one artifact serves them all."""

DYNAMIC_OPTIONS: dict[str, tuple[Any, ...]] = {
    "weights": ("uint8", "int8"),
    "per_channel": (False, True),
    "reduce_range": (False, True),
}
"""Options of an INT8-dynamic export and their values, the default first. Activations are uint8.

``weights``: with int8 ones ONNX Runtime's ``ConvInteger`` leaves its fast kernels, more than three
times slower on x86. ``per_channel``: one scale an output channel of matrix products; its quantizer
gives a convolution's weights one scale in either case. ``reduce_range``: 7-bit weights, of use to
int8 ones on x86 without VNNI."""

LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""Operators that have weights, as their second input."""


def resolve(options: Mapping[str, Any]) -> dict[str, Any]:
    """INT8 options with every default explicit.

    Raises UnsupportedError for an unknown option or value.
    """
    return resolve_choices("onnxruntime", OPTIONS, options)


def resolve_dynamic(options: Mapping[str, Any]) -> dict[str, Any]:
    """INT8-dynamic options with every default explicit.

    Raises UnsupportedError for an unknown option or value.
    """
    return resolve_choices("onnxruntime", DYNAMIC_OPTIONS, options)


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


def batches(images: Sequence[npt.NDArray[np.float32]], batch: int) -> list[npt.NDArray[np.float32]]:
    """Images of shape (1, 3, h, w) stacked to (batch, 3, h, w), all of them seen at least once.

    The last batch is filled up from the first images. Raises ExportError if there are none.
    """
    import numpy as np

    if not images:
        raise ExportError(
            "int8 needs calibration images and none were given",
            remedy="Give the data set a calibration split.",
        )
    count = -(-len(images) // batch) * batch
    filled = [images[index % len(images)] for index in range(count)]
    return [np.concatenate(filled[start : start + batch]) for start in range(0, count, batch)]


class CalibrationReader:
    """Calibration batches, as ``quantize_static`` reads them (its ``CalibrationDataReader``)."""

    def __init__(self, arrays: Sequence[npt.NDArray[np.float32]]) -> None:
        self._arrays = arrays
        self._next, self._end = 0, len(arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Go on with this slice: called where activations are collected piecewise."""
        self._next, self._end = start_index, end_index

    def get_next(self) -> dict[str, npt.NDArray[np.float32]] | None:
        """The next batch by input name, None at the end."""
        if self._next >= self._end:
            return None
        self._next += 1
        return {INPUT_NAME: self._arrays[self._next - 1]}


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


def quantize(
    source: Path,
    target: Path,
    scratch: Path,
    images: Sequence[npt.NDArray[np.float32]],
    float_nodes: Sequence[str],
    options: Mapping[str, Any],
) -> None:
    """Write ``source``, an FP32 ONNX file, to ``target`` with Q/DQ pairs.

    Every operator that ONNX Runtime can quantize is, but nodes that ``float_nodes`` match: a scale
    shared by boxes (hundreds of pixels) and scores (below one) would round all scores to zero.
    ``options`` as ``resolve`` gives them. ``scratch`` is a folder for files in between.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    method, extra = calibration_settings(options["calibration"])
    types = {"uint8": QuantType.QUInt8, "int8": QuantType.QInt8}
    prepared = scratch / "prepared.onnx"
    with quiet("root"), io.StringIO() as sink, contextlib.redirect_stdout(sink):
        # Shapes are fixed, so that plain shape inference sees them all.
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        graph = onnx.load(prepared, load_external_data=False).graph
        if options["reduce_range"] == "first_layer":
            seven_bits = {"quant_type": QuantType.QInt8, "symmetric": True, "reduce_range": True}
            if options["per_channel"]:
                seven_bits["axis"] = 0
            extra["TensorQuantOverrides"] = {name: [seven_bits] for name in first_layers(graph)}
        quantize_static(
            prepared,
            target,
            CalibrationReader(images),
            quant_format=QuantFormat.QDQ,
            activation_type=types[options["activations"]],
            weight_type=QuantType.QInt8,
            per_channel=options["per_channel"],
            reduce_range=options["reduce_range"] == "all",
            calibrate_method=method,
            nodes_to_exclude=matching((node.name for node in graph.node), float_nodes),
            extra_options=extra,
        )


def quantize_dynamically(
    source: Path,
    target: Path,
    scratch: Path,
    float_nodes: Sequence[str],
    options: Mapping[str, Any],
) -> None:
    """Write ``source``, an FP32 ONNX file, to ``target`` with scales made at run time.

    Convolutions and products with weights become integer ones, but nodes that ``float_nodes``
    match. ``options`` as ``resolve_dynamic`` gives them; ``scratch`` is for files in between.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    types = {"uint8": QuantType.QUInt8, "int8": QuantType.QInt8}
    prepared = scratch / "prepared.onnx"
    with quiet("root"), io.StringIO() as sink, contextlib.redirect_stdout(sink):
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        graph = onnx.load(prepared, load_external_data=False).graph
        quantize_dynamic(
            prepared,
            target,
            op_types_to_quantize=["Conv", "MatMul"],
            per_channel=options["per_channel"],
            reduce_range=options["reduce_range"],
            weight_type=types[options["weights"]],
            nodes_to_exclude=matching((node.name for node in graph.node), float_nodes),
        )

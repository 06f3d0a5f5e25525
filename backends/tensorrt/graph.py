"""ONNX files whose tensors say in which type TensorRT is to compute.

A strongly typed network, TensorRT's only kind since 11, takes every type from the graph: float16
and bfloat16 from the weights and casts in it, INT8 from explicit Q/DQ pairs. So the precision is
made here, on any machine, and the builder merely obeys.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploymark.backends import exporting
from deploymark.backends.base import QAT_PRECISION, ExportError, ExportRequest
from deploymark.backends.onnx import qdq
from deploymark.backends.onnx.graph import OPSET, matching, write_onnx
from deploymark.backends.onnxruntime.calibrate import CalibrationReader, calibration_settings
from deploymark.backends.onnxruntime.quantize import batches
from deploymark.backends.options import resolve_choices
from deploymark.backends.pytorch import half as torch_half

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

COMMON_OPTIONS: dict[str, tuple[Any, ...]] = {
    "sparsity": (False, True),
    "tf32": (False, True),
    "optimization_level": (3, 0, 1, 2, 4, 5),
    "workspace_mib": (0, 256, 512, 1024, 2048, 4096, 8192),
    "dla_core": (0, 1),
}
"""Builder options of every precision and their values, the default first.

``sparsity``: kernels for weights of two non-zeros in four (``SPARSE_WEIGHTS``); worth it only for a
model pruned so. ``tf32``: float32 products rounded to 10 bits, TensorRT's own default, off here as
an FP32 cell promises more. ``optimization_level``: of the builder, 3 is TensorRT's default.
``workspace_mib``: memory of one layer's kernel, 0 is the whole GPU."""

QAT_OPTIONS: dict[str, tuple[Any, ...]] = {"float_part": ("fp16", "fp32")}
INT8_OPTIONS: dict[str, tuple[Any, ...]] = {
    "calibration": ("minmax", "entropy", "percentile"),
    **QAT_OPTIONS,
}
"""Options of INT8 besides. ``float_part``: what layers between the quantized convolutions compute
in; in float32 they would be slower than the whole model is in FP16."""

PRECISIONS = ("fp32", "fp16", "bf16", "int8", QAT_PRECISION)

QDQ_HALF_OPSET = 19
"""The first opset whose QuantizeLinear takes float16."""

QUANTIZED = ("Conv", "ConvTranspose", "Gemm")
"""Operators whose inputs get Q/DQ pairs: those that TensorRT has INT8 kernels for and fuses the
pairs into. Pairs between a convolution and its activation would keep the two apart."""


def resolve(precision: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Builder options with every default explicit. Raises UnsupportedError for any other."""
    more = {"int8": INT8_OPTIONS, QAT_PRECISION: QAT_OPTIONS}
    choices = COMMON_OPTIONS | more.get(precision, {})
    return resolve_choices("tensorrt", choices, options)


def write(request: ExportRequest, target: Path, scratch: Path, options: Mapping[str, Any]) -> None:
    """Write the ONNX file of a request. Raises ExportError.

    The input and the output are float32 in every precision. In 16-bit ones, and in INT8's float
    part, nodes that ``request.float_nodes`` match stay in float32: the decode of boxes, whose
    pixels half precision would round to quarters and more. ``options`` as ``resolve`` gives them.
    """
    half = options.get("float_part", request.precision)
    model = request.model()
    if half in torch_half.DTYPES:
        _check_output(model, request)
        torch_half.convert(model, half, request.float_nodes)
    if request.precision == QAT_PRECISION:
        opset = QDQ_HALF_OPSET if half == "fp16" else OPSET
        source = scratch / "trained.onnx"
        write_onnx(model, source, batch=request.batch, imgsz=request.imgsz, opset=opset)
        qdq.for_tensorrt(source, target)
        return
    if request.precision != "int8":
        write_onnx(model, target, batch=request.batch, imgsz=request.imgsz)
        return
    images = request.calibration() if request.calibration is not None else ()
    arrays = batches(images, request.batch)
    source = scratch / "float.onnx"
    write_onnx(model, source, batch=request.batch, imgsz=request.imgsz)
    with exporting.failures("ONNX Runtime's quantizer"):
        _quantize(source, target, arrays, request.float_nodes, options)


def _check_output(model: Any, request: ExportRequest) -> None:
    """Fail on a model of several outputs before hooks are put around it."""
    import torch

    with torch.no_grad(), exporting.quiet("torch.onnx"):
        try:
            output = model(torch.zeros(request.input_shape))
        except Exception as error:
            raise ExportError(f"the model fails: {type(error).__name__}: {error}") from error
    exporting.require_outputs(output)


def _quantize(
    source: Path,
    target: Path,
    arrays: Sequence[npt.NDArray[np.float32]],
    float_nodes: Sequence[str],
    options: Mapping[str, Any],
) -> None:
    """Put Q/DQ pairs before convolutions and their weights, as TensorRT wants them.

    Scales are symmetric and zero points zero, one scale an output channel of weights (axis 0) and
    one a tensor of activations; weights stay in float before their pair, which the builder folds;
    biases are not quantized (TensorRT documentation, "Working with Quantized Types").
    """
    import onnx
    from onnx import version_converter
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    method, extra = calibration_settings(options["calibration"])
    model = onnx.load(source)
    if options["float_part"] == "fp16":
        model = version_converter.convert_version(model, QDQ_HALF_OPSET)
        onnx.save(model, source)
    extra |= {
        "ActivationSymmetric": True,
        "WeightSymmetric": True,
        "QuantizeBias": False,
        "AddQDQPairToWeight": True,
        "OpTypesToExcludeOutputQuantization": list(QUANTIZED),
    }
    with exporting.quiet("root"), io.StringIO() as sink, contextlib.redirect_stdout(sink):
        quantize_static(
            source,
            target,
            CalibrationReader(arrays),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTIZED),
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            calibrate_method=method,
            nodes_to_exclude=matching((node.name for node in model.graph.node), float_nodes),
            extra_options=extra,
        )

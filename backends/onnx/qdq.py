"""ONNX files whose Q/DQ pairs were trained: what each runtime wants changed in them.

The file that ``torch.onnx`` makes of a fake-quantized model is symmetric int8: a QuantizeLinear and
a DequantizeLinear with zero point 0 before each convolution, around its float weights and after it.
Each runtime runs that, and has a form that it runs in integers:

- ONNX Runtime: uint8 activations, whose kernels are the fast ones on x86, weights and biases stored
  as integers, SiLU as one operator. A pair gives the same values bit for bit with int8 codes around
  0 and uint8 codes around 128.
- OpenVINO and TensorRT: no pair between a convolution and its activation function, which would keep
  TensorRT from making one kernel of the two, and rounds where neither needs it. OpenVINO's weights
  are stored as integers, TensorRT's in float before their pairs.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from deploymark.backends.base import QAT_PRECISION, UnsupportedError
from deploymark.backends.onnx.rewrite import Graph

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"

RUNTIME_DOMAIN = "com.microsoft"
"""Of the operators that ONNX Runtime has besides ONNX's."""

_INT8_ZERO_AS_UINT8 = 128
"""Code 0 of int8 in uint8: both types have the same 256 levels."""


@dataclasses.dataclass(frozen=True)
class QuantizedConv:
    """A convolution whose input and weights come out of Q/DQ pairs.

    ``after`` is the pair's QuantizeLinear that rounds its output, None where there is none.
    """

    conv: Any
    input_dequantize: Any
    weight_quantize: Any
    weight_dequantize: Any
    after: Any | None


def quantized_convolutions(graph: Graph) -> list[QuantizedConv]:
    """The convolutions that compute on rounded inputs and weights, in the graph's order.

    Raises UnsupportedError where there is none: the model was not trained with rounding.
    """
    found = []
    for node in graph.proto.node:
        if node.op_type != "Conv":
            continue
        before, weight = (graph.makers.get(name) for name in node.input[:2])
        if before is None or weight is None or {before.op_type, weight.op_type} != {DEQUANTIZE}:
            continue
        rounded = graph.makers.get(weight.input[0])
        if rounded is None or rounded.op_type != QUANTIZE:
            continue
        after = [taker for taker in graph.takers(node.output[0]) if taker.op_type == QUANTIZE]
        found.append(QuantizedConv(node, before, rounded, weight, after[0] if after else None))
    if not found:
        raise UnsupportedError(
            "the model was not trained with the rounding of INT8",
            remedy=f"{QAT_PRECISION} is the precision of a recipe that ends in a qat step.",
        )
    return found


def store_integers(graph: Graph, convolutions: list[QuantizedConv]) -> None:
    """Store the weights of these convolutions as int8, in the place of their QuantizeLinear."""
    import numpy as np

    for found in convolutions:
        name, scale = found.weight_quantize.input[:2]
        weights, scales = graph.constants[name], graph.constants[scale]
        shape = (-1, *(1,) * (weights.ndim - 1))
        codes = np.clip(np.rint(weights / scales.reshape(shape)), -128, 127).astype(np.int8)
        found.weight_dequantize.input[0] = graph.add_constant(f"{name}_int8", codes)


def round_biases(graph: Graph, convolutions: list[QuantizedConv]) -> None:
    """Store biases as int32 multiples of input scale x weight scale, as integer kernels add them.

    (ONNX, QLinearConv: "bias must be quantized using scale = x_scale * w_scale".)
    """
    import numpy as np
    from onnx import helper

    for found in convolutions:
        # One whose output is not rounded runs in float.
        if found.after is None or len(found.conv.input) < 3:  # noqa: PLR2004 - it has no bias
            continue
        name = found.conv.input[2]
        scales = (
            graph.constants[found.input_dequantize.input[1]]
            * graph.constants[found.weight_dequantize.input[1]]
        ).astype(np.float32)
        codes = np.rint(graph.constants[name] / scales).astype(np.int32)
        stem = found.conv.output[0]
        node = helper.make_node(
            DEQUANTIZE,
            [
                graph.add_constant(f"{stem}_bias_int32", codes),
                graph.add_constant(f"{stem}_bias_scale", scales),
            ],
            [f"{stem}_bias"],
            name=f"{found.conv.name}_bias",
            axis=0,
        )
        found.conv.input[2] = node.output[0]
        graph.proto.node.insert(0, node)


def to_uint8(graph: Graph, convolutions: list[QuantizedConv]) -> None:
    """Give activations uint8 codes around 128 in place of int8 codes around 0.

    round(x / s) + 128, cut to [0, 255], is round(x / s), cut to [-128, 127], moved by 128.
    """
    import numpy as np

    weights = {
        part.output[0]
        for found in convolutions
        for part in (found.weight_quantize, found.weight_dequantize)
    }
    zero = graph.add_constant("zero_point_uint8", np.array(_INT8_ZERO_AS_UINT8, np.uint8))
    for node in graph.proto.node:
        if node.op_type in {QUANTIZE, DEQUANTIZE} and node.output[0] not in weights:
            node.input[2] = zero


def fuse_silu(model: Any, graph: Graph) -> None:
    """Write x * sigmoid(x) as ONNX Runtime's own operator for it, ``QuickGelu`` with alpha 1.

    In a float graph ONNX Runtime does so itself (its QuickGeluFusion). Behind a pair it first gives
    the two operators a DequantizeLinear each, and then no longer sees one x.
    """
    from onnx import helper

    multiplied = {}
    for node in graph.proto.node:
        takers = graph.takers(node.output[0]) if node.op_type == "Sigmoid" else []
        if [taker.op_type for taker in takers] == ["Mul"] and node.input[0] in takers[0].input:
            multiplied[node.output[0]] = takers[0]
    if not multiplied:
        return
    for sigmoid, product in multiplied.items():
        taken = graph.makers[sigmoid].input[0]
        product.CopyFrom(
            helper.make_node(
                "QuickGelu",
                [taken],
                list(product.output),
                name=product.name,
                domain=RUNTIME_DOMAIN,
                alpha=1.0,
            )
        )
    model.opset_import.append(helper.make_opsetid(RUNTIME_DOMAIN, 1))


def drop_output_pairs(graph: Graph, convolutions: list[QuantizedConv]) -> None:
    """Let what follows these convolutions read their float output, not the rounded one."""
    for found in convolutions:
        if found.after is None:
            continue
        for pair in graph.takers(found.after.output[0]):
            if pair.op_type == DEQUANTIZE:
                graph.redirect(pair.output[0], found.conv.output[0])


def narrow_pairs(graph: Graph) -> None:
    """Let pairs of a float16 model take and give float16, in place of float32 between two casts.

    (The casts are the exporter's way: ``torch.fake_quantize…`` takes no float16 scale.)
    """
    for quantize in [node for node in graph.proto.node if node.op_type == QUANTIZE]:
        pairs = graph.takers(quantize.output[0])
        after = [node for pair in pairs for node in graph.takers(pair.output[0])]
        if any(node.op_type != "Cast" for node in after):
            continue
        for node in after:
            graph.redirect(node.output[0], node.input[0])
        before = graph.makers.get(quantize.input[0])
        if before is None:
            graph.narrow(quantize, 0)
        else:
            quantize.input[0] = before.input[0]
        for node in (quantize, *pairs):
            graph.narrow(node, 1)


def for_onnxruntime(source: Path, target: Path) -> None:
    """Write ``source``, the export of a fake-quantized model, as ONNX Runtime runs it in integers.

    Raises UnsupportedError where the model has no trained Q/DQ pairs.
    """
    model, graph = _open(source)
    convolutions = quantized_convolutions(graph)
    to_uint8(graph, convolutions)
    store_integers(graph, convolutions)
    round_biases(graph, convolutions)
    fuse_silu(model, graph)
    _save(model, graph, target)


def for_openvino(source: Path, target: Path) -> None:
    """Write ``source`` with int8 weights, and pairs before convolutions only.

    Its CPU plugin runs such pairs in integers with either type of activations. Raises as
    ``for_onnxruntime``.
    """
    model, graph = _open(source)
    convolutions = quantized_convolutions(graph)
    store_integers(graph, convolutions)
    drop_output_pairs(graph, convolutions)
    _save(model, graph, target)


def for_tensorrt(source: Path, target: Path) -> None:
    """Write ``source``, float32 or float16 between its pairs, as TensorRT fuses them.

    Weights stay in float before their pair, which the builder folds. Raises as ``for_onnxruntime``.
    """
    model, graph = _open(source)
    narrow_pairs(graph)
    drop_output_pairs(graph, quantized_convolutions(graph))
    _save(model, graph, target)


def _open(path: Path) -> tuple[Any, Graph]:
    import onnx

    model = onnx.load(path)
    return model, Graph(model)


def _save(model: Any, graph: Graph, path: Path) -> None:
    import onnx

    graph.sweep()
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)

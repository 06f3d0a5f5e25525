"""A detector with more work in it, for the gate's trials: real layers, the same output.

Beside the detector a branch reads some rows of the image: convolutions of 16 to 16 channels with
ReLUs between them, and the mean of what they give. It is added to the output with weights so small
that not a digit of a box changes; but it depends on the image and reaches the output, so no
optimiser may take it away. The rows are the fine measure of the work, the convolutions the coarse
one.
"""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

CHANNELS = 16
COLUMNS = 32
"""Columns of the image that the branch reads: few, so that a row is a small step."""

FAINT = 1e-9
"""Scale of the last convolution's weights: what is added is far below a float32's last digit."""

Weights = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Extra:
    """How much work is added: so many convolutions over so many rows of the image."""

    convolutions: int
    rows: int


def weights(extra: Extra) -> list[tuple[Weights, Weights]]:
    """Kernel and bias of each convolution of the branch, the same for the same ``extra``."""
    random = np.random.default_rng(0)
    found = []
    for index in range(extra.convolutions + 1):
        inputs = CHANNELS if index else 3
        scale = FAINT if index == extra.convolutions else 1 / np.sqrt(inputs * 9)
        kernel = random.normal(0, scale, (CHANNELS, inputs, 3, 3)).astype(np.float32)
        found.append((kernel, random.normal(0, scale, CHANNELS).astype(np.float32)))
    return found


def widen(artifact: Path, extra: Extra, out: Path) -> Path:
    """Write the model file ``artifact`` with ``extra`` work to the folder ``out``; its new path.

    ``.onnx`` for ONNX Runtime, ``.xml`` for OpenVINO; other files of its folder are copied along.
    """
    shutil.copytree(artifact.parent, out, dirs_exist_ok=True)
    target = out / artifact.name
    if artifact.suffix == ".onnx":
        _widen_onnx(artifact, extra, target)
    elif artifact.suffix == ".xml":
        _widen_openvino(artifact, extra, target)
    else:
        raise SystemExit(f"{artifact}: neither .onnx nor .xml, no layers can be added")
    return target


def _widen_onnx(source: Path, extra: Extra, target: Path) -> None:
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(source)
    graph = model.graph
    image, output = graph.input[0].name, graph.output[0].name

    def constant(name: str, values: npt.NDArray[Any]) -> str:
        graph.initializer.append(numpy_helper.from_array(values, f"wider/{name}"))
        return f"wider/{name}"

    def node(kind: str, name: str, inputs: list[str], result: str = "", **settings: Any) -> str:
        made = result or f"wider/{name}_output"
        graph.node.append(helper.make_node(kind, inputs, [made], f"wider/{name}", **settings))
        return made

    for item in graph.node:
        item.output[:] = ["wider/detector" if name == output else name for name in item.output]
        item.input[:] = ["wider/detector" if name == output else name for name in item.input]
    bounds = [
        constant(name, np.array(values, np.int64))
        for name, values in (("from", [0, 0]), ("to", [extra.rows, COLUMNS]), ("axes", [2, 3]))
    ]
    held = node("Slice", "slice", [image, *bounds])
    for index, (kernel, bias) in enumerate(weights(extra)):
        inputs = [held, constant(f"kernel{index}", kernel), constant(f"bias{index}", bias)]
        held = node("Conv", f"conv{index}", inputs, pads=[1, 1, 1, 1], kernel_shape=[3, 3])
        held = node("Relu", f"relu{index}", [held])
    opset = next(item.version for item in model.opset_import if item.domain in {"", "ai.onnx"})
    axes = [0, 1, 2, 3]
    if opset < 18:  # from then on the axes are an input
        held = node("ReduceMean", "mean", [held], keepdims=0, axes=axes)
    else:
        named = constant("mean_axes", np.array(axes, np.int64))
        held = node("ReduceMean", "mean", [held, named], keepdims=0)
    node("Add", "add", ["wider/detector", held], result=output)
    onnx.checker.check_model(model)
    onnx.save(model, target)


def _widen_openvino(source: Path, extra: Extra, target: Path) -> None:
    import openvino as ov
    from openvino import opset13 as ops

    model = ov.Core().read_model(source)
    result = model.get_results()[0]
    before = result.input_value(0)
    names = model.output(0).get_names()
    bounds = [
        ops.constant(np.array(values, np.int64)) for values in ([0, 0], [extra.rows, COLUMNS])
    ]
    steps, axes = (ops.constant(np.array(values, np.int64)) for values in ([1, 1], [2, 3]))
    held = ops.slice(model.get_parameters()[0], *bounds, steps, axes)
    for kernel, bias in weights(extra):
        held = ops.convolution(held, ops.constant(kernel), [1, 1], [1, 1], [1, 1], [1, 1])
        held = ops.relu(ops.add(held, ops.constant(bias.reshape(1, CHANNELS, 1, 1))))
    mean = ops.reduce_mean(held, ops.constant(np.array([0, 1, 2, 3], np.int64)), keep_dims=False)
    added = ops.add(before, mean)
    before.get_tensor().set_names(set())
    added.output(0).get_tensor().set_names(names)
    widened = ov.Model([ops.result(added)], model.get_parameters(), "wider")
    for key in ("framework", "model_info"):
        if model.has_rt_info(key):
            widened.set_rt_info(model.get_rt_info(key).value, key)
    # The runtime maps the weights of what it reads: never write over them.
    ov.save_model(widened, target, compress_to_fp16=False)

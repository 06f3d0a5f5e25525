"""A detector with more work in it, for the gate's trials: real layers, the same output.

Beside the detector a branch reads some rows of the image: a convolution to 16 channels, some from
16 to 16, ReLUs between them, and the mean of what they give. It is added to the output with weights
so small that not a digit of a box changes; but it depends on the image and reaches the output, so
no optimiser may take it away. The rows are the fine measure of the work, the convolutions the
coarse one.
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
    """How much work is added: so many convolutions over so many rows of the image.

    All of it as many times as there are ``branches``, each beside the others.
    """

    convolutions: int
    rows: int
    branches: int = 1


def weights(extra: Extra, branch: int) -> list[tuple[Weights, Weights]]:
    """Kernel and bias of each convolution of a branch, the same for the same ``extra``."""
    random = np.random.default_rng(branch)
    found = []
    for index in range(extra.convolutions + 1):
        inputs = CHANNELS if index else 3
        scale = FAINT if index == extra.convolutions else 1 / np.sqrt(inputs * 9)
        kernel = random.normal(0, scale, (CHANNELS, inputs, 3, 3)).astype(np.float32)
        found.append((kernel, random.normal(0, scale, CHANNELS).astype(np.float32)))
    return found


def window(extra: Extra, branch: int) -> tuple[list[int], list[int]]:
    """First and last row and column that a branch reads; no two branches read the same."""
    return [0, branch], [extra.rows, branch + COLUMNS]


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

    total = "wider/detector"
    for item in graph.node:
        item.output[:] = [total if name == output else name for name in item.output]
        item.input[:] = [total if name == output else name for name in item.input]
    opset = next(item.version for item in model.opset_import if item.domain in {"", "ai.onnx"})
    axes: dict[str, Any] = {"axes": [0, 1, 2, 3]}
    mean_of: list[str] = []
    if opset >= 18:  # from then on the axes are an input
        mean_of = [constant("mean_axes", np.array(axes.pop("axes"), np.int64))]
    sides = constant("sides", np.array([2, 3], np.int64))
    for branch in range(extra.branches):
        start, end = (
            constant(f"{branch}/{name}", np.array(values, np.int64))
            for name, values in zip(("from", "to"), window(extra, branch), strict=True)
        )
        held = node("Slice", f"{branch}/slice", [image, start, end, sides])
        for index, (kernel, bias) in enumerate(weights(extra, branch)):
            name = f"{branch}/{index}"
            inputs = [held, constant(f"{name}/kernel", kernel), constant(f"{name}/bias", bias)]
            held = node("Conv", f"{name}/conv", inputs, pads=[1] * 4, kernel_shape=[3, 3])
            held = node("Relu", f"{name}/relu", [held])
        held = node("ReduceMean", f"{branch}/mean", [held, *mean_of], keepdims=0, **axes)
        last = branch == extra.branches - 1
        total = node("Add", f"{branch}/add", [total, held], result=output if last else "")
    onnx.checker.check_model(model)
    onnx.save(model, target)


def _widen_openvino(source: Path, extra: Extra, target: Path) -> None:
    import openvino as ov
    from openvino import opset13 as ops

    model = ov.Core().read_model(source)
    result = model.get_results()[0]
    before = result.input_value(0)
    names = model.output(0).get_names()
    steps, sides = (ops.constant(np.array(values, np.int64)) for values in ([1, 1], [2, 3]))
    total = before
    for branch in range(extra.branches):
        start, end = (ops.constant(np.array(values, np.int64)) for values in window(extra, branch))
        held = ops.slice(model.get_parameters()[0], start, end, steps, sides)
        for kernel, bias in weights(extra, branch):
            held = ops.convolution(held, ops.constant(kernel), [1, 1], [1, 1], [1, 1], [1, 1])
            held = ops.relu(ops.add(held, ops.constant(bias.reshape(1, CHANNELS, 1, 1))))
        axes = ops.constant(np.array([0, 1, 2, 3], np.int64))
        total = ops.add(total, ops.reduce_mean(held, axes, keep_dims=False)).output(0)
    before.get_tensor().set_names(set())
    total.get_tensor().set_names(names)
    widened = ov.Model([ops.result(total)], model.get_parameters(), "wider")
    for key in ("framework", "model_info"):
        if model.has_rt_info(key):
            widened.set_rt_info(model.get_rt_info(key).value, key)
    # The runtime maps the weights of what it reads: never write over them.
    ov.save_model(widened, target, compress_to_fp16=False)

"""Small ONNX files of other conventions: random weights, real arithmetic, a few kilobytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from deploymark.backends.inputs import Size

CLASSES = 3
STRIDES = (8, 16, 32)


class Graph:
    """Nodes and constants, as they come."""

    def __init__(self, seed: int) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.random = np.random.default_rng(seed)

    def constant(self, name: str, value: Any, dtype: str = "float32") -> str:
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def looks(self, stride: int, channels: int, name: str, scale: float) -> str:
        """(1, places, channels) of ``images``: a convolution of that stride, turned."""
        weights = self.random.normal(0, 1, (channels, 3, stride, stride)) * scale / stride
        weights -= weights.mean(axis=(1, 2, 3), keepdims=True)  # a plain picture gives nothing
        kernel = self.constant(f"{name}_weights", weights)
        seen = self.add("Conv", ["images", kernel], f"{name}_seen", strides=[stride, stride])
        shape = self.constant(f"{name}_shape", [1, channels, -1], "int64")
        flat = self.add("Reshape", [seen, shape], f"{name}_flat")
        return self.add("Transpose", [flat], name, perm=[0, 2, 1])

    def save(self, path: Path, inputs: dict[str, Any], outputs: dict[str, Any]) -> Path:
        """With inputs and outputs of (element type, shape) by name."""
        import onnx
        from onnx import TensorProto, helper

        told = [
            [
                helper.make_tensor_value_info(name, getattr(TensorProto, kind), shape)
                for name, (kind, shape) in ends.items()
            ]
            for ends in (inputs, outputs)
        ]
        graph = helper.make_graph(self.nodes, "small", *told, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model)
        onnx.save(model, path)
        return path


def yolox(path: Path, size: Size) -> Path:
    """YOLOX's raw output (1, places, 5 + classes) of BGR in 0 to 255."""
    graph = Graph(1)
    heads = [graph.looks(stride, 5 + CLASSES, f"p{stride}", 0.02) for stride in STRIDES]
    graph.add("Concat", heads, "all", axis=1)
    graph.add("Split", ["all", graph.constant("parts", [4, 1 + CLASSES], "int64")], "boxes", axis=2)
    graph.nodes[-1].output.append("logits")
    graph.add("Sigmoid", ["logits"], "scores")
    graph.add("Concat", ["boxes", "scores"], "output", axis=2)
    places = sum(size.height // stride * (size.width // stride) for stride in STRIDES)
    return graph.save(
        path,
        {"images": ("FLOAT", (1, 3, *size))},
        {"output": ("FLOAT", (1, places, 5 + CLASSES))},
    )


def rtdetr(path: Path, size: Size) -> Path:
    """RT-DETR's three outputs, in another order than its own, scaled by ``orig_target_sizes``."""
    graph = Graph(2)
    stride = 16
    boxes = graph.looks(stride, 4, "raw_boxes", 1.0)
    logits = graph.looks(stride, CLASSES, "logits", 2.0)
    shares = graph.add("Sigmoid", [boxes], "shares")
    graph.add("Split", [shares, graph.constant("two", [2, 2], "int64")], "corner", axis=2)
    graph.nodes[-1].output.append("sides")
    graph.add("Add", ["corner", "sides"], "other")
    graph.add("Concat", ["corner", "other"], "corners", axis=2)
    graph.add("Cast", ["orig_target_sizes"], "sizes", to=1)
    graph.add("Concat", ["sizes", "sizes"], "twice", axis=1)
    graph.add("Unsqueeze", ["twice", graph.constant("one", [1], "int64")], "factors")
    graph.add("Mul", ["corners", "factors"], "boxes")
    graph.add("Sigmoid", [logits], "probabilities")
    graph.add("ReduceMax", ["probabilities"], "scores", axes=[2], keepdims=0)
    graph.add("ArgMax", ["probabilities"], "labels", axis=2, keepdims=0)
    places = size.height // stride * (size.width // stride)
    return graph.save(
        path,
        {"images": ("FLOAT", (1, 3, *size)), "orig_target_sizes": ("INT64", (1, 2))},
        {
            "scores": ("FLOAT", (1, places)),
            "boxes": ("FLOAT", (1, places, 4)),
            "labels": ("INT64", (1, places)),
        },
    )

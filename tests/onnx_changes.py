"""Files of other conventions, made from a good ONNX file of (1, 4 + classes, places) in pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np


class Change:
    """A copy of a file that nodes are added to, behind its output or before its input."""

    def __init__(self, source: Path) -> None:
        import onnx

        self.model = onnx.load(source)
        self.graph = self.model.graph
        self.output = self.graph.output[0].name
        _, self.channels, self.places = (
            size.dim_value for size in self.graph.output[0].type.tensor_type.shape.dim
        )
        self.side = self.graph.input[0].type.tensor_type.shape.dim[2].dim_value

    def constant(self, name: str, value: Any, dtype: str = "float32") -> str:
        from onnx import numpy_helper

        self.graph.initializer.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def behind(self, shape: tuple[int, ...], *nodes: Any) -> Change:
        """Nodes that take the output; that of the last one is of ``shape``."""
        from onnx import TensorProto, helper

        self.graph.node.extend(nodes)
        self.graph.output[0].CopyFrom(
            helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, shape)
        )
        return self

    def before(self, shape: tuple[int, ...], element: str, *nodes: Any) -> Change:
        """Nodes that take ``raw``, of ``shape``, and give ``converted`` to what took the image."""
        from onnx import TensorProto, helper

        image = self.graph.input[0].name
        for node in self.graph.node:
            node.input[:] = ["converted" if name == image else name for name in node.input]
        kept = list(self.graph.node)
        del self.graph.node[:]
        self.graph.node.extend([*nodes, *kept])
        self.graph.input[0].CopyFrom(
            helper.make_tensor_value_info("raw", getattr(TensorProto, element), shape)
        )
        return self

    def save(self, path: Path) -> Path:
        import onnx

        onnx.checker.check_model(self.model)
        onnx.save(self.model, path)
        return path


def shares(source: Path, path: Path) -> Path:
    """Boxes as shares of the input's sides."""
    from onnx import helper

    change = Change(source)
    scale = np.ones((1, change.channels, 1))
    scale[:, :4] = 1 / change.side
    change.constant("s", scale)
    node = helper.make_node("Mul", [change.output, "s"], ["o"])
    return change.behind((1, change.channels, change.places), node).save(path)


def turned(source: Path, path: Path) -> Path:
    """(batch, places, 4 + classes)."""
    from onnx import helper

    change = Change(source)
    node = helper.make_node("Transpose", [change.output], ["o"], perm=[0, 2, 1])
    return change.behind((1, change.places, change.channels), node).save(path)


def with_objectness(source: Path, path: Path, classes: int | None = None) -> Path:
    """YOLOv5's: (batch, places, 5 + classes); of the first ``classes`` where they are given."""
    from onnx import helper

    change = Change(source)
    kept = change.channels if classes is None else 4 + classes
    change.constant("begin", [0], "int64")
    change.constant("end", [kept], "int64")
    change.constant("axis", [2], "int64")
    change.constant("parts", [4, kept - 4], "int64")
    change.constant("ones", np.ones((1, change.places, 1)))
    nodes = [
        helper.make_node("Transpose", [change.output], ["t"], perm=[0, 2, 1]),
        helper.make_node("Slice", ["t", "begin", "end", "axis"], ["f"]),
        helper.make_node("Split", ["f", "parts"], ["b", "k"], axis=2),
        helper.make_node("Concat", ["b", "ones", "k"], ["o"], axis=2),
    ]
    return change.behind((1, change.places, kept + 1), *nodes).save(path)


def of_0_to_255(source: Path, path: Path) -> Path:
    """An input of floats from 0 to 255."""
    from onnx import helper

    change = Change(source)
    change.constant("n255", 255.0)
    node = helper.make_node("Div", ["raw", "n255"], ["converted"])
    return change.before((1, 3, change.side, change.side), "FLOAT", node).save(path)


def of_bytes(source: Path, path: Path) -> Path:
    """An input of bytes, channels last."""
    from onnx import TensorProto, helper

    change = Change(source)
    change.constant("n255", 255.0)
    nodes = [
        helper.make_node("Cast", ["raw"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["f", "n255"], ["d"]),
        helper.make_node("Transpose", ["d"], ["converted"], perm=[0, 3, 1, 2]),
    ]
    return change.before((1, change.side, change.side, 3), "UINT8", *nodes).save(path)


def with_metadata(source: Path, path: Path, **values: str) -> Path:
    """The same with notes as Ultralytics' exporter leaves them."""
    change = Change(source)
    for key, value in values.items():
        entry = change.model.metadata_props.add()
        entry.key, entry.value = key, value
    return change.save(path)

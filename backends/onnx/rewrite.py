"""Changing ONNX graphs in place: constants as arrays, values redirected, the unread swept out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy.typing as npt


class Graph:
    """An ONNX graph with its nodes by what they make and take, and its constants as arrays."""

    def __init__(self, model: Any) -> None:
        from onnx import numpy_helper

        self.proto = model.graph
        _inline_identities(self.proto)
        self.constants: dict[str, npt.NDArray[Any]] = {
            tensor.name: numpy_helper.to_array(tensor) for tensor in self.proto.initializer
        }
        for node in self.proto.node:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                self.constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        self.makers = {name: node for node in self.proto.node for name in node.output}
        self.outputs = {value.name for value in self.proto.output}

    def takers(self, name: str) -> list[Any]:
        """The nodes that read a value."""
        return [node for node in self.proto.node if name in node.input]

    def add_constant(self, name: str, values: npt.NDArray[Any]) -> str:
        """A new initializer, or the one of this name. Returns the name."""
        from onnx import numpy_helper

        if name not in self.constants:
            self.constants[name] = values
            self.proto.initializer.append(numpy_helper.from_array(values, name))
        return name

    def narrow(self, node: Any, index: int) -> None:
        """Make a constant input of a node float16; what is above 0 stays above 0."""
        import numpy as np

        name = node.input[index]
        values = self.constants[name]
        half = values.astype(np.float16)
        half[(half == 0) & (values > 0)] = np.finfo(np.float16).smallest_subnormal
        node.input[index] = self.add_constant(f"{name}_float16", half)

    def redirect(self, old: str, new: str) -> None:
        """Let every reader of ``old`` read ``new``."""
        for node in self.proto.node:
            for index, name in enumerate(node.input):
                if name == old:
                    node.input[index] = new

    def sweep(self) -> None:
        """Remove nodes and initializers that nothing reads."""
        needed = set(self.outputs)
        kept: list[Any] = []
        for node in reversed(self.proto.node):
            if not needed.isdisjoint(node.output):
                needed.update(node.input)
                kept.append(node)
        del self.proto.node[:]
        self.proto.node.extend(reversed(kept))
        del self.proto.value_info[:]  # what the exporter knew of types and shapes
        tensors = [tensor for tensor in self.proto.initializer if tensor.name in needed]
        del self.proto.initializer[:]
        self.proto.initializer.extend(tensors)


def _inline_identities(graph: Any) -> None:
    """Remove the Identity nodes by which the exporter shares equal initializers."""
    names = {tensor.name for tensor in graph.initializer}
    same: dict[str, str] = {}
    for node in graph.node:
        if node.op_type == "Identity" and same.get(node.input[0], node.input[0]) in names:
            same[node.output[0]] = same.get(node.input[0], node.input[0])
    kept = [node for node in graph.node if node.op_type != "Identity" or node.output[0] not in same]
    for node in kept:
        for index, name in enumerate(node.input):
            node.input[index] = same.get(name, name)
    del graph.node[:]
    graph.node.extend(kept)

"""What an ONNX file is made of, read from its bytes without ``onnx``.

Operators, the data types of its weights, and the files beside it that hold weights: enough to tell
a precision, and what belongs to the artifact.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping
from pathlib import Path

from deploymark.backends.base import LoadError
from deploymark.backends.onnx.wire import FLOAT, FLOAT16, GRAPH_INITIALIZER, MODEL_GRAPH, fields

GRAPH_NODE = 1
NODE_OPERATOR = 4
TENSOR_DIMS, TENSOR_TYPE, TENSOR_EXTERNAL = 1, 2, 13
ENTRY_KEY, ENTRY_VALUE = 1, 2
"""Field numbers of ``onnx/onnx.proto``."""

FLOATING = {FLOAT: "fp32", FLOAT16: "fp16", 16: "bf16"}
"""Floating ``TensorProto.DataType`` of weights, as precisions."""

DYNAMIC_OPERATORS = frozenset({"ConvInteger", "MatMulInteger", "DynamicQuantizeLinear"})
"""Operators whose activations get their scale at run time."""


@dataclasses.dataclass(frozen=True)
class Content:
    """Counts and names.

    ``operators`` counts the nodes by type, ``weights`` the elements of weights by
    ``TensorProto.DataType``; ``external`` are the names of files beside it that hold weights.
    """

    operators: Mapping[str, int]
    weights: Mapping[int, int]
    external: tuple[str, ...]

    @property
    def precision(self) -> str | None:
        """The precision that operators and weights show, None where there are no weights.

        int8: activations are quantized with scales from the file. int8-dynamic: with scales made
        at run time. int8-weights: weights are widened before they are used. Otherwise the type of
        most floating weights.
        """
        kinds = set(self.operators)
        if kinds & DYNAMIC_OPERATORS:
            return "int8-dynamic"
        if "QuantizeLinear" in kinds or any(kind.startswith("QLinear") for kind in kinds):
            return "int8"
        if "DequantizeLinear" in kinds:
            return "int8-weights"
        floating = {kind: self.weights.get(kind, 0) for kind in FLOATING}
        most = max(floating, key=lambda kind: floating[kind])
        return FLOATING[most] if floating[most] else None


def read_content(path: Path) -> Content:
    """What the file is made of; nodes inside of a branch or loop are not looked at.

    Raises LoadError where it cannot be read or its bytes are no ONNX model.
    """
    operators: collections.Counter[str] = collections.Counter()
    weights: collections.Counter[int] = collections.Counter()
    external: dict[str, None] = {}
    try:
        for number, graph in fields(memoryview(path.read_bytes())):
            if number != MODEL_GRAPH or isinstance(graph, int):
                continue
            for inner, part in fields(graph):
                if isinstance(part, int):
                    continue
                if inner == GRAPH_NODE:
                    operators.update(_texts(part, NODE_OPERATOR))
                elif inner == GRAPH_INITIALIZER:
                    kind, count, location = _weight(part)
                    weights[kind] += count
                    external.update(dict.fromkeys(location))
    except OSError as error:
        raise LoadError(f"{path} cannot be read: {error}") from error
    except (ValueError, IndexError) as error:
        raise LoadError(
            f"{path} is no ONNX model, or it is cut off: {error}",
            remedy="Fetch it again, or export it anew.",
        ) from error
    return Content(dict(operators), dict(weights), tuple(external))


def files_of(path: Path, content: Content) -> list[Path]:
    """The file and those beside it that hold its weights.

    Raises LoadError for one that is not there, or not in the file's folder.
    """
    found = [path]
    for name in content.external:
        file = path.parent / name
        if ".." in file.parts or not file.is_relative_to(path.parent):
            raise LoadError(f"{path} keeps weights outside of its folder, in {name}")
        if not file.is_file():
            raise LoadError(f"there is no file {file}, which holds weights of {path.name}")
        found.append(file)
    return found


def _texts(message: memoryview, wanted: int) -> list[str]:
    """Every text of one field."""
    return [
        bytes(value).decode("utf-8")
        for number, value in fields(message)
        if number == wanted and not isinstance(value, int)
    ]


def _weight(tensor: memoryview) -> tuple[int, int, list[str]]:
    """Data type, number of elements and external files of a ``TensorProto``."""
    kind, count = 0, 1
    location: list[str] = []
    for number, value in fields(tensor):
        if number == TENSOR_TYPE and isinstance(value, int):
            kind = value
        elif number == TENSOR_DIMS:
            # One number a field, or all of them packed into one.
            count *= value if isinstance(value, int) else _product(value)
        elif (
            number == TENSOR_EXTERNAL
            and not isinstance(value, int)
            and _texts(value, ENTRY_KEY) == ["location"]
        ):
            location += _texts(value, ENTRY_VALUE)
    return kind, count, location


def _product(packed: memoryview) -> int:
    """The product of packed varints."""
    product, value, shift = 1, 0, 0
    for byte in packed:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:  # noqa: PLR2004 - the highest bit says that more follow
            product *= value
            value = shift = 0
    return product

"""Reading ONNX Runtime's profile: which operators ran, on which data types."""

from __future__ import annotations

import collections
import json
from collections.abc import Iterator, Mapping
from typing import Any

SHORT_TYPES = {
    "float": "f32",
    "float16": "f16",
    "bfloat16": "bf16",
    "double": "f64",
    "int8": "i8",
    "uint8": "u8",
    "int32": "i32",
    "int64": "i64",
}
"""ONNX Runtime's names of element types and those of ``ExecutedPrecision``."""


def _first_type(shapes: list[dict[str, Any]]) -> str:
    """Element type of the first tensor of a list like ``[{"float": [1, 3, 32, 32]}, …]``."""
    for shape in shapes:
        for name in shape:
            return SHORT_TYPES.get(name, name)
    return ""


def _kernels(profile: str) -> Iterator[dict[str, Any]]:
    """The arguments of every event that is a run of an operator."""
    for event in json.loads(profile):
        if event.get("cat") == "Node" and event.get("name", "").endswith("_kernel_time"):
            yield event.get("args", {})


def data_type(arguments: Mapping[str, Any]) -> str:
    """The type that an operator computed in, by the arguments of its event; empty if untold.

    The data type is the first input's; that of ``QLinear…`` operators, whose first input may be a
    scale, is the output's.
    """
    took = _first_type(arguments.get("input_type_shape", []))
    gave = _first_type(arguments.get("output_type_shape", []))
    if arguments.get("op_name", "").startswith("QLinear"):
        return gave or took
    return took or gave


def placement(profile: str) -> str:
    """How many operators ran on which execution provider, as words."""
    counts = collections.Counter(
        arguments.get("provider", "unknown") for arguments in _kernels(profile)
    )
    return ", ".join(f"{count} nodes on {provider}" for provider, count in counts.most_common())


def layers(profile: str) -> dict[str, int]:
    """Counts of executed operators by type and data type.

    ``profile`` is the JSON text that ``InferenceSession.end_profiling`` leaves, of one inference.
    """
    counts: collections.Counter[str] = collections.Counter()
    for arguments in _kernels(profile):
        operator = arguments.get("op_name", "unknown")
        counts[f"{operator}:{data_type(arguments) or 'unknown'}"] += 1
    return dict(sorted(counts.items()))

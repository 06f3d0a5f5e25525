"""Reading TensorRT's engine inspector: which layers an engine runs, on which data types."""

from __future__ import annotations

import collections
import json
import re
from collections.abc import Mapping
from typing import Any

TYPES = {
    "f32": ("fp32", "float"),
    "f16": ("fp16", "half"),
    "bf16": ("bf16", "bfloat16"),
    "i8": ("int8",),
    "u8": ("uint8",),
    "f8": ("fp8",),
    "i32": ("int32",),
    "i64": ("int64",),
    "bool": ("bool",),
}
"""Short names of data types and the words that the inspector writes for them: ``Row major linear
FP32`` and ``Thirty-two wide channel vectorized row major Int8 format`` in 8.x and 10.x, ``Half``
and ``Float`` alone in later ones."""

CONVOLUTION = re.compile(r"\[ONNX Layer: [^\]]*\bConv(?:Transpose)?(?:_\d+)?\]")
"""A convolution among the ONNX nodes that a fused layer notes as its origin."""

KERNELS = re.compile(r"gemm|xmma|conv|cask|cutlass|cudnn", re.IGNORECASE)
"""Parts of names of layer types and kernels that multiply, which pointwise fusions have not."""


def data_type(text: str) -> str:
    """The type in a ``Format/Datatype``, empty where there is none that is known."""
    words = set(re.findall(r"[a-z0-9]+", text.lower()))
    return next((short for short, names in TYPES.items() if words.intersection(names)), "")


def computes_in(layer: Mapping[str, Any]) -> str:
    """A layer's type: that of its weights where it tells them, else its first input's."""
    weights = layer.get("Weights")
    if isinstance(weights, dict):
        found = data_type(str(weights.get("Type", "")))
        if found:
            return found
    for side in ("Inputs", "Outputs"):
        for tensor in layer.get(side) or ():
            found = data_type(str(tensor.get("Format/Datatype", "")))
            if found:
                return found
    return "unknown"


def operator(layer: Mapping[str, Any]) -> str:
    """What a layer does, a convolution among others that are fused with it counting as one."""
    kind = str(layer.get("LayerType", "unknown"))
    known = str(layer.get("ParameterType", ""))
    if "conv" in kind.lower() or "conv" in known.lower():
        return known or kind
    kernel = f"{kind} {layer.get('TacticName', '')}"
    if CONVOLUTION.search(str(layer.get("Metadata", ""))) and KERNELS.search(kernel):
        return "Convolution"
    return known or kind


def layers(information: str) -> dict[str, int]:
    """Counts of an engine's layers by type and data type.

    ``information`` is what ``EngineInspector.get_engine_information`` gives as JSON. It is empty
    for engines that were built without ``ProfilingVerbosity.DETAILED``: those list names alone.
    """
    try:
        found = json.loads(information)
    except ValueError:
        return {}
    entries = found.get("Layers") if isinstance(found, dict) else None
    counts: collections.Counter[str] = collections.Counter()
    for layer in entries or ():
        if isinstance(layer, dict):
            counts[f"{operator(layer)}:{computes_in(layer)}"] += 1
    return dict(sorted(counts.items()))

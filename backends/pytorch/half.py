"""Half precision for torch modules: 16 bits everywhere but in the decode.

Autocast would do, but it converts the weights again at every inference once a program is exported.
Here the weights are stored in 16 bits, and hooks convert activations where they pass from one
region to the other, so that a tracer records the conversions.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

DTYPES = {"bf16": "bfloat16", "fp16": "float16"}
"""torch's names of the 16-bit types, by precision."""

PROBE_NODE = "Op"
"""Stands for an operator's name at the end of a node name when asking whether a module is float."""


def node_prefix(path: str) -> str:
    """A module path as the ONNX exporter writes it: ``model.23.cv2.0`` is ``/model.23/cv2.0/``."""
    return "/" + re.sub(r"\.(?!\d)", "/", path) + "/" if path else "/"


def is_float(path: str, float_nodes: Sequence[str]) -> bool:
    """True if operators that the module itself runs are to stay in float32."""
    name = node_prefix(path) + PROBE_NODE
    return any(re.fullmatch(pattern, name) for pattern in float_nodes)


def convert(model: Any, precision: str, float_nodes: Sequence[str]) -> None:
    """Convert a module in place; its input and its output stay float32.

    Modules whose node names ``float_nodes`` match keep float32 weights and get float32 inputs: the
    decode, where bfloat16's 8 significant bits would place boxes to the nearest pixels only.
    """
    import torch

    half = getattr(torch, DTYPES[precision])

    def cast(value: Any, dtype: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return value.to(dtype) if value.is_floating_point() and value.dtype != dtype else value
        if isinstance(value, (list, tuple)):
            return type(value)(cast(item, dtype) for item in value)
        if isinstance(value, dict):
            return {key: cast(item, dtype) for key, item in value.items()}
        return value

    containers = (torch.nn.ModuleList, torch.nn.ModuleDict)
    floats: dict[str, bool] = {}
    for path, module in model.named_modules():
        if isinstance(module, containers):  # never called, so it has no place in the flow
            continue
        floats[path] = is_float(path, float_nodes)
        inside = torch.float32 if floats[path] else half
        # What the decode gives stays in float32 also where its caller is half: behind it is the
        # model's own output, and a half module that took it would convert it itself.
        stays = not path or floats[path] or floats[_caller(path, floats)]
        outside = torch.float32 if stays else half
        _convert_weights(torch, module, inside)
        module.register_forward_pre_hook(
            lambda _module, args, dtype=inside: cast(args, dtype), prepend=True
        )
        if outside != inside:
            module.register_forward_hook(
                lambda _module, _args, output, dtype=outside: cast(output, dtype)
            )


def _convert_weights(torch: Any, module: Any, dtype: Any) -> None:
    """Convert the module's own parameters and buffers, not those of modules inside it."""
    for name, parameter in module.named_parameters(recurse=False):
        if parameter.is_floating_point():
            setattr(module, name, torch.nn.Parameter(parameter.to(dtype), requires_grad=False))
    for name, buffer in module.named_buffers(recurse=False):
        if buffer.is_floating_point():
            setattr(module, name, buffer.to(dtype))


def _caller(path: str, called: dict[str, bool]) -> str:
    """Path of the nearest module around this one that is called as a function."""
    parent = path.rpartition(".")[0]
    while parent not in called:
        parent = parent.rpartition(".")[0]
    return parent

"""Backends by name: those shipped here and those of entry points ``deploymark.backends``.

A backend is named by the string ``module:Class`` and resolved where it is needed, so that a broken
third-party package cannot stop a run of other cells.
"""

from __future__ import annotations

import functools
import importlib

from backends.base import Backend, UnavailableError

ENTRY_POINT_GROUP = "deploymark.backends"

BUILTIN: dict[str, str] = {
    "torch": "backends.torch_eager:TorchBackend",
    "torchscript": "backends.torchscript:TorchScriptBackend",
    "aotinductor": "backends.aotinductor:AotInductorBackend",
    "onnxruntime": "backends.onnxruntime:OnnxRuntimeBackend",
    "openvino": "backends.openvino:OpenVinoBackend",
    "tensorrt": "backends.tensorrt:TensorRtBackend",
    "coreml": "backends.coreml:CoreMlBackend",
    "litert": "backends.litert:LiteRtBackend",
    "ncnn": "backends.ncnn:NcnnBackend",
    "mnn": "backends.mnn:MnnBackend",
    "paddle": "backends.paddle:PaddleBackend",
    "executorch": "backends.executorch:ExecuTorchBackend",
    "opencv": "backends.opencv:OpenCvBackend",
    "iree": "backends.iree:IreeBackend",
}


@functools.cache
def specs() -> dict[str, str]:
    """Class strings ``module:Class`` by backend name; shipped ones win over third parties'."""
    from importlib import metadata  # slow, and no worker asks

    third_party = {
        point.name: point.value for point in metadata.entry_points(group=ENTRY_POINT_GROUP)
    }
    return third_party | BUILTIN


def resolve(spec: str) -> Backend:
    """The backend that ``module:Class`` names. Raises UnavailableError if it cannot be imported."""
    module_name, _, class_name = spec.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), class_name)()
    except Exception as error:
        raise UnavailableError(
            f"backend {spec!r} cannot be imported: {type(error).__name__}: {error}",
            remedy="Reinstall the package that provides it, or take it out of the matrix.",
        ) from error
    if not isinstance(found, Backend):
        raise UnavailableError(f"backend {spec!r} is not a backends.base.Backend")
    return found

"""Backends by name: those shipped here and those of entry points ``deploymark.backends``.

A backend is named by the string ``module:Class`` and resolved where it is needed, so that a broken
third-party package cannot stop a run of other cells.
"""

from __future__ import annotations

import functools
import importlib

from deploymark.backends.base import Backend, UnavailableError

ENTRY_POINT_GROUP = "deploymark.backends"

BUILTIN: dict[str, str] = {
    "torch": "deploymark.backends.pytorch.eager:TorchBackend",
    "torchscript": "deploymark.backends.pytorch.torchscript:TorchScriptBackend",
    "aotinductor": "deploymark.backends.pytorch.aotinductor:AotInductorBackend",
    "onnxruntime": "deploymark.backends.onnxruntime:OnnxRuntimeBackend",
    "openvino": "deploymark.backends.openvino:OpenVinoBackend",
    "tensorrt": "deploymark.backends.tensorrt:TensorRtBackend",
    "coreml": "deploymark.backends.coreml:CoreMlBackend",
    "litert": "deploymark.backends.litert:LiteRtBackend",
    "ncnn": "deploymark.backends.ncnn:NcnnBackend",
    "mnn": "deploymark.backends.mnn:MnnBackend",
    "paddle": "deploymark.backends.paddle:PaddleBackend",
    "executorch": "deploymark.backends.executorch:ExecuTorchBackend",
    "opencv": "deploymark.backends.opencv:OpenCvBackend",
    "iree": "deploymark.backends.iree:IreeBackend",
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
        raise UnavailableError(f"backend {spec!r} is not a deploymark.backends.base.Backend")
    return found

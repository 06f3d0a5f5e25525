"""ONNX Runtime's execution providers: which build has them, what each serves and how it is set up.

Only the CPU provider has been run where this was written; the others follow ONNX Runtime's
documentation (``onnxruntime.ai/docs/execution-providers``) and have not been run.
"""

from __future__ import annotations

import dataclasses
import json
import platform
from typing import Any

from deploymark.backends import packages
from deploymark.backends.base import LoadOptions, Service, UnavailableError, UnsupportedError
from deploymark.backends.hardware import accelerators, half

DISTRIBUTIONS = (
    "onnxruntime-gpu",
    "onnxruntime-openvino",
    "onnxruntime-directml",
    "onnxruntime",
)
"""Builds of the runtime that this module knows the providers of; they exclude each other."""

CPU_PROVIDER = "CPUExecutionProvider"


@dataclasses.dataclass(frozen=True)
class Device:
    """A device of a cell. ``providers`` can serve it, the first of the build's is taken.

    ``distribution`` is the build that has them, ``precisions`` what they compute, ``remedy`` mends
    a provider that does not start.
    """

    providers: tuple[str, ...]
    distribution: str
    precisions: tuple[str, ...]
    remedy: str


DEVICES = {
    "cpu": Device(
        (CPU_PROVIDER,),
        "",
        ("fp32", "fp16", "int8", "int8-dynamic", "int8-qat"),
        "Reinstall onnxruntime.",
    ),
    "cuda": Device(
        ("CUDAExecutionProvider",),
        "onnxruntime-gpu",
        ("fp32", "fp16"),
        "Install the CUDA and cuDNN versions that this onnxruntime-gpu asks for: "
        "pip install 'onnxruntime-gpu[cuda,cudnn]'",
    ),
    "tensorrt": Device(
        ("TensorrtExecutionProvider", "NvTensorRTRTXExecutionProvider"),
        "onnxruntime-gpu",
        ("fp32", "fp16"),
        "Install the TensorRT libraries that this onnxruntime-gpu asks for, on the library path.",
    ),
    "coreml": Device(
        ("CoreMLExecutionProvider",), "onnxruntime", ("fp32", "fp16"), "Take macOS 12 or newer."
    ),
    "openvino": Device(
        ("OpenVINOExecutionProvider",),
        "onnxruntime-openvino",
        ("fp32", "fp16", "int8", "int8-qat"),
        "Install the openvino version that this onnxruntime-openvino asks for",
    ),
    "directml": Device(
        ("DmlExecutionProvider",),
        "onnxruntime-directml",
        ("fp32", "fp16", "int8", "int8-qat"),
        "Install a graphics driver with DirectX 12.",
    ),
}
"""Devices by name. ONNX Runtime computes bfloat16 on none of them here."""

ONLY_ON = {"coreml": " (on macOS)", "directml": " (on Windows)"}
"""Devices whose provider is in the wheel for one system only."""

PRECISIONS = ("fp32", "fp16", "bf16", "int8", "int8-dynamic", "int8-qat")
"""Precisions that a probe speaks of."""

_UNSIGNED = (
    "TensorRT takes symmetric signed activations only, which the INT8 files of this backend do not "
    "have"
)
_NO_INTEGERS = "ONNX Runtime's Core ML provider takes no quantized operators"

ABSENT = {
    ("tensorrt", "int8"): _UNSIGNED,
    ("tensorrt", "int8-qat"): _UNSIGNED,
    ("coreml", "int8"): _NO_INTEGERS,
    ("coreml", "int8-qat"): _NO_INTEGERS,
}
"""Why a device lacks a precision, where the reason is a particular one."""


def built_in(distribution: str, system: str) -> tuple[str, ...]:
    """Devices that a distribution's wheel for an operating system (``platform.system``) has."""
    devices = [name for name, device in DEVICES.items() if device.distribution == distribution]
    if system != "Darwin":
        devices = [name for name in devices if name != "coreml"]
    return ("cpu", *devices)


def _hardware(device: str, system: str) -> tuple[str, str]:
    """Why a device of the build cannot be used on this machine, and what mends it; else empty."""
    if device in {"cuda", "tensorrt"} and not accelerators.has_nvidia_gpu():
        return "no NVIDIA driver is loaded", "Install NVIDIA's driver, or run where a GPU is."
    if device == "directml" and system != "Windows":
        return "DirectML is a part of Windows", "Run it on Windows."
    return "", ""


def services(distribution: str) -> dict[tuple[str, str], Service]:
    """What a build serves on this machine, told without importing it.

    A provider that the build has on a machine without its hardware exists and is not served. An
    NVIDIA GPU that this build has no provider for is told of, too.
    """
    system = platform.system()
    devices = built_in(distribution, system)
    found: dict[tuple[str, str], Service] = {}
    for name in devices:
        reason, remedy = _hardware(name, system)
        for precision in PRECISIONS:
            if precision in DEVICES[name].precisions:
                found[name, precision] = Service(served=not reason, reason=reason, remedy=remedy)
                continue
            common = f"ONNX Runtime's {DEVICES[name].providers[0]} has no {precision} convolution"
            why = ABSENT.get((name, precision), common)
            found[name, precision] = Service.never(why)
    found["cpu", "fp16"] = half.on_cpu("ONNX Runtime")
    if "openvino" in devices:
        found["openvino", "fp16"] = Service(
            served=True,
            native=False,
            reason="the OpenVINO provider computes in float32 on the CPU, from float16 weights",
        )
    if "cuda" not in devices and accelerators.has_nvidia_gpu():
        lacking = Service(
            served=False,
            reason=f"the installed build, {distribution}, has no CUDA provider",
            remedy=f"pip uninstall {distribution} && pip install onnxruntime-gpu",
        )
        found |= {("cuda", precision): lacking for precision in DEVICES["cuda"].precisions}
    return found


def installed() -> tuple[str, str] | None:
    """The distribution that is installed and its version, None if none is."""
    for distribution in DISTRIBUTIONS:
        version = packages.installed_version(distribution)
        if version is not None:
            return distribution, version
    return None


def choose(device: str, available: list[str]) -> str:
    """The provider for a device, of those that this build has.

    Raises UnsupportedError for a device that ONNX Runtime does not have, UnavailableError where the
    build has no provider for it.
    """
    known = DEVICES.get(device)
    if known is None:
        raise UnsupportedError(
            f"onnxruntime has no device {device!r}", remedy=f"Its devices are {', '.join(DEVICES)}."
        )
    for provider in known.providers:
        if provider in available:
            return provider
    raise UnavailableError(
        f"this build of onnxruntime has no {known.providers[0]} for the device {device!r}",
        remedy=f"pip install {known.distribution}{ONLY_ON.get(device, '')}"
        if known.distribution
        else known.remedy,
    )


def provider_options(provider: str, options: LoadOptions) -> dict[str, str]:
    """What decides speed and precision on a provider, spelled out.

    TF32 is off on NVIDIA's: it rounds float32 operands to 10 bits. Core ML's program format keeps
    the file's types, and ``ALL`` lets it choose among CPU, GPU and neural engine. OpenVINO runs on
    its CPU plugin, in f32, with the cell's threads and one stream.
    """
    if provider == "CUDAExecutionProvider":
        return {
            "device_id": "0",
            "use_tf32": "0",
            "cudnn_conv_algo_search": "EXHAUSTIVE",
            "do_copy_in_default_stream": "1",
        }
    if provider == "TensorrtExecutionProvider":
        half = "1" if options.precision == "fp16" else "0"
        return {
            "device_id": "0",
            "trt_fp16_enable": half,
            "trt_int8_enable": "0",
            "trt_engine_cache_enable": "0",
            "trt_timing_cache_enable": "0",
        }
    if provider == "CoreMLExecutionProvider":
        return {
            "ModelFormat": "MLProgram",
            "MLComputeUnits": "ALL",
            "RequireStaticInputShapes": "1",
            "EnableOnSubgraphs": "0",
            "AllowLowPrecisionAccumulationOnGPU": "0",
        }
    if provider == "OpenVINOExecutionProvider":
        properties = {
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": str(options.threads),
            "NUM_STREAMS": "1",
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": "NO",
        }
        return {"device_type": "CPU", "load_config": json.dumps({"CPU": properties})}
    return {} if provider == CPU_PROVIDER else {"device_id": "0"}


def prepare(ort: Any, provider: str, session_options: Any, *, cpu_fallback: bool) -> None:
    """What a provider needs of the process and of the session's options before it is made.

    Off the CPU, a node that the provider does not take would silently run on the CPU: unless
    ``cpu_fallback`` allows it, the session is refused (``session.disable_cpu_ep_fallback``).
    """
    if provider == CPU_PROVIDER:
        return
    fallback = "0" if cpu_fallback else "1"
    session_options.add_session_config_entry("session.disable_cpu_ep_fallback", fallback)
    if provider in {"CUDAExecutionProvider", "TensorrtExecutionProvider"}:
        ort.preload_dlls()
    if provider == "DmlExecutionProvider":
        session_options.enable_mem_pattern = False  # DirectML refuses patterns


def verify(provider: str, device: str, active: list[str]) -> None:
    """Refuse a session that runs without the provider asked for. Raises UnavailableError."""
    if provider not in active:
        raise UnavailableError(
            f"ONNX Runtime could not start {provider}, only {', '.join(active)}",
            remedy=DEVICES[device].remedy,
        )

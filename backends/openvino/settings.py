"""What an OpenVINO plugin is told, and how what it did reads back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deploymark.backends.base import LoadOptions, Service, Setting
from deploymark.backends.hardware import accelerators, cpu

PRECISION_HINTS = {
    "fp32": "f32",
    "fp16": "f16",
    "bf16": "bf16",
    "int8": "f32",
    "int8-qat": "f32",
}
"""What ``INFERENCE_PRECISION_HINT`` says for the float part. Left alone the CPU plugin takes bf16
or f16 where the CPU has it, also for an FP32 model; INT8 models' float layers run in f32."""


def services() -> dict[tuple[str, str], Service]:
    """What is served here by device and precision, told without importing the runtime.

    ``auto`` lets OpenVINO choose among GPU and CPU (never the NPU), and runs there as the chosen
    one would. The NPU computes in float16 whatever a file holds, so it has no FP32.
    """
    here = cpu.detect()
    half = "OpenVINO computes float16 in float32 on this CPU, which has no half arithmetic"
    brain = "OpenVINO computes bfloat16 in float32 on this CPU, which has no such instructions"
    on_cpu = {
        "fp32": Service(served=True),
        "fp16": Service(served=True, native=here.has_fp16, reason="" if here.has_fp16 else half),
        "bf16": Service(served=True, native=here.has_bf16, reason="" if here.has_bf16 else brain),
        "int8": Service(served=True),
        "int8-qat": Service(served=True),
    }
    gpu = _where(
        accelerators.has_intel_gpu(),
        "no Intel GPU offers a render node here",
        "Install Intel's compute runtime (apt install intel-opencl-icd) where there is one.",
    )
    npu = _where(
        accelerators.has_intel_npu(),
        "no Intel NPU shows its driver (intel_vpu) here",
        "Install Intel's NPU driver (github.com/intel/linux-npu-driver) where there is one.",
    )
    on_gpu = dict.fromkeys(("fp32", "fp16", "int8", "int8-qat"), gpu)
    by_device = {
        "cpu": on_cpu,
        "gpu": on_gpu | {"bf16": _absent("OpenVINO's GPU plugin has no bfloat16 inference")},
        "npu": dict.fromkeys(("fp16", "int8", "int8-qat"), npu)
        | dict.fromkeys(("fp32", "bf16"), _absent("OpenVINO's NPU plugin computes in float16")),
        "auto": on_gpu if gpu.served else on_cpu,
    }
    return {
        (device, precision): service
        for device, by_precision in by_device.items()
        for precision, service in by_precision.items()
    }


def _where(present: bool, reason: str, remedy: str) -> Service:  # noqa: FBT001 - reads as a sentence
    return Service(served=True) if present else Service(served=False, reason=reason, remedy=remedy)


def _absent(reason: str) -> Service:
    return Service(served=False, exists=False, reason=reason)


def precision_hint(precision: str, capabilities: Sequence[str]) -> str:
    """The hint that keeps a cell in its precision, given a plugin's ``OPTIMIZATION_CAPABILITIES``.

    Asked for f16, the CPU plugin takes bf16 where the CPU has bf16 and no half arithmetic. There an
    FP16 cell computes in f32 on its f16 weights instead (``Service.native`` is False). Files made
    elsewhere may have weights alone in fewer bits; their float part computes in f32, too.
    """
    hint = PRECISION_HINTS.get(precision, "f32")
    return "f32" if hint == "f16" and "FP16" not in capabilities else hint


RUNTIME_OPTIONS: dict[str, tuple[Setting, ...]] = {"pinning": ("default", True, False)}
"""Runtime options of the CPU plugin and their values. ``pinning``: whether threads are bound to
processors; left alone OpenVINO decides, by the system and the kind of processor (on Linux it binds
them)."""

TOLD = (
    "PERFORMANCE_HINT",
    "NUM_STREAMS",
    "INFERENCE_NUM_THREADS",
    "INFERENCE_PRECISION_HINT",
    "ENABLE_CPU_PINNING",
    "ENABLE_HYPER_THREADING",
    "SCHEDULING_CORE_TYPE",
    "EXECUTION_MODE_HINT",
)
"""Properties of a compiled model that decide its speed."""


def told(compiled: Any) -> dict[str, Setting]:
    """What a compiled model runs with, by property; those that its plugin has."""
    known = set(compiled.get_property("SUPPORTED_PROPERTIES"))
    found = {name: compiled.get_property(name) for name in TOLD if name in known}
    return {
        name.lower(): value if isinstance(value, bool | int) else _word(value)
        for name, value in found.items()
    }


def _word(value: Any) -> str:
    """``PerformanceMode.LATENCY`` as ``LATENCY``, ``<Type: 'float32'>`` as ``float32``."""
    name = getattr(value, "name", None)
    return name if isinstance(name, str) else str(value).strip("<>").split()[-1].strip("'")


def properties(
    options: LoadOptions,
    plugin: str,
    capabilities: Mapping[str, Sequence[str]],
    settings: Mapping[str, Setting],
) -> dict[str, Any]:
    """What a cell decides, for ``Core.compile_model``; all else stays at the plugin's own values.

    ``settings`` are the resolved runtime options, ``capabilities`` the
    ``OPTIMIZATION_CAPABILITIES`` of each plugin here. AUTO gets those of each device that it may
    choose, and neither starts on the CPU while another device compiles nor
    moves to another one later: one session runs on one device.
    """
    common: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
    if plugin == "AUTO":
        return common | {
            "ENABLE_STARTUP_FALLBACK": False,
            "ENABLE_RUNTIME_FALLBACK": False,
            "DEVICE_PROPERTIES": {
                name: _device_properties(options, name, known, settings)
                for name, known in capabilities.items()
            },
        }
    return common | _device_properties(options, plugin, capabilities[plugin], settings)


def _device_properties(
    options: LoadOptions,
    plugin: str,
    capabilities: Sequence[str],
    settings: Mapping[str, Setting],
) -> dict[str, Any]:
    found: dict[str, Any] = {"CACHE_DIR": ""}
    if plugin != "NPU":
        found["NUM_STREAMS"] = "1"
        found["INFERENCE_PRECISION_HINT"] = precision_hint(options.precision, capabilities)
    if plugin == "CPU":
        found["INFERENCE_NUM_THREADS"] = options.threads
        if settings["pinning"] != "default":
            found["ENABLE_CPU_PINNING"] = settings["pinning"]
    return found


def executed_type(runtime_precision: str, kernel: str) -> str:
    """The type a layer computes in: ``f32``, ``u8`` and so on.

    ``runtime_precision`` is what the runtime model says; for a convolution whose weights are stored
    in f16 that is f16, also where the kernel computes in f32. The name of the ``kernel``
    (``brgconv_avx2_f32``) tells, so a floating type in it wins over another one.
    """
    suffix = kernel.rpartition("_")[2].lower()
    floating = ("f32", "f16", "bf16")
    return suffix if suffix in floating and runtime_precision in floating else runtime_precision

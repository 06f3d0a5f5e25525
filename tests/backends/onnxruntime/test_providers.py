from __future__ import annotations

import json
import platform
from typing import Any

import pytest

from deploymark.backends.base import LoadOptions, UnavailableError, UnsupportedError
from deploymark.backends.hardware import accelerators, cpu
from deploymark.backends.onnxruntime import providers as ort_providers

ARM = cpu.Cpu("Arm Cortex-A76", "arm64", frozenset({"asimddp", "asimdhp"}))
INTEL = cpu.Cpu("Xeon", "x86_64", frozenset({"avx512_vnni", "avx512_bf16", "avx512_fp16"}))


def options(device: str, precision: str = "fp32", threads: int = 1) -> LoadOptions:
    return LoadOptions(device, precision, threads, (1, 3, 64, 64))


@pytest.mark.parametrize(
    ("distribution", "system", "devices"),
    [
        ("onnxruntime", "Linux", ("cpu",)),
        ("onnxruntime", "Darwin", ("cpu", "coreml")),
        ("onnxruntime-gpu", "Linux", ("cpu", "cuda", "tensorrt")),
        ("onnxruntime-openvino", "Linux", ("cpu", "openvino")),
        ("onnxruntime-directml", "Windows", ("cpu", "directml")),
    ],
)
def test_a_build_tells_its_devices(
    distribution: str, system: str, devices: tuple[str, ...]
) -> None:
    assert ort_providers.built_in(distribution, system) == devices


@pytest.mark.parametrize("driver", [True, False])
def test_the_gpu_build_serves_nvidia_where_a_driver_is(
    monkeypatch: pytest.MonkeyPatch, *, driver: bool
) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(accelerators, "has_nvidia_gpu", lambda: driver)
    services = ort_providers.services("onnxruntime-gpu")
    for device in ("cuda", "tensorrt"):
        for precision in ("fp32", "fp16"):
            service = services[device, precision]
            assert service.served is driver
            assert service.exists
            assert bool(service.reason) is bool(service.remedy) is not driver
        assert not services[device, "int8"].exists
        assert services[device, "int8"].reason
    assert services["cpu", "int8-dynamic"].served


def test_a_gpu_that_the_build_cannot_use_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(accelerators, "has_nvidia_gpu", lambda: True)
    service = ort_providers.services("onnxruntime")["cuda", "fp32"]
    assert not service.served
    assert service.exists
    assert "pip install onnxruntime-gpu" in service.remedy


@pytest.mark.parametrize(("here", "native"), [(ARM, True), (INTEL, False)])
def test_half_precision_is_native_on_arm_only(
    monkeypatch: pytest.MonkeyPatch, here: cpu.Cpu, *, native: bool
) -> None:
    monkeypatch.setattr(cpu, "detect", lambda: here)
    service = ort_providers.services("onnxruntime")["cpu", "fp16"]
    assert service.served
    assert service.native is native
    assert bool(service.reason) is not native


def test_every_device_speaks_of_every_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    for distribution in ort_providers.DISTRIBUTIONS:
        services = ort_providers.services(distribution)
        for service in services.values():
            assert service.reason or (service.served and service.native)
        for device in ort_providers.built_in(distribution, "Darwin"):
            for precision in ort_providers.PRECISIONS:
                assert (device, precision) in services


def test_a_device_takes_the_first_provider_that_the_build_has() -> None:
    rtx = ["NvTensorRTRTXExecutionProvider", "CPUExecutionProvider"]
    assert ort_providers.choose("tensorrt", rtx) == rtx[0]
    assert ort_providers.choose("cpu", rtx) == rtx[1]
    with pytest.raises(UnavailableError, match="no CUDAExecutionProvider") as caught:
        ort_providers.choose("cuda", rtx)
    assert caught.value.remedy == "pip install onnxruntime-gpu"
    with pytest.raises(UnavailableError) as caught:
        ort_providers.choose("coreml", rtx)
    assert caught.value.remedy == "pip install onnxruntime (on macOS)"
    with pytest.raises(UnsupportedError, match="abacus"):
        ort_providers.choose("abacus", rtx)


def test_a_session_without_the_provider_asked_for_is_refused() -> None:
    ort_providers.verify("CPUExecutionProvider", "cpu", ["CPUExecutionProvider"])
    with pytest.raises(UnavailableError, match="could not start CUDA") as caught:
        ort_providers.verify("CUDAExecutionProvider", "cuda", ["CPUExecutionProvider"])
    assert "onnxruntime-gpu" in caught.value.remedy


def test_provider_options_are_explicit() -> None:
    assert ort_providers.provider_options("CPUExecutionProvider", options("cpu")) == {}
    cuda = ort_providers.provider_options("CUDAExecutionProvider", options("cuda"))
    assert cuda["use_tf32"] == "0"
    for precision, half in (("fp32", "0"), ("fp16", "1")):
        given = ort_providers.provider_options(
            "TensorrtExecutionProvider", options("tensorrt", precision)
        )
        assert given["trt_fp16_enable"] == half
    openvino = ort_providers.provider_options(
        "OpenVINOExecutionProvider", options("openvino", threads=3)
    )
    properties = json.loads(openvino["load_config"])["CPU"]
    assert properties["INFERENCE_NUM_THREADS"] == "3"
    assert properties["INFERENCE_PRECISION_HINT"] == "f32"


class Recorder:
    """Stands for ``SessionOptions`` and for the module: notes what is asked of it."""

    def __init__(self) -> None:
        self.entries: dict[str, str] = {}
        self.preloaded = False
        self.enable_mem_pattern = True

    def add_session_config_entry(self, name: str, value: str) -> None:
        self.entries[name] = value

    def preload_dlls(self) -> None:
        self.preloaded = True


@pytest.mark.parametrize(
    ("provider", "entries", "preloaded"),
    [
        ("CPUExecutionProvider", {}, False),
        ("CUDAExecutionProvider", {"session.disable_cpu_ep_fallback": "1"}, True),
        ("DmlExecutionProvider", {"session.disable_cpu_ep_fallback": "1"}, False),
    ],
)
def test_off_the_cpu_no_node_falls_back(
    provider: str, entries: dict[str, Any], *, preloaded: bool
) -> None:
    recorder = Recorder()
    ort_providers.prepare(recorder, provider, recorder, cpu_fallback=False)
    assert recorder.entries == entries
    assert recorder.preloaded is preloaded
    assert recorder.enable_mem_pattern is (provider != "DmlExecutionProvider")
    ort_providers.prepare(recorder, provider, recorder, cpu_fallback=True)
    assert set(recorder.entries.values()) <= {"0"}

from __future__ import annotations

from typing import Any

import pytest

from backends import accelerators, cpu, openvino, packages
from backends.base import LoadOptions, UnsupportedError

INTEL = cpu.Cpu("Xeon", "x86_64", frozenset({"avx512_vnni", "avx512_bf16", "avx512_fp16"}))
OLD = cpu.Cpu("EPYC", "x86_64", frozenset({"avx2"}))


@pytest.mark.parametrize(
    ("runtime_precision", "kernel", "executed"),
    [
        ("f32", "brgconv_avx2_f32", "f32"),
        ("f16", "brgconv_avx2_1x1_f32", "f32"),
        ("f16", "jit_avx512_core_amx_FP16", "f16"),
        ("bf16", "brgconv_avx512_amx_bf16", "bf16"),
        ("u8", "jit_avx2_I8", "u8"),
        ("f32", "jit_avx2_FP32", "f32"),
        ("f32", "", "f32"),
    ],
)
def test_the_kernel_tells_what_a_layer_computes_in(
    runtime_precision: str, kernel: str, executed: str
) -> None:
    assert openvino.executed_type(runtime_precision, kernel) == executed


@pytest.mark.parametrize(
    ("precision", "capabilities", "hint"),
    [
        ("fp16", ["BF16", "FP32", "INT8"], "f32"),
        ("fp16", ["FP32", "FP16"], "f16"),
        ("bf16", ["BF16", "FP32", "INT8"], "bf16"),
        ("bf16", ["FP32"], "bf16"),
        ("fp32", ["BF16", "FP32", "FP16"], "f32"),
        ("int8", ["BF16", "FP32", "FP16", "INT8"], "f32"),
    ],
)
def test_half_precision_never_runs_in_bfloat16(
    precision: str, capabilities: list[str], hint: str
) -> None:
    assert openvino.precision_hint(precision, capabilities) == hint


def options(**given: Any) -> LoadOptions:
    return LoadOptions("cpu", "fp32", 1, (1, 3, 64, 64), given)


def test_threads_are_not_pinned_unless_asked() -> None:
    assert openvino.session_pinning(options()) is False
    assert openvino.session_pinning(options(pinning=True)) is True


@pytest.mark.parametrize("given", [{"pin": True}, {"pinning": "yes"}])
def test_other_runtime_options_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedError, match=next(iter(given))):
        openvino.session_pinning(options(**given))


def test_int8_options_are_explicit() -> None:
    backend = openvino.OpenVinoBackend()
    expected = {"preset": "mixed", "overflow_fix": "first_layer_only"}
    assert backend.resolve_options("int8", {}) == expected
    given = {"preset": "performance"}
    assert backend.resolve_options("int8", given) == expected | given
    assert backend.resolve_options("fp32", {}) == {}


@pytest.mark.parametrize("given", [{"presets": "mixed"}, {"preset": "fast"}])
def test_other_int8_options_are_refused(given: dict[str, str]) -> None:
    with pytest.raises(UnsupportedError, match="preset"):
        openvino.OpenVinoBackend().resolve_options("int8", given)


@pytest.mark.parametrize(("here", "native"), [(INTEL, True), (OLD, False)])
def test_16_bits_are_native_where_the_cpu_has_them(
    monkeypatch: pytest.MonkeyPatch, here: cpu.Cpu, *, native: bool
) -> None:
    monkeypatch.setattr(packages, "installed_version", lambda *names: "1.0")
    monkeypatch.setattr(packages, "missing", lambda names: ())
    monkeypatch.setattr(cpu, "detect", lambda: here)
    probe = openvino.OpenVinoBackend().probe()
    for precision in ("fp16", "bf16"):
        service = probe.service("cpu", precision)
        assert service.served
        assert service.native is native
        assert bool(service.reason) is not native


def test_accelerators_are_listed_where_the_system_shows_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(packages, "installed_version", lambda *names: "1.0")
    monkeypatch.setattr(packages, "missing", lambda names: ())
    monkeypatch.setattr(accelerators, "has_intel_gpu", lambda: True)
    monkeypatch.setattr(accelerators, "has_intel_npu", lambda: True)
    probe = openvino.OpenVinoBackend().probe()
    assert probe.devices == ("cpu", "gpu", "npu")
    assert not probe.service("npu", "fp32").served
    monkeypatch.setattr(accelerators, "has_intel_gpu", lambda: False)
    monkeypatch.setattr(accelerators, "has_intel_npu", lambda: False)
    assert openvino.OpenVinoBackend().probe().devices == ("cpu",)


def test_nothing_installed_says_how_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "installed_version", lambda *names: None)
    probe = openvino.OpenVinoBackend().probe()
    assert not probe.installed
    assert probe.remedy == "pip install 'deploymark[openvino]'"

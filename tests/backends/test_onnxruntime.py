from __future__ import annotations

from typing import Any

import pytest

from backends import accelerators, cpu, onnxruntime, packages
from backends.base import LoadOptions, UnsupportedError

ARM = cpu.Cpu("Arm Cortex-A76", "arm64", frozenset({"asimddp", "asimdhp"}))
INTEL = cpu.Cpu("Xeon", "x86_64", frozenset({"avx512_vnni", "avx512_bf16", "avx512_fp16"}))


def options(threads: int = 1, **given: Any) -> LoadOptions:
    return LoadOptions("cpu", "fp32", threads, (1, 3, 64, 64), given)


@pytest.mark.parametrize(("threads", "spinning"), [(1, False), (2, True), (3, True), (4, False)])
def test_threads_spin_where_a_cpu_is_left_over(
    threads: int, monkeypatch: pytest.MonkeyPatch, *, spinning: bool
) -> None:
    monkeypatch.setattr(onnxruntime, "usable_cpus", lambda: 4)
    assert onnxruntime.session_settings(options(threads)) == {
        "spinning": spinning,
        "avx2_exact": False,
    }


def test_given_settings_win() -> None:
    given = onnxruntime.session_settings(options(1, spinning=True, avx2_exact=True))
    assert given == {"spinning": True, "avx2_exact": True}


@pytest.mark.parametrize("given", [{"spining": True}, {"spinning": 1}])
def test_other_settings_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedError, match=next(iter(given))):
        onnxruntime.session_settings(options(1, **given))


def install(monkeypatch: pytest.MonkeyPatch, *distributions: str, missing: str = "") -> None:
    monkeypatch.setattr(
        packages,
        "installed_version",
        lambda *names: next(("1.0" for name in names if name in distributions), None),
    )
    monkeypatch.setattr(
        packages, "missing", lambda names: tuple(name for name in names if name in missing)
    )


def test_nothing_installed_says_how_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    probe = onnxruntime.OnnxRuntimeBackend().probe()
    assert not probe.installed
    assert probe.services == {}
    assert probe.remedy == "pip install 'deploymark[onnxruntime]'"


def test_a_runtime_without_exporter_still_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, "onnxruntime", missing="torch onnx")
    probe = onnxruntime.OnnxRuntimeBackend().probe()
    assert probe.installed
    assert not probe.can_export
    assert probe.reason == "cannot export without torch, onnx"
    assert probe.service("cpu", "fp32").served


def test_the_plain_build_has_no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, "onnxruntime")
    assert onnxruntime.OnnxRuntimeBackend().probe().devices == ("cpu",)


@pytest.mark.parametrize("driver", [True, False])
def test_the_gpu_build_serves_cuda_where_a_driver_is(
    monkeypatch: pytest.MonkeyPatch, *, driver: bool
) -> None:
    install(monkeypatch, "onnxruntime-gpu")
    monkeypatch.setattr(accelerators, "has_nvidia_gpu", lambda: driver)
    probe = onnxruntime.OnnxRuntimeBackend().probe()
    assert probe.devices == ("cpu", "cuda")
    assert probe.service("cuda", "fp16").served is driver
    assert not probe.service("cuda", "int8").exists


@pytest.mark.parametrize(("here", "native"), [(ARM, True), (INTEL, False)])
def test_half_precision_is_native_on_arm_only(
    monkeypatch: pytest.MonkeyPatch, here: cpu.Cpu, *, native: bool
) -> None:
    install(monkeypatch, "onnxruntime")
    monkeypatch.setattr(cpu, "detect", lambda: here)
    service = onnxruntime.OnnxRuntimeBackend().probe().service("cpu", "fp16")
    assert service.served
    assert service.native is native
    assert bool(service.reason) is not native

"""What the probes of all backends say alike."""

from __future__ import annotations

import pytest

from deploymark.backends import packages, registry
from deploymark.backends.base import Probe, Service
from deploymark.backends.hardware import cpu

ARM = cpu.Cpu("some", "aarch64", frozenset({"fphp", "asimdhp"}))
XEON = cpu.Cpu("some", "x86_64", frozenset({"avx512_fp16"}))

SERVED = {("cpu", "fp32"): Service(served=True), ("cpu", "int8"): Service.never("none", "Take.")}


# TensorRT is told from its libraries, and comes from NVIDIA (tensorrt/test_tensorrt.py).
@pytest.mark.parametrize("name", sorted(set(registry.BUILTIN) - {"tensorrt"}))
def test_nothing_installed_says_how_to_install(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "installed_version", lambda *names: None)
    probe = registry.resolve(registry.BUILTIN[name]).probe()
    assert not probe.installed
    assert (probe.reason, probe.services) == ("not installed", {})
    assert probe.remedy == f"pip install 'deploymark[{name}]'"


def test_what_is_missing_stops_the_export_alone() -> None:
    probe = Probe.present("b", "1.0", SERVED, missing=("torch", "onnx"), remedy="Install.")
    assert probe.installed
    assert not probe.can_export
    assert (probe.reason, probe.remedy) == ("cannot export without torch, onnx", "Install.")
    assert probe.service("cpu", "fp32").served


def test_nothing_missing_needs_no_remedy() -> None:
    probe = Probe.present("b", "1.0", SERVED, remedy="Install.")
    assert probe.can_export
    assert (probe.reason, probe.remedy) == ("", "")


def test_what_never_is_served_says_why() -> None:
    service = SERVED["cpu", "int8"]
    assert (service.served, service.exists) == (False, False)
    assert (service.reason, service.remedy) == ("none", "Take.")


@pytest.mark.usefixtures("all_installed")
@pytest.mark.parametrize("name", ["mnn", "ncnn"])
@pytest.mark.parametrize(("here", "native"), [(ARM, True), (XEON, False)])
def test_fp16_is_native_on_arm_alone(
    name: str, monkeypatch: pytest.MonkeyPatch, here: cpu.Cpu, *, native: bool
) -> None:
    monkeypatch.setattr(cpu, "detect", lambda: here)
    service = registry.resolve(registry.BUILTIN[name]).probe().service("cpu", "fp16")
    assert (service.served, service.native) == (True, native)
    assert bool(service.reason) is not native

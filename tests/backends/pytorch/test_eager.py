from __future__ import annotations

import importlib.machinery
import importlib.util
from pathlib import Path

import pytest

from deploymark.backends import packages
from deploymark.backends.hardware import accelerators, cpu
from deploymark.backends.pytorch import eager as torch_eager


@pytest.mark.parametrize(
    ("note", "driver", "devices"),
    [
        ("cuda: Optional[str] = '13.0'\nhip = None\n", True, ("cpu", "cuda")),
        ("cuda: Optional[str] = '13.0'\n", False, ("cpu",)),
        ("__version__ = '2.9.0+cpu'\ncuda: Optional[str] = None\n", True, ("cpu",)),
        ("cuda = '12.4'\n", True, ("cpu", "cuda")),
    ],
)
def test_cuda_needs_a_build_and_a_driver(
    note: str,
    devices: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    *,
    driver: bool,
) -> None:
    (tmp_path / "version.py").write_text(note, encoding="utf-8")
    spec = importlib.machinery.ModuleSpec("torch", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    monkeypatch.setattr(packages, "installed_version", lambda *names: "2.9")
    monkeypatch.setattr(accelerators, "has_nvidia_gpu", lambda: driver)
    monkeypatch.setattr(torch_eager.sys, "platform", "linux")
    assert torch_eager.TorchBackend().probe().devices == devices


@pytest.mark.usefixtures("all_installed")
def test_int8_is_refused_with_the_reason() -> None:
    service = torch_eager.TorchBackend().probe().service("cpu", "int8")
    assert not service.served
    assert not service.exists
    assert "static INT8" in service.reason


@pytest.mark.parametrize("has_bf16", [True, False])
@pytest.mark.usefixtures("all_installed")
def test_bf16_is_emulated_where_the_cpu_has_no_instructions_for_it(
    monkeypatch: pytest.MonkeyPatch, *, has_bf16: bool
) -> None:
    features = frozenset({"avx512_bf16"}) if has_bf16 else frozenset({"avx2"})
    monkeypatch.setattr(cpu, "detect", lambda: cpu.Cpu("some", "x86_64", features))
    service = torch_eager.TorchBackend().probe().service("cpu", "bf16")
    assert service.served
    assert service.native is has_bf16


@pytest.mark.usefixtures("all_installed")
def test_metal_has_every_float(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_eager.sys, "platform", "darwin")
    monkeypatch.setattr(torch_eager.platform, "machine", lambda: "arm64")
    probe = torch_eager.TorchBackend().probe()
    assert all(probe.service("mps", precision).served for precision in ("fp32", "fp16", "bf16"))

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest

from deploymark.backends import packages
from deploymark.backends.base import (
    Artifact,
    LoadError,
    LoadOptions,
    UnavailableError,
    UnsupportedError,
)
from deploymark.backends.hardware import cpu
from deploymark.backends.pytorch import aoti_package, aotinductor
from deploymark.backends.pytorch import runtime as torch_runtime

HERE = cpu.Cpu("Some", "x86_64", frozenset({"avx2", "fma", "avx512_bf16", "smep", "sse4_2"}))
BACKEND = aotinductor.AotInductorBackend()


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "detect", lambda: HERE)
    monkeypatch.setattr(packages, "installed_version", lambda *names: "2.14")
    monkeypatch.setattr(packages, "missing", lambda names: ())
    monkeypatch.setattr(torch_runtime, "serves_cuda", lambda: False)


def options(device: str = "cpu", **given: Any) -> LoadOptions:
    return LoadOptions(device, "fp32", 1, (1, 3, 64, 64), given)


def package(folder: Path, **changes: str) -> Artifact:
    """A package's archive with notes and no library in it."""
    notes = {
        "deploymark_input_shape": "1,3,64,64",
        "deploymark_simd": "x86_64 avx2",
        "AOTI_DEVICE_KEY": "cpu",
    }
    with zipfile.ZipFile(folder / "model.pt2", "w") as archive:
        name = "model/data/aotinductor/model/abc.wrapper_metadata.json"
        archive.writestr(name, json.dumps(notes | changes))
        archive.writestr("model/data/aotinductor/model/abc.wrapper.so", "no library " * 100)
    return Artifact(folder, "model.pt2")


def test_vector_instructions_are_part_of_the_options() -> None:
    resolved = BACKEND.resolve_options("fp32", {})
    assert resolved == {"freezing": True, "simd": "x86_64 avx2 avx512_bf16 fma"}
    # What was resolved resolves to itself.
    assert BACKEND.resolve_options("fp32", resolved) == resolved
    assert BACKEND.resolve_options("fp32", {"freezing": False})["freezing"] is False


def test_another_processor_is_another_artifact(monkeypatch: pytest.MonkeyPatch) -> None:
    resolved = BACKEND.resolve_options("fp32", {})
    monkeypatch.setattr(cpu, "detect", lambda: cpu.Cpu("Other", "x86_64", frozenset({"avx2"})))
    assert BACKEND.resolve_options("fp32", {}) != resolved
    with pytest.raises(UnsupportedError, match="for the processor at hand"):
        BACKEND.resolve_options("fp32", resolved)


@pytest.mark.parametrize("given", [{"frozen": True}, {"freezing": 1}, {"simd": "avx512f"}])
def test_other_options_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedError, match=next(iter(given))):
        BACKEND.resolve_options("fp32", given)


def test_without_a_compiler_it_still_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    probe = BACKEND.probe()
    assert probe.installed
    assert not probe.can_export
    assert "no-such-compiler" in probe.reason
    assert "g++" in probe.remedy
    assert probe.service("cpu", "fp32").served


@pytest.mark.parametrize("has_bf16", [True, False])
def test_devices_and_precisions(monkeypatch: pytest.MonkeyPatch, *, has_bf16: bool) -> None:
    here = HERE if has_bf16 else cpu.Cpu("Old", "x86_64", frozenset({"avx2"}))
    monkeypatch.setattr(cpu, "detect", lambda: here)
    probe = BACKEND.probe()
    assert probe.devices == ("cpu",)
    assert probe.service("cpu", "bf16").native is has_bf16
    assert not probe.service("cpu", "fp16").exists
    assert not probe.service("cpu", "int8").exists
    monkeypatch.setattr(torch_runtime, "serves_cuda", lambda: True)
    probe = BACKEND.probe()
    assert all(probe.service("cuda", item).served for item in ("fp32", "fp16", "bf16"))
    monkeypatch.setattr(packages, "missing", lambda names: ("triton",) if "triton" in names else ())
    service = BACKEND.probe().service("cuda", "fp32")
    assert (service.served, service.exists, service.remedy) == (False, True, "pip install triton")


def test_a_package_of_another_processor_is_not_linked_in(tmp_path: Path) -> None:
    artifact = package(tmp_path, deploymark_simd="x86_64 amx_bf16 avx2")
    with pytest.raises(UnavailableError, match="with amx_bf16, which this one lacks"):
        BACKEND.load(artifact, options())


def test_a_package_of_another_device_is_not_linked_in(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="compiled for cuda, not for cpu"):
        BACKEND.load(package(tmp_path, AOTI_DEVICE_KEY="cuda"), options())


@pytest.mark.parametrize(("capability", "fits"), [("90", True), ("86", False), ("", True)])
def test_a_gpu_of_another_kind_is_refused(capability: str, *, fits: bool) -> None:
    class Torch:
        class cuda:  # noqa: N801
            @staticmethod
            def get_device_capability() -> tuple[int, int]:
                return 9, 0

    notes = {"AOTI_COMPUTE_CAPABILITY": capability}
    if fits:
        aoti_package.check_capability(Torch, Path("model.pt2"), notes)
    else:
        with pytest.raises(UnavailableError, match="capability 86, this GPU has 90"):
            aoti_package.check_capability(Torch, Path("model.pt2"), notes)


def test_a_package_of_others_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.pt2", "w") as archive:
        archive.writestr("model/data/aotinductor/model/abc.wrapper_metadata.json", "{}")
    with pytest.raises(LoadError, match="does not tell what images it takes"):
        BACKEND.load(Artifact(tmp_path, "model.pt2"), options())


def test_a_flipped_byte_is_seen_before_the_library_is_linked_in(tmp_path: Path) -> None:
    artifact = package(tmp_path)
    data = artifact.path.read_bytes()
    artifact.path.write_bytes(data.replace(b"no library", b"NO library", 1))
    with pytest.raises(LoadError, match=r"damaged at .*abc\.wrapper\.so"):
        BACKEND.load(artifact, options())


@pytest.mark.heavy
def test_a_library_that_cannot_be_linked_in_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    with pytest.raises(LoadError, match=r"PyTorch refuses .*model\.pt2"):
        BACKEND.load(package(tmp_path), options())
    assert not list(temporary.iterdir())
    assert os.environ["TMPDIR"] == str(temporary)


@pytest.mark.heavy
@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_other_precisions_are_refused(detector: Any, tmp_path: Path, precision: str) -> None:
    with pytest.raises(UnsupportedError, match=f"no {precision} on cpu"):
        BACKEND.export(detector.request(tmp_path, precision))


@pytest.mark.heavy
def test_no_compiler_is_unavailable(
    detector: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UnavailableError, match="no-such-compiler"):
        BACKEND.export(detector.request(tmp_path))

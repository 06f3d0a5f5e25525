from __future__ import annotations

import platform
from pathlib import Path

import pytest

from deploymark.backends.hardware import accelerators


def touch(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="ascii")


@pytest.fixture(autouse=True)
def _linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Linux")


def test_an_empty_system_has_none(tmp_path: Path) -> None:
    assert not accelerators.has_nvidia_gpu(tmp_path)
    assert not accelerators.has_intel_gpu(tmp_path)
    assert not accelerators.has_intel_npu(tmp_path)


@pytest.mark.parametrize("file", ["nvidiactl", "nvhost-ctrl", "dxg"])
def test_an_nvidia_driver_shows_a_control_device(tmp_path: Path, file: str) -> None:
    touch(tmp_path / "dev" / file)
    assert accelerators.has_nvidia_gpu(tmp_path)


def test_a_render_node_counts_if_intel_made_it(tmp_path: Path) -> None:
    touch(tmp_path / "sys/class/drm/renderD128/device/vendor", "0x10de\n")
    assert not accelerators.has_intel_gpu(tmp_path)
    touch(tmp_path / "sys/class/drm/renderD129/device/vendor", "0x8086\n")
    assert accelerators.has_intel_gpu(tmp_path)


def test_an_npu_needs_driver_and_node(tmp_path: Path) -> None:
    touch(tmp_path / "dev/accel/accel0")
    assert not accelerators.has_intel_npu(tmp_path)
    (tmp_path / "sys/module/intel_vpu").mkdir(parents=True)
    assert accelerators.has_intel_npu(tmp_path)


@pytest.mark.parametrize(
    ("files", "found"),
    [
        (["dev/dri/renderD128", "usr/share/vulkan/icd.d/intel_icd.x86_64.json"], True),
        (["dev/nvidiactl", "etc/vulkan/icd.d/nvidia_icd.json"], True),
        (["dev/dri/renderD128", "usr/share/vulkan/icd.d/lvp_icd.x86_64.json"], False),
        (["dev/dri/renderD128"], False),
        (["usr/share/vulkan/icd.d/intel_icd.x86_64.json"], False),
    ],
)
def test_vulkan_takes_a_device_and_a_driver_of_a_gpu(
    tmp_path: Path, files: list[str], *, found: bool
) -> None:
    for file in files:
        touch(tmp_path / file)
    assert accelerators.has_vulkan_driver(tmp_path) is found

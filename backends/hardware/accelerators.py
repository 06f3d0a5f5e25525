"""Which accelerators the system shows, told from device files alone."""

from __future__ import annotations

import platform
from pathlib import Path

NVIDIA_DEVICE_FILES = ("/dev/nvidiactl", "/dev/nvhost-ctrl", "/dev/dxg")
"""A driver's control device: desktop and server, Jetson, and Windows Subsystem for Linux."""

VULKAN_MANIFESTS = ("etc/vulkan/icd.d", "usr/share/vulkan/icd.d", "usr/local/share/vulkan/icd.d")
"""Where drivers tell Vulkan's loader of themselves (its ``LoaderDriverInterface.md``)."""

SOFTWARE_VULKAN = ("lvp_", "vk_swiftshader")
"""How the manifests of drivers begin that compute on the processor: Mesa's lavapipe, SwiftShader.
"""

INTEL_VENDOR_ID = "0x8086"
"""PCI vendor id of Intel, as sysfs writes it."""


def has_nvidia_gpu(root: Path = Path("/")) -> bool:
    """True where an NVIDIA driver is loaded. ``root`` is the file system's root."""
    if platform.system() == "Windows":
        return (root / "Windows/System32/nvcuda.dll").exists()
    return any((root / file.lstrip("/")).exists() for file in NVIDIA_DEVICE_FILES)


def has_intel_gpu(root: Path = Path("/")) -> bool:
    """True where an Intel GPU offers a render node."""
    for vendor in (root / "sys/class/drm").glob("renderD*/device/vendor"):
        try:
            found = vendor.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            continue
        if found == INTEL_VENDOR_ID:
            return True
    return False


def has_intel_npu(root: Path = Path("/")) -> bool:
    """True where the kernel's ``intel_vpu`` driver offers a compute accelerator node."""
    return (root / "sys/module/intel_vpu").exists() and any((root / "dev/accel").glob("accel*"))


def has_vulkan_driver(root: Path = Path("/")) -> bool:
    """True where a Vulkan driver of a GPU is installed, and on Linux a device is there for it."""
    if platform.system() == "Windows":
        return (root / "Windows/System32/vulkan-1.dll").exists()
    if not has_nvidia_gpu(root) and not any((root / "dev/dri").glob("renderD*")):
        return False
    manifests = (path for folder in VULKAN_MANIFESTS for path in (root / folder).glob("*.json"))
    return any(not path.name.startswith(SOFTWARE_VULKAN) for path in manifests)

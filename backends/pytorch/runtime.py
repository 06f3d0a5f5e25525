"""What backends that run in PyTorch's own process set up alike: device, threads, arithmetic."""

from __future__ import annotations

import contextlib
import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploymark.backends import packages, waiting
from deploymark.backends.base import LoadOptions, Probe, Setting, UnavailableError
from deploymark.backends.hardware import accelerators

MODULES = ("torch",)
"""What a worker imports."""


def not_installed(backend: str, extra: str) -> Probe | None:
    """The probe of a backend where there is no torch, None where there is."""
    if packages.installed_version("torch") is not None and not packages.missing(MODULES):
        return None
    return Probe(
        backend,
        installed=False,
        reason="not installed",
        remedy=f"pip install 'deploymark[{extra}]'",
    )


def serves_cuda() -> bool:
    """True where the installed wheel was built with CUDA and a driver is loaded."""
    return _built_with_cuda() and accelerators.has_nvidia_gpu()


def _built_with_cuda() -> bool:
    """True if the installed wheel was built with CUDA, as its ``torch/version.py`` notes."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return False
    try:
        text = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")
    except OSError:
        return False
    return re.search(r"^cuda\b[^=]*=\s*['\"]", text, flags=re.MULTILINE) is not None


def start(options: LoadOptions, extra: str) -> Any:
    """Import torch and set its threads and its arithmetic; returns the module.

    Raises UnavailableError where torch or the device is not there.
    """
    try:
        import torch
    except ImportError as error:
        raise UnavailableError(
            f"torch cannot be imported: {error}", remedy=f"pip install 'deploymark[{extra}]'"
        ) from error
    require_device(torch, options.device)
    torch.set_num_threads(options.threads)
    if torch.get_num_interop_threads() != 1:
        # Can be set once in a process only, and not after work began.
        with contextlib.suppress(RuntimeError):
            torch.set_num_interop_threads(1)
    _compute_float32_in_float32(torch)
    return torch


def choices(options: LoadOptions) -> dict[str, tuple[Setting, ...]]:
    """The runtime options that every backend in PyTorch's process has: ``wait``, on the CPU."""
    return {"wait": waiting.CHOICES} if options.device == "cpu" else {}


def environment(settings: Mapping[str, Setting]) -> Mapping[str, str]:
    """Variables that those options come to."""
    return waiting.ENVIRONMENT[str(settings.get("wait", "default"))]


def require_device(torch: Any, device: str) -> None:
    """Raise UnavailableError unless torch can use the device."""
    if device == "cuda" and not torch.cuda.is_available():
        raise UnavailableError(
            "torch finds no CUDA device", remedy="Check the driver with nvidia-smi."
        )
    if device == "mps" and not torch.backends.mps.is_available():
        raise UnavailableError("torch finds no Metal device")
    if device not in ("cpu", "cuda", "mps"):
        raise UnavailableError(f"torch has no device {device!r} here")


def device_memory_bytes(torch: Any, device: str) -> int | None:
    """Peak of torch's allocator on a CUDA device since the start of the process."""
    if device != "cuda":
        return None
    return int(torch.cuda.max_memory_reserved(torch.device(device)))


def _compute_float32_in_float32(torch: Any) -> None:
    """Switch off TF32: by default cuDNN's convolutions round float32 to it.

    The old names are set, as ``torch.export`` reads them and refuses where the newer ones differ.
    """
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False

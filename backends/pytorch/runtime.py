"""What backends that run in PyTorch's own process set up alike: device, threads, arithmetic."""

from __future__ import annotations

import contextlib
import importlib.util
import re
from pathlib import Path
from typing import Any

from deploymark.backends import loading, packages
from deploymark.backends.base import LoadOptions, Probe, Service, UnavailableError
from deploymark.backends.hardware import accelerators, cpu

MODULES = ("torch",)
"""What a worker imports."""

FP16_REASON = "PyTorch's CPU kernels are not made for float16 convolutions"
"""Why no backend here serves FP16 on the processor."""


def not_installed(backend: str, extra: str) -> Probe | None:
    """The probe of a backend where there is no torch, None where there is."""
    if packages.installed_version("torch") is not None and not packages.missing(MODULES):
        return None
    return Probe.absent(backend, f"pip install 'deploymark[{extra}]'")


def bf16_on_cpu() -> Service:
    """BF16 on the processor, which torch computes whatever instructions there are."""
    native = cpu.detect().has_bf16
    reason = "" if native else "this CPU has no bfloat16 instructions"
    return Service(served=True, native=native, reason=reason)


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
    torch = loading.runtime("torch", f"pip install 'deploymark[{extra}]'")
    require_device(torch, options.device)
    torch.set_num_threads(options.threads)
    if torch.get_num_interop_threads() != 1:
        # Can be set once in a process only, and not after work began.
        with contextlib.suppress(RuntimeError):
            torch.set_num_interop_threads(1)
    _compute_float32_in_float32(torch)
    return torch


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

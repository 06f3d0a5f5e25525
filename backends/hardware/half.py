"""Float16 on the processor, as most runtimes have it."""

from __future__ import annotations

from deploymark.backends.base import Service
from deploymark.backends.hardware import cpu


def on_cpu(runtime: str) -> Service:
    """FP16 of a runtime whose x86 kernels have no float16 at all, whatever the processor has."""
    here = cpu.detect()
    native = here.has_fp16 and not here.is_x86
    reason = "" if native else f"{runtime} computes float16 in float32 on this CPU"
    return Service(served=True, native=native, reason=reason)

"""The memory pass: what a process holds with one artifact loaded, and with two.

A job of its own, so that nothing of it is in a launch that times.
"""

from __future__ import annotations

import os

from deploymark.bench.children.child import Message, Send, phase
from deploymark.bench.worker.measure import gpu_state, memory
from deploymark.bench.worker.session import Opened, open_session

ONE_IMAGE = 1
"""Images held as inputs: what a program that takes one picture at a time needs."""

_NO_RESET = "the kernel lets no process reset its peak here, so that the import is in it"


def weigh(job: Message, send: Send) -> Message:
    """Load, infer a few times, read; where the job asks for ``copies``, the same once more.

    The figures are told before the second session is loaded, which not every runtime survives.
    """
    peaks = memory.Peaks()
    opened = open_session(job, send, images=ONE_IMAGE, before_load=peaks.mark)
    load_peak = peaks.mark()
    with phase("crashed", "inference failed"):
        for _ in range(job["inferences"]):
            opened.session.infer(opened.inputs[0])
    peaks.mark()
    figures = _figures(opened, job, peaks, load_peak)
    if not job["copies"]:
        return figures
    send({"event": "progress", "phase": "copies", "figures": figures})
    return {**figures, **_copy(opened, job["inferences"])}


def _figures(opened: Opened, job: Message, peaks: memory.Peaks, load_peak: int | None) -> Message:
    held = memory.held()
    rss = memory.rss_bytes() if held is None else held.rss_bytes
    device = opened.session.device_memory_bytes()
    if device is None and gpu_state.is_gpu(job["device"]):
        device = gpu_state.held_bytes(os.getpid())
    return {
        # the peak is counted in batches, a thread each, and may lag by some pages
        "peak_rss_bytes": max(filter(None, (peaks.highest, rss)), default=None),
        "load_peak_rss_bytes": load_peak,
        "load_peak_reason": "" if peaks.resets or load_peak is None else _NO_RESET,
        "steady_rss_bytes": rss,
        "model_rss_bytes": opened.grown_bytes(rss),
        "uss_bytes": None if held is None else held.uss_bytes,
        "pss_bytes": None if held is None else held.pss_bytes,
        "data_bytes": memory.data_bytes(),
        "device_memory_bytes": device,
        "memory_per_copy_bytes": None,
        "copy_reason": "",
        "load_ms": opened.load_ms,
    }


def _copy(opened: Opened, inferences: int) -> Message:
    """What a second session of the artifact adds to the process, once it has inferred.

    By the proportional set size: a file that both map is in memory once, and counted once. Nothing
    is added up of what a session leaves in the runtime's own caches.
    """
    before = memory.held()
    if before is None:
        return {"copy_reason": "the kernel has no /proc/self/smaps_rollup to tell it by"}
    try:
        second = opened.load()
        for _ in range(inferences):
            second.infer(opened.inputs[0])
    except Exception as error:  # noqa: BLE001 - what a runtime refuses, it refuses in its own way
        return {"copy_reason": f"a second session failed: {type(error).__name__}: {error}"}
    after = memory.held()
    if after is None:
        return {"copy_reason": "the kernel stopped telling what the process holds"}
    return {"memory_per_copy_bytes": max(0, after.pss_bytes - before.pss_bytes)}

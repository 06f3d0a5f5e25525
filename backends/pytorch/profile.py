"""The operators of an inference, as torch's own profiler (Kineto) tells them.

On the CPU an operator takes as long as its call, those that it calls among it; on CUDA as long as
its kernels, which was written from torch's documentation and was not run.
"""

from __future__ import annotations

import collections
from collections.abc import Callable
from typing import Any

from deploymark.backends.base import Layer, Profile, Sample
from deploymark.backends.profile import walls

MARK = "deploymark_inference"

PREFIX = "aten::"

TYPES = {
    "float": "f32",
    "double": "f64",
    "c10::Half": "f16",
    "c10::BFloat16": "bf16",
    "c10::qint8": "i8",
    "c10::quint8": "u8",
    "signed char": "i8",
    "unsigned char": "u8",
    "int": "i32",
    "long int": "i64",
}
"""``torch.profiler``'s names of data types (C++'s), and those of ``Layer``."""

LEAST_SEEN = 0.5
"""Share of an inference that the operators seen must take: compiled code (AOTInductor) calls most
of its kernels past the dispatcher, where torch's profiler sees none of them."""

FRAMES = frozenset({"forward", "<forward op>"})
"""What TorchScript's interpreter notes around its operators: the method that it runs."""


def profile(
    torch: Any, infer: Callable[[int], object], *, warmup: int, inferences: int, device: str
) -> Profile:
    """Profile inferences; ``infer`` is told which one."""
    walls(infer, warmup)
    kinds = torch.profiler.ProfilerActivity
    activities = [kinds.CPU] + [kinds.CUDA] * (device == "cuda")
    walls_ms: list[float] = []
    with torch.profiler.profile(activities=activities, record_shapes=True) as profiler:
        for index in range(1 + inferences):
            with torch.profiler.record_function(MARK):
                walls_ms += walls(infer, 1, first=index)
    marks = [event for event in profiler.events() if event.name == MARK and event.cpu_children]
    marks.sort(key=lambda event: event.time_range.start)
    # The profiler's own first inference is slow: it sets itself up.
    pairs = list(zip(marks, walls_ms))[1:]  # noqa: B905 - Python 3.10; marks may be fewer
    samples = tuple(_sample(mark, wall_ms, device) for mark, wall_ms in pairs)
    seen = sum(layer.ms for sample in samples for layer in sample.layers)
    if seen < LEAST_SEEN * sum(sample.wall_ms for sample in samples) or not samples:
        return Profile(reason="torch's profiler does not see the kernels of compiled code")
    return Profile(samples, source="torch.profiler, by operator")


def _sample(mark: Any, wall_ms: float, device: str) -> Sample:
    counts: collections.Counter[str] = collections.Counter()
    layers = []
    children = _operators(mark.cpu_children)
    for event in children:
        kind = event.name.removeprefix(PREFIX)
        counts[kind] += 1
        taken_us = event.device_time_total if device == "cuda" else event.cpu_time_total
        layers.append(Layer(f"{kind} {counts[kind]}", kind, taken_us / 1e3, _precision(event)))
    gaps_us = sum(
        max(0.0, after.time_range.start - before.time_range.end)
        for before, after in zip(children, children[1:])  # noqa: B905, RUF007 - Python 3.10
    )
    return Sample(wall_ms, tuple(layers), None if device == "cuda" else gaps_us / 1e3)


def _operators(events: Any) -> list[Any]:
    """The operators that an inference calls itself, in order, whatever frames are around them."""
    found = []
    for event in events:
        if event.name in FRAMES and event.cpu_children:
            found += _operators(event.cpu_children)
        else:
            found.append(event)
    return sorted(found, key=lambda event: event.time_range.start)


def _precision(event: Any) -> str:
    """The type of the first tensor that an operator takes; empty for a list of them."""
    for name in event.input_dtypes or ():
        if name in TYPES:
            return TYPES[name]
    return ""

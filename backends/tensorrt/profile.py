"""What TensorRT's profiler reports: each layer's time in one inference, joined with the inspector.

Written against the bindings of TensorRT 10.x and 11.x (``IProfiler``, and ``profiler`` and
``enqueue_emits_profile`` of ``IExecutionContext``); no engine was run where Deploymark is tested.
With a profiler set, each execution ends with a call of ``report_layer_time`` for every layer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from deploymark.backends.base import Layer, Profile, Sample
from deploymark.backends.profile import walls
from deploymark.backends.tensorrt import trace


def profile(
    context: Any, infer: Callable[[int], object], information: str, *, warmup: int, inferences: int
) -> Profile:
    """Profile inferences of an execution context; ``infer`` is told which one.

    ``information`` is what the engine's inspector tells as JSON (``trace.layers``).
    """
    import tensorrt as trt

    class Times(trt.IProfiler):  # type: ignore[misc]
        """Keeps what it is told; must live as long as the context may call it."""

        def __init__(self) -> None:
            trt.IProfiler.__init__(self)
            self.reported: list[tuple[str, float]] = []

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            """One layer of the execution that just ended."""
            self.reported.append((layer_name, ms))

    walls(infer, warmup)
    times, known = Times(), told(information)
    context.enqueue_emits_profile = True
    context.profiler = times
    samples = []
    for index in range(1 + inferences):
        times.reported.clear()
        (wall_ms,) = walls(infer, 1, first=index)
        if index:  # the first one sets the profiler up
            samples.append(Sample(wall_ms, layers(times.reported, known)))
    if not any(sample.layers for sample in samples):
        return Profile(reason="TensorRT called its profiler for no layer of this engine")
    return Profile(tuple(samples), source="TensorRT's profiler")


def told(information: str) -> Mapping[str, tuple[str, str]]:
    """What each layer does and the type that it computes in, by name, from the inspector's JSON."""
    try:
        found = json.loads(information)
    except ValueError:
        return {}
    entries = found.get("Layers") if isinstance(found, dict) else None
    return {
        str(entry.get("Name", "")): (trace.operator(entry), trace.computes_in(entry))
        for entry in entries or ()
        if isinstance(entry, dict)
    }


def layers(
    reported: list[tuple[str, float]], known: Mapping[str, tuple[str, str]]
) -> tuple[Layer, ...]:
    """The layers of one execution; those that the inspector does not name say so by their name."""
    found = []
    for name, ms in reported:
        kind, precision = known.get(name, ("", ""))
        if not kind:
            kind = "Reformat" if "reformat" in name.lower() else "unknown"
        precision = "" if precision == "unknown" else precision
        found.append(Layer(name, kind, ms, precision, sources(name)))
    return tuple(found)


def sources(name: str) -> tuple[str, ...]:
    """The ONNX nodes in the name of a fused layer: ``/model.0/conv/Conv + PWN(/model.0/Mul)``."""
    words = name.replace("PWN(", " ").replace(")", " ").replace(",", " ").split()
    return tuple(dict.fromkeys(word for word in words if word.startswith("/"))) or (name,)

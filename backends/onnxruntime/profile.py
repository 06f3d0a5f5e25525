"""The layers of ONNX Runtime's own profile: what each node took, in which type, for which nodes.

The trace is Chrome's format: an event a kernel (category ``Node``, ``…_kernel_time``, microseconds)
inside of an event ``model_run`` for each inference (``InferenceSession.end_profiling``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from deploymark.backends.base import Layer, Sample
from deploymark.backends.onnxruntime.trace import data_type

KERNEL = "_kernel_time"

REWRITTEN = re.compile(
    r"(_token_\d+|_nchwc|_quant|_output_\d+|_(?:Quantize|Dequantize)Linear(?:_\d+)?"
    r"|_Add(?:Bias)?_fusion|/(?:GatherSliceToSplit|QuickGelu|BiasGelu)Fusion/?)$"
)
"""What ONNX Runtime's optimiser and quantizer add to the names of nodes that they make of others:
``/model.0/conv/Conv_token_31`` of layout changes, ``…/Conv_output_0_nchwc`` of blocked kernels."""

INTEGER_INSIDE = frozenset({"DynamicQuantizeMatMul", "DynamicQuantizeLSTM"})
"""Operators that take floats and multiply in 8 bits."""


def source_of(name: str) -> str:
    """The node of the file that a node of the optimised graph is named after."""
    while (shorter := REWRITTEN.sub("", name)) != name and shorter:
        name = shorter
    return name


def samples(trace: str, walls_ms: list[float]) -> tuple[Sample, ...]:
    """The last inferences of a trace, one for each of ``walls_ms``, their times at the caller."""
    events = json.loads(trace)
    runs = [event for event in events if event.get("name") == "model_run"][-len(walls_ms) :]
    kernels = sorted(
        (
            event
            for event in events
            if event.get("cat") == "Node" and event.get("name", "").endswith(KERNEL)
        ),
        key=lambda event: event["ts"],
    )
    found = []
    for run, wall_ms in zip(runs, walls_ms[-len(runs) :], strict=True):
        start, end = run["ts"], run["ts"] + run["dur"]
        inside = [event for event in kernels if start <= event["ts"] < end]
        if inside:
            found.append(_sample(inside, wall_ms))
    return tuple(found)


def _sample(kernels: list[Mapping[str, Any]], wall_ms: float) -> Sample:
    """One inference, whose kernels ran one after the other."""
    gaps_us = sum(
        max(0, after["ts"] - before["ts"] - before["dur"])
        for before, after in zip(kernels, kernels[1:])  # noqa: B905, RUF007 - Python 3.10
    )
    return Sample(wall_ms, tuple(_layer(event) for event in kernels), gaps_us / 1e3)


def _layer(event: Mapping[str, Any]) -> Layer:
    arguments = event.get("args", {})
    kind = arguments.get("op_name", "unknown")
    name = event["name"].removesuffix(KERNEL)
    return Layer(
        name=name,
        kind=kind,
        ms=event["dur"] / 1e3,
        precision="i8" if kind in INTEGER_INSIDE else data_type(arguments),
        sources=(source_of(name),),
        place=arguments.get("provider", ""),
    )

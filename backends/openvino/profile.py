"""The layers of OpenVINO's performance counters (``PERF_COUNT``), as samples.

The CPU plugin's counters are means since the model was compiled (``PerfCount::avg``), in whole
microseconds. So those of after the warm-up are taken off those of the end, and a model is compiled
anew for each sample: what happens to one of them is outvoted by the others.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from deploymark.backends.base import Layer, Sample
from deploymark.backends.openvino.settings import executed_type
from deploymark.backends.profile import walls

SESSIONS = 5
"""Models that are compiled for a profile: the fewest whose median leaves two bad ones out."""

ONLY_QUANTIZES = re.compile(r"/fq_(?:output|input|weights)_\d+$")
"""Names that NNCF gives to its FakeQuantize nodes. Alone in a ``Subgraph`` (the plugin's generated
code of elementwise operators) they are what it does."""

FAKE_QUANTIZE = "FakeQuantize"


def sample(
    compiled: Any,
    plugin: str,
    infer: Callable[[Any, int], object],
    *,
    warmup: int,
    inferences: int,
) -> Sample:
    """The mean over ``inferences`` of a compiled model that counts; ``infer`` gets its request."""
    request = compiled.create_infer_request()
    walls(lambda index: infer(request, index), warmup)
    before = _counters(request)
    walls_ms = walls(lambda index: infer(request, index), inferences)
    after = _counters(request)
    known = {} if plugin != "CPU" else _runtime_nodes(compiled)
    total = warmup + inferences
    layers = []
    for key, info in after.items():
        if key not in before:  # a layer that ran for the first time now
            taken_us = _us(info) * total / inferences
        else:
            taken_us = (_us(info) * total - _us(before[key]) * warmup) / inferences
        layers.append(_layer(info, max(0.0, taken_us) / 1e3, known.get(info.node_name, {})))
    return Sample(sum(walls_ms) / len(walls_ms), tuple(layers), inferences=inferences)


def _counters(request: Any) -> dict[tuple[str, int], Any]:
    """The counters of executed layers, in their order, by name and how often the name came."""
    found: dict[tuple[str, int], Any] = {}
    for info in request.get_profiling_info():
        if info.status.name != "EXECUTED":
            continue
        number = 0
        while (info.node_name, number) in found:
            number += 1
        found[info.node_name, number] = info
    return found


def _us(info: Any) -> float:
    return float(info.real_time.total_seconds() * 1e6)


def _runtime_nodes(compiled: Any) -> dict[str, Mapping[str, Any]]:
    """What the plugin's runtime model tells of its nodes, by name."""
    return {
        node.get_friendly_name(): node.get_rt_info()
        for node in compiled.get_runtime_model().get_ops()
    }


def _layer(info: Any, ms: float, told: Mapping[str, Any]) -> Layer:
    names = told["originalLayersNames"].astype(str) if "originalLayersNames" in told else ""
    sources = tuple(name for name in names.split(",") if name) or (info.node_name,)
    kind = info.node_type
    if kind == "Subgraph" and all(ONLY_QUANTIZES.search(name) for name in sources):
        kind = FAKE_QUANTIZE
    kernel = info.exec_type
    runtime = told["runtimePrecision"].astype(str) if "runtimePrecision" in told else ""
    return Layer(info.node_name, kind, ms, _precision(runtime, kernel), _modules(sources))


def _precision(runtime: str, kernel: str) -> str:
    """The type computed in: the runtime model's, else the kernel's suffix (``…_I8``)."""
    return executed_type(runtime, kernel) if runtime else kernel.rpartition("_")[2].lower()


def _modules(sources: Sequence[str]) -> tuple[str, ...]:
    """Names of the file's nodes; those that NNCF and the plugin make of one are that one's."""
    plain = (
        ONLY_QUANTIZES.sub("", name).removesuffix("/WithoutBiases")
        for name in sources
        if not re.fullmatch(r"(?:Multiply|Constant|Convert|FakeQuantize)_\d+", name)
    )
    return tuple(dict.fromkeys(plain))

"""What a runtime's own profiler told of an inference: its layers, and what each of them took.

Written for Python 3.10 and the standard library alone: workers import this module.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable


@dataclasses.dataclass(frozen=True)
class Layer:
    """One run of one layer, as the runtime tells it.

    ``name`` is the runtime's own, ``sources`` are the nodes of the exported model that it stands
    for, as far as names tell. ``kind`` is the operator's type in the runtime's words, ``precision``
    the type that it computed in (``f32``, ``bf16``, ``i8``), empty where that is not told.
    ``place`` is where it ran, of a runtime that has several (an execution provider). ``ms`` are
    milliseconds of one inference.
    """

    name: str
    kind: str
    ms: float
    precision: str = ""
    sources: tuple[str, ...] = ()
    place: str = ""


@dataclasses.dataclass(frozen=True)
class Sample:
    """One profiled inference, or the mean over ``inferences`` of them where counters tell no more.

    ``wall_ms`` is the time of the whole inference, as its caller sees it. ``between_ms`` is the
    part of it that went by between one layer's end and the next one's start, None where the
    profiler does not say when layers ran.
    """

    wall_ms: float
    layers: tuple[Layer, ...]
    between_ms: float | None = None
    inferences: int = 1


@dataclasses.dataclass(frozen=True)
class Profile:
    """All profiled inferences. ``source`` names the profiler; ``reason`` says why there is none."""

    samples: tuple[Sample, ...] = ()
    source: str = ""
    reason: str = ""


def walls(infer: Callable[[int], object], inferences: int, *, first: int = 0) -> list[float]:
    """Milliseconds of each of some inferences; ``infer`` is told which one, from ``first``."""
    found = []
    for index in range(first, first + inferences):
        started = time.perf_counter_ns()
        infer(index)
        found.append((time.perf_counter_ns() - started) / 1e6)
    return found

"""The profile of a cell: a launch of its own in which the runtime's profiler looks on.

Nothing of it is a timing of the cell. A few inferences are timed before the profiler starts, only
to tell by what factor it slows them down.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from typing import Any

from deploymark.backends.base import Layer, Profile, Sample
from deploymark.bench.children.child import Message, Send, phase
from deploymark.bench.worker.measure import conditions, latency
from deploymark.bench.worker.session import open_session

WARMUP = 5
"""Inferences with the profiler before those that count."""


def profile_pass(job: Message, send: Send) -> Message:
    """Load, warm up, time ``inferences`` without the profiler, then as many with it.

    ``plain_ms`` is their median without, the rest of ``aggregated``.
    """
    opened = open_session(job, send)
    session, inputs, wanted = opened.session, opened.inputs, job["inferences"]
    with phase("crashed", "inference failed"):
        session.infer(inputs[0])
        send({"event": "progress", "phase": "warm-up"})
        watch = conditions.Watch(device=job["device"])
        latency.warm_up(session.infer, inputs, max_s=job["measure"]["warmup_max_s"])
        watch.start()
        with latency.no_collection():
            plain_ns = latency.burst(session.infer, inputs, wanted)
            send({"event": "progress", "phase": "profile"})
            profile = session.profile(inputs, warmup=WARMUP, inferences=wanted)
        watch.pause()
    return {
        "plain_ms": statistics.median(plain_ns) / 1e6,
        "conditions": watch.read(),
        **aggregated(profile),
    }


def aggregated(profile: Profile) -> Message:
    """A profile as it is recorded: medians over its samples, milliseconds of one inference.

    ``accounted_share`` is taken within each sample, where what disturbed one layer is in both: the
    medians of layers leave disturbances out that the median of whole inferences has.
    """
    samples = profile.samples
    layers = _layers(samples)
    betweens = [sample.between_ms for sample in samples if sample.between_ms is not None]
    return {
        "profiler": profile.source,
        "no_profile": profile.reason or ("" if layers else "its profile has no layer"),
        "inferences": sum(sample.inferences for sample in samples),
        "wall_ms": statistics.median(sample.wall_ms for sample in samples) if samples else None,
        "layers_ms": sum(layer["ms"] for layer in layers) if layers else None,
        "accounted_share": statistics.median(map(_accounted, samples)) if samples else None,
        "between_ms": statistics.median(betweens) if betweens else None,
        "layers": layers,
    }


def _accounted(sample: Sample) -> float:
    """The share of an inference that its layers, and what lay between them, took."""
    seen_ms = sum(layer.ms for layer in sample.layers) + (sample.between_ms or 0.0)
    return seen_ms / sample.wall_ms


def _layers(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """Each layer with its median; one that ran in a part of the samples has 0 in the others."""
    taken: dict[tuple[str, str, int], list[float]] = {}
    known: dict[tuple[str, str, int], Layer] = {}
    for sample in samples:
        seen: dict[tuple[str, str], int] = {}
        for layer in sample.layers:
            word = layer.name, layer.kind
            number = seen[word] = seen.get(word, -1) + 1
            taken.setdefault((*word, number), []).append(layer.ms)
            known.setdefault((*word, number), layer)
    count = len(samples)
    found = []
    for key, layer in known.items():
        times = taken[key] + [0.0] * (count - len(taken[key]))
        told = {**dataclasses.asdict(layer), "sources": list(layer.sources)}
        found.append({**told, "ms": statistics.median(times)})
    return found

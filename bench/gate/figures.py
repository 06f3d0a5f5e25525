"""The figures of one side of a gate, by column of ``cells.json``, for changes and budgets."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from deploymark.bench.gate.pairing import PairRecord
from deploymark.bench.statistics.intervals import percentile
from deploymark.bench.store import StoredArtifact

_PERCENTILES = {"latency_p90_ms": 0.90, "latency_p95_ms": 0.95, "latency_p99_ms": 0.99}

_READ_IN_PAIRS = ("cold_ms", "load_ms", "peak_rss_bytes", "model_rss_bytes", "device_memory_bytes")


def pair_medians_ms(records: Sequence[PairRecord], side: int) -> list[float]:
    """A pair each: the median of all timed inferences of a side (0 baseline, 1 candidate), ms."""
    return [
        statistics.median(time for burst in record.latency_ns[side] for time in burst) / 1e6
        for record in records
        if record.outcome.ok
    ]


def values_of_pairs(records: Sequence[PairRecord], side: int, name: str) -> list[float] | None:
    """A pair each: what a side's worker told of itself; None where any pair did not tell."""
    values = [_value(record.sides[side], name) for record in records if record.outcome.ok]
    known = [value for value in values if value is not None]
    return known if values and len(known) == len(values) else None


def _value(facts: Mapping[str, Any], name: str) -> float | None:
    value = facts.get(name)
    return None if value is None else float(value)


def figures(
    artifact: StoredArtifact,
    records: Sequence[PairRecord],
    side: int,
    batch: int,
    launched: Mapping[str, Any],
    scores: Mapping[str, float],
) -> dict[str, float | None]:
    """Every figure that a budget may hold but energy; None where it was not measured.

    ``launched`` is the record of the launch that made the side's boxes, empty where a run left
    them; ``scores`` has ``map50_95`` and ``map50`` where the images are labelled.
    """
    medians = pair_medians_ms(records, side)
    samples = [
        time
        for record in records
        if record.outcome.ok
        for burst in record.latency_ns[side]
        for time in burst
    ]
    found: dict[str, float | None] = {
        "latency_p50_ms": statistics.median(medians) if medians else None,
        "latency_mean_ms": statistics.fmean(samples) / 1e6 if samples else None,
        "throughput_ips": batch * 1e9 / statistics.fmean(samples) if samples else None,
        "artifact_bytes": float(artifact.bytes),
        "artifact_gzip_bytes": float(artifact.gzip_bytes),
        "map50_95": scores.get("map50_95"),
        "map50": scores.get("map50"),
    }
    for name, quantile in _PERCENTILES.items():
        value = percentile(samples, quantile)
        found[name] = None if value is None else value / 1e6
    for name in _READ_IN_PAIRS:
        values = values_of_pairs(records, side, name)
        found[name] = None if values is None else statistics.median(values)
    e2e = launched.get("e2e_ns")
    found["e2e_p50_ms"] = statistics.median(e2e) / 1e6 if e2e else None
    return found

"""From launches to the figures of a cell. The replicate is the launch, not the iteration."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from deploymark.bench.matrix.cells import option_text
from deploymark.bench.records.launches import Record, counted
from deploymark.bench.records.run import CellResult
from deploymark.bench.score.executed import contradiction
from deploymark.bench.statistics.intervals import (
    half_width,
    launch_interval,
    percentile,
    samples_needed,
)

PERCENTILES = {"latency_p90_ms": 0.90, "latency_p95_ms": 0.95, "latency_p99_ms": 0.99}


def _median(values: Sequence[float | int | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(statistics.median(known)) if known else None


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)


def executed_text(executed: Mapping[str, Any] | None) -> str | None:
    """Counts of executed layers on one line: ``Convolution:f32 ×88, Add:f32 ×12``."""
    if executed is None:
        return None
    if not executed["layers"]:
        return executed["reason"] or None
    counts = sorted(executed["layers"].items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{layer} ×{count}" for layer, count in counts)


def settings_text(settings: Mapping[str, Any]) -> str:
    """Settings on one line, as a matrix has their values: ``arena: true, spinning: false``."""
    return ", ".join(f"{name}: {option_text(value)}" for name, value in sorted(settings.items()))


def add_launches(result: CellResult, records: Sequence[Record], *, disturbed: bool = False) -> None:
    """Fill in what the launches of a cell measured, and its status if one of them failed.

    Figures are medians over the launches that count, percentiles those of their inferences
    together. ``disturbed`` tells whether disturbed ones are among them. The figures of finished
    launches stay where a later one failed.
    """
    failed = next((record for record in records if record["status"] != "ok"), None)
    if failed is not None:
        result.status, result.reason = failed["status"], failed["reason"]
        result.remedy = failed["remedy"] or None
    result.disturbed_launches = sum(bool(record.get("disturbed")) for record in records)
    result.disturbed = disturbed
    used = counted(records, disturbed=disturbed)
    result.launches = len(used)
    if not used:
        return
    _add_latency(result, used)
    for name in ("bursts", "quiet_bursts"):
        counts = [record[name] for record in used if record.get(name) is not None]
        setattr(result, name, sum(counts) if counts else None)
    if disturbed:
        _cover_what_was_seen(result, records)
    result.cold_ms = _median([record["cold_ms"] for record in used])
    result.load_ms = _median([record["load_ms"] for record in used])
    e2e = [statistics.median(record["e2e_ns"]) / 1e6 for record in used if record["e2e_ns"]]
    result.e2e_p50_ms = _median(e2e)
    for name in ("peak_rss_bytes", "model_rss_bytes", "device_memory_bytes"):
        setattr(result, name, _whole(_median([record[name] for record in used])))
    _add_warm_up(result, used)
    _add_executed(result, records)
    told = next((found for record in used if (found := record.get("runtime_settings"))), None)
    result.runtime_settings = settings_text(told) if told else None
    if not e2e:
        reason = next((record["e2e_reason"] for record in used if record["e2e_reason"]), "")
        if reason:
            result.warnings.append(f"no end-to-end latency: {reason}")


def _add_latency(result: CellResult, used: Sequence[Record]) -> None:
    times = [record["latency_ns"] for record in used]
    pooled = [time for launch in times for time in launch]
    result.iterations = len(pooled)
    medians = [statistics.median(launch) / 1e6 for launch in times]
    result.latency_p50_ms = statistics.median(medians)
    if interval := launch_interval(medians):
        result.latency_ci_low_ms, result.latency_ci_high_ms = interval
    result.interval_half_width = half_width(medians)
    result.latency_mean_ms = statistics.median(statistics.fmean(launch) for launch in times) / 1e6
    result.throughput_ips = result.batch * 1e3 / result.latency_mean_ms
    for name, quantile in PERCENTILES.items():
        value = percentile(pooled, quantile)
        setattr(result, name, None if value is None else value / 1e6)
    tails = [percentile(launch, PERCENTILES["latency_p95_ms"]) for launch in times]
    known = [tail / 1e6 for tail in tails if tail is not None]
    if len(known) == len(times) and (interval := launch_interval(known, result.latency_p95_ms)):
        result.latency_p95_ci_low_ms, result.latency_p95_ci_high_ms = interval
    result.tail_reason = tail_reason(len(pooled))


def _cover_what_was_seen(result: CellResult, records: Sequence[Record]) -> None:
    """Widen the intervals of a marked cell to all that its launches showed, at every attempt.

    Student's t takes launches to differ by chance alone. What disturbs them comes and goes as it
    likes, so that the few that count may all have met it, or missed it.
    """
    times = [record["latency_ns"] for record in records if record["status"] == "ok"]
    if len(times) < 2:  # noqa: PLR2004 - a range needs two
        return
    medians = [statistics.median(launch) / 1e6 for launch in times]
    low, high = _ends(result.latency_ci_low_ms, result.latency_ci_high_ms, *medians)
    result.latency_ci_low_ms, result.latency_ci_high_ms = low, high
    if result.latency_p50_ms:
        result.interval_half_width = (high - low) / (2 * result.latency_p50_ms)
    tails = [percentile(launch, PERCENTILES["latency_p95_ms"]) for launch in times]
    known = [tail / 1e6 for tail in tails if tail is not None]
    if len(known) == len(times):
        result.latency_p95_ci_low_ms, result.latency_p95_ci_high_ms = _ends(
            result.latency_p95_ci_low_ms, result.latency_p95_ci_high_ms, *known
        )


def _ends(*values: float | None) -> tuple[float, float]:
    known = [value for value in values if value is not None]
    return min(known), max(known)


def tail_reason(inferences: int) -> str | None:
    """Which percentiles that many inferences do not carry: ``p99 needs 1000 inferences, …``."""
    needed = {
        name.split("_")[1]: samples_needed(quantile) for name, quantile in PERCENTILES.items()
    }
    missing = [f"{name} needs {count}" for name, count in needed.items() if inferences < count]
    if not missing:
        return None
    return f"{', '.join(missing)} inferences, there are {inferences}"


def _add_warm_up(result: CellResult, used: Sequence[Record]) -> None:
    warm_ups = [record["warmup"] for record in used]
    result.warmup_iterations = _median([warm_up["iterations"] for warm_up in warm_ups])
    result.warmup_ms = _median([warm_up["seconds"] * 1e3 for warm_up in warm_ups])
    result.steady_launches = sum(warm_up["steady"] for warm_up in warm_ups)
    unsteady = len(used) - result.steady_launches
    if unsteady:
        result.warnings.append(
            f"{unsteady} of {len(used)} launches were not steady when the warm-up ended"
        )


def _add_executed(result: CellResult, records: Sequence[Record]) -> None:
    """What ran, of any launch that told: a disturbed one ran it all the same."""
    told = next((found for item in records if (found := item.get("executed_precision"))), None)
    result.executed_precision = executed_text(told)
    against = contradiction(result.precision, told["layers"]) if told else None
    if against:
        result.warnings.append(against)

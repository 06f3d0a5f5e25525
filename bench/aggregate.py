"""From launches to the figures of a cell. The replicate is the launch, not the iteration."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bench.executed import contradiction
from bench.results import CellResult

CONFIDENCE = 0.95

TAIL_SAMPLES = 10
"""Samples wanted beyond a percentile before it is given: with fewer, one slow one moves it."""

PERCENTILES = {"latency_p90_ms": 0.90, "latency_p95_ms": 0.95, "latency_p99_ms": 0.99}


def launch_interval(medians: Sequence[float]) -> tuple[float, float] | None:
    """95 % interval of a typical launch's median, in the medians' unit; None for a single launch.

    Student's t on the logarithms of the launches' medians (times are positive and skewed), widened
    where needed to hold the median of medians, which is the figure that it belongs to.
    """
    if len(medians) < 2:  # noqa: PLR2004 - a spread needs two
        return None
    logs = [math.log(value) for value in medians]
    centre = statistics.fmean(logs)
    spread = statistics.stdev(logs) / math.sqrt(len(logs))
    from scipy import stats  # slow to import, and not every command computes an interval

    reach = float(stats.t.ppf(0.5 + CONFIDENCE / 2, len(logs) - 1)) * spread
    middle = statistics.median(medians)
    return min(math.exp(centre - reach), middle), max(math.exp(centre + reach), middle)


def percentile(samples: Sequence[int], quantile: float) -> float | None:
    """A percentile of pooled samples; None where fewer than ten lie beyond it."""
    # rounded: 1 - 0.9 is a little below 0.1 in binary
    if round(len(samples) * (1 - quantile), 6) < TAIL_SAMPLES:
        return None
    return float(np.quantile(np.asarray(samples, dtype=np.float64), quantile))


def _median(values: Sequence[float | int | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(statistics.median(known)) if known else None


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)


def samples_ns(launches: Sequence[Mapping[str, Any]]) -> list[int]:
    """The timed inferences of all finished launches, in order, nanoseconds."""
    return [
        time for record in launches if record["status"] == "ok" for time in record["latency_ns"]
    ]


def executed_text(executed: Mapping[str, Any] | None) -> str | None:
    """Counts of executed layers on one line: ``Convolution:f32 ×88, Add:f32 ×12``."""
    if executed is None:
        return None
    if not executed["layers"]:
        return executed["reason"] or None
    counts = sorted(executed["layers"].items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{layer} ×{count}" for layer, count in counts)


def add_launches(result: CellResult, launches: Sequence[Mapping[str, Any]]) -> None:
    """Fill in what the launches of a cell measured, and its status if one of them failed.

    Times are medians over launches; the peak of memory is the largest. Figures of finished launches
    stay where a later one failed.
    """
    failed = next((record for record in launches if record["status"] != "ok"), None)
    if failed is not None:
        result.status, result.reason = failed["status"], failed["reason"]
        result.remedy = failed["remedy"] or None
    done = [record for record in launches if record["status"] == "ok"]
    result.launches = len(done)
    if not done:
        return
    samples = samples_ns(done)
    result.iterations = len(samples)
    medians = [statistics.median(record["latency_ns"]) / 1e6 for record in done]
    result.latency_p50_ms = statistics.median(medians)
    interval = launch_interval(medians)
    if interval is not None:
        result.latency_ci_low_ms, result.latency_ci_high_ms = interval
    result.latency_mean_ms = statistics.fmean(samples) / 1e6
    for name, quantile in PERCENTILES.items():
        value = percentile(samples, quantile)
        setattr(result, name, None if value is None else value / 1e6)
    result.throughput_ips = result.batch * 1e3 / result.latency_mean_ms
    result.cold_ms = _median([record["cold_ms"] for record in done])
    result.load_ms = _median([record["load_ms"] for record in done])
    e2e = [statistics.median(record["e2e_ns"]) / 1e6 for record in done if record["e2e_ns"]]
    result.e2e_p50_ms = _median(e2e)
    peaks = [record["peak_rss_bytes"] for record in done if record["peak_rss_bytes"] is not None]
    result.peak_rss_bytes = max(peaks, default=None)
    result.model_rss_bytes = _whole(_median([record["model_rss_bytes"] for record in done]))
    result.device_memory_bytes = _whole(_median([record["device_memory_bytes"] for record in done]))
    _add_energy(result, done)
    executed = [record["executed_precision"] for record in done]
    told = next((item for item in executed if item), None)
    result.executed_precision = executed_text(told)
    against = contradiction(result.precision, told["layers"]) if told else None
    if against:
        result.warnings.append(against)
    unsteady = sum(not record["warmup"]["steady"] for record in done)
    if unsteady:
        result.warnings.append(
            f"{unsteady} of {len(done)} launches were not steady when the warm-up ended"
        )
    if not e2e and result.e2e_p50_ms is None:
        reason = next((record["e2e_reason"] for record in done if record["e2e_reason"]), "")
        if reason:
            result.warnings.append(f"no end-to-end latency: {reason}")


def _add_energy(result: CellResult, done: Sequence[Mapping[str, Any]]) -> None:
    energies = [record["energy"] for record in done]
    result.energy_j_per_image = _median([energy["joules_per_image"] for energy in energies])
    result.energy_idle_w = _median([energy["idle_watts"] for energy in energies])
    result.energy_source = energies[0]["source"]
    result.energy_reason = energies[0]["reason"] or None

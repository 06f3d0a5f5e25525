"""What LoadGen's detail log says of a run: figures, and its own verdict with its own words.

``mlperf_log_detail.txt`` has one JSON object a line after ``:::MLLOG`` (mlcommons/logging); the
keys are those that ``PerformanceSummary::LogDetail`` writes (mlcommons/inference,
``loadgen/results.cc``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploymark.bench.statistics.intervals import samples_needed

DETAIL_LOG = "mlperf_log_detail.txt"

_MARK = ":::MLLOG "

_PERCENTILES = (50, 90, 95, 97, 99)
"""Those of LoadGen's that become figures; the log has the 99.9th, too."""


def log_values(text: str) -> dict[str, Any]:
    """The values of a detail log by key, the last one of each; errors are listed as ``errors``."""
    values: dict[str, Any] = {}
    errors = []
    for line in text.splitlines():
        if not line.startswith(_MARK):
            continue
        try:
            entry = json.loads(line.removeprefix(_MARK))
        except ValueError:  # cut off by a kill
            continue
        values[entry["key"]] = entry["value"]
        if entry.get("metadata", {}).get("is_error") and isinstance(entry["value"], str):
            errors.append(entry["value"])
    values["errors"] = errors
    return values


def read_figures(folder: Path) -> dict[str, Any]:
    """The figures of the run whose logs lie in ``folder``, by the fields of ``ScenarioResult``.

    Raises ValueError where LoadGen came to no result.
    """
    path = folder / DETAIL_LOG
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise ValueError(f"LoadGen left no {DETAIL_LOG}: {error.strerror or error}") from error
    return figures(log_values(text))


def figures(values: Mapping[str, Any]) -> dict[str, Any]:
    """The figures among the values of a log. Raises ValueError where it holds no result."""
    if "result_validity" not in values:
        raise ValueError("LoadGen's log has no result")
    kind = str(values["effective_scenario"])
    queries = int(values["result_query_count"])
    samples = queries * int(values["generated_samples_per_query"])
    valid = values["result_validity"] == "VALID"
    return {
        "valid": valid,
        "invalid_reason": None if valid else _reason(values),
        "min_duration_met": values["result_min_duration_met"],
        "min_queries_met": values["result_min_queries_met"],
        "early_stopping_met": values["early_stopping_met"],
        "latency_target_met": values.get("result_perf_constraints_met"),
        "samples_per_second": _samples_per_second(values, kind),
        "queries": queries,
        "samples": samples,
        "samples_per_query": int(values["generated_samples_per_query"]),
        "over_latency_queries": values.get("result_overlatency_query_count"),
        "loadgen_version": str(values["loadgen_version"]),
        **_latencies(values, kind, queries),
    }


def _samples_per_second(values: Mapping[str, Any], kind: str) -> float:
    """LoadGen's own throughput; multi-stream has none, and is images over the mean of a query."""
    if kind == "MultiStream":
        images = values["generated_samples_per_query"]
        return float(images * 1e9 / values["result_mean_query_latency_ns"])
    key = {
        "SingleStream": "result_qps_with_loadgen_overhead",
        "Server": "result_completed_samples_per_sec",
        "Offline": "result_samples_per_second",
    }[kind]
    return float(values[key])


def _latencies(values: Mapping[str, Any], kind: str, queries: int) -> dict[str, float | None]:
    """Milliseconds from the issue of a query to its completion."""
    if kind == "Offline":
        return {}
    each = "_per_query" if kind == "MultiStream" else ""
    found: dict[str, float | None] = {}
    for percentile in _PERCENTILES:
        nanoseconds = values[f"result_{percentile:.2f}_percentile{each}_latency_ns"]
        enough = queries >= samples_needed(percentile / 100)
        found[f"latency_p{percentile}_ms"] = nanoseconds / 1e6 if enough else None
    word = "query_" if each else ""
    for name in ("mean", "max"):
        found[f"latency_{name}_ms"] = values[f"result_{name}_{word}latency_ns"] / 1e6
    return found


def _reason(values: Mapping[str, Any]) -> str:
    """LoadGen's reasons for INVALID, in its own words."""
    said = [str(values.get("result_invalid_reason", "")), *values["errors"]]
    if not values["early_stopping_met"]:
        said.append(str(values.get("early_stopping_result", "")).replace(" * ", " "))
    return " ".join(" ".join(said).split())

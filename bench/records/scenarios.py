"""The scenarios of MLPerf's LoadGen that a run carried out: ``scenarios.json`` and its lines."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deploymark.bench.errors import BadInputError
from deploymark.bench.records.files import known, read_beside, write_sealed
from deploymark.bench.records.outcomes import Status

SCENARIOS_FILE = "scenarios.json"
SCENARIO_LINES_FILE = "scenarios.jsonl"


@dataclasses.dataclass
class ScenarioResult:
    """One scenario of MLPerf's LoadGen on one cell with so many streams: ``scenarios.json``, flat.

    ``scenario`` is the kind, ``name`` tells two of a kind apart. ``valid`` is LoadGen's own verdict
    and ``invalid_reason`` its words. Latencies are LoadGen's, from the issue of a query to its
    completion, of whole queries in a multi-stream scenario, and None offline, where all queries
    are one. A percentile that fewer than ten queries lie beyond is None. ``rate_ips`` is what the
    streams reached together before LoadGen began; ``logs`` is relative to the run directory.
    ``disturbed`` are sentences on what else happened meanwhile (``bench.matrix.validity``).
    """

    cell: str
    scenario: str
    name: str
    streams: int
    status: Status
    reason: str | None = None
    remedy: str | None = None
    variant: str = ""
    precision: str = ""
    backend: str = ""
    device: str = ""
    imgsz: int | str = 0
    height: int = 0
    width: int = 0
    batch: int = 1
    threads: int = 1
    valid: bool | None = None
    invalid_reason: str | None = None
    min_duration_met: bool | None = None
    min_queries_met: bool | None = None
    early_stopping_met: bool | None = None
    latency_target_met: bool | None = None
    samples_per_second: float | None = None
    latency_p50_ms: float | None = None
    latency_p90_ms: float | None = None
    latency_p95_ms: float | None = None
    latency_p97_ms: float | None = None
    latency_p99_ms: float | None = None
    latency_mean_ms: float | None = None
    latency_max_ms: float | None = None
    queries: int | None = None
    samples: int | None = None
    samples_per_query: int | None = None
    over_latency_queries: int | None = None
    target_qps: float | None = None
    target_latency_ms: float | None = None
    target_percentile: float | None = None
    min_duration_s: float | None = None
    min_queries: int | None = None
    official: bool = False
    seed: int | None = None
    rate_ips: float | None = None
    steady: bool | None = None
    load_ms: float | None = None
    peak_rss_bytes: int | None = None
    loadgen_version: str | None = None
    logs: str | None = None
    started: str | None = None
    duration_s: float | None = None
    disturbed: list[str] = dataclasses.field(default_factory=list)


def write_scenarios(folder: Path, scenarios: Sequence[ScenarioResult]) -> None:
    """Write ``scenarios.json``."""
    write_sealed(folder / SCENARIOS_FILE, [dataclasses.asdict(item) for item in scenarios])


def scenario_of(values: Mapping[str, Any]) -> ScenarioResult:
    """A record of ``scenarios.json`` or ``scenarios.jsonl``. Raises TypeError if incomplete."""
    return ScenarioResult(**known(ScenarioResult, values))


def read_scenarios(folder: Path) -> list[ScenarioResult]:
    """``scenarios.json``: empty where there is none. Raises BadInputError if it cannot be read."""
    path = folder / SCENARIOS_FILE
    found = read_beside(path, list)
    try:
        return [scenario_of(entry) for entry in found if isinstance(entry, dict)]
    except TypeError as error:
        raise BadInputError(f"{path} is incomplete: {error}") from error

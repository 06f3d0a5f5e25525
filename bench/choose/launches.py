"""What each launch of a cell measured: the replicates of its figures."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence

from deploymark.bench.records.answer import Estimate
from deploymark.bench.records.energy import OF_A_RECORD
from deploymark.bench.records.launches import Record
from deploymark.bench.records.run import CellResult
from deploymark.bench.statistics.intervals import launch_interval, percentile
from deploymark.bench.statistics.launch_ratio import OF_A_LAUNCH

SINGLE_LAUNCH_FACTOR = 2.0
"""How far off a figure of a single launch may be, either way: it has no spread to tell.

Above what machines drift by and launches differ by (1 to 9 %, up to 80 % beside other load).
"""

QUANTILES = {"latency_p90_ms": 0.90, "latency_p95_ms": 0.95, "latency_p99_ms": 0.99}
_CI = {
    "latency_p50_ms": ("latency_ci_low_ms", "latency_ci_high_ms"),
    "latency_p95_ms": ("latency_p95_ci_low_ms", "latency_p95_ci_high_ms"),
    "energy_j_per_image": ("energy_ci_low_j_per_image", "energy_ci_high_j_per_image"),
    "energy_gross_j_per_image": (
        "energy_gross_ci_low_j_per_image",
        "energy_gross_ci_high_j_per_image",
    ),
}
"""Figures whose intervals ``cells.json`` has."""


def values_by_launch(records: Sequence[Record], figure: str, *, batch: int) -> dict[int, float]:
    """The figure of each launch that has it, in the column's unit, by the launch's number."""
    read = _reader(figure, batch)
    found = {record["launch"]: read(record) for record in records if "launch" in record}
    return {launch: float(value) for launch, value in found.items() if value is not None}


def _reader(figure: str, batch: int) -> Callable[[Record], float | None]:
    if figure in OF_A_LAUNCH:
        return OF_A_LAUNCH[figure]
    if figure in QUANTILES:
        return lambda record: _tail(record, QUANTILES[figure])
    if figure == "throughput_ips":
        return lambda record: batch * 1e9 / statistics.fmean(record["latency_ns"])
    if figure in OF_A_RECORD:
        return lambda record: record.get(OF_A_RECORD[figure])
    return lambda record: record.get(figure)


def _tail(record: Record, quantile: float) -> float | None:
    value = percentile(record["latency_ns"], quantile)
    return None if value is None else value / 1e6


def launch_estimate(
    cell: CellResult, figure: str, value: float, launches: Mapping[int, float]
) -> Estimate:
    """The figure of a cell with an interval over its launches, or with what one launch tells.

    That of ``cells.json`` where it has one. In a cell that is marked disturbed it holds all that
    was seen.
    """
    told = [getattr(cell, end) for end in _CI.get(figure, ())]
    if told and None not in told:
        return Estimate(value, min(told[0], value), max(told[1], value))
    seen = list(launches.values())
    if len(seen) < 2 or min(seen) <= 0:  # noqa: PLR2004 - a spread needs two
        return Estimate(value, value / SINGLE_LAUNCH_FACTOR, value * SINGLE_LAUNCH_FACTOR)
    interval = launch_interval(seen, value) or (value, value)
    ends = [*interval, *(seen if cell.disturbed else ())]
    return Estimate(value, min(ends), max(ends))

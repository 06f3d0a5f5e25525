"""The launches of each cell for its page: when, how they went, and quantiles of their times."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from deploymark.reports.page import figures

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
FEW_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Of a run with many cells, whose launches have no conditions in the page: it has a limit."""

_CONDITIONS = {
    "foreign_load_cores": ("load of others", "cores"),
    "steal_share": ("stolen by the hypervisor", "share"),
    "throttled_s": ("throttled by a quota", "s"),
    "major_faults": ("major page faults", ""),
    "involuntary_switches": ("involuntary switches", ""),
    "run_queue_wait_s": ("waiting for a processor", "s"),
    "cpu_mhz_mean": ("clock, mean", "MHz"),
    "cpu_mhz_min": ("clock, lowest", "MHz"),
    "frequency_share": ("clock, share of the reference", "share"),
    "temperature_c": ("temperature", "°C"),
    "throttle_events": ("thermal throttling", "events"),
}
"""Of ``conditions`` of a launch: title and unit; what was not recorded is left out."""


def condition_titles() -> list[str]:
    """Titles with units, in the order of a launch's ``conditions``."""
    return [f"{title}, {unit}" if unit else title for title, unit in _CONDITIONS.values()]


def launches_by_cell(
    records: Iterable[Mapping[str, Any]], *, few: bool = False
) -> dict[str, list[list[Any]]]:
    """For each cell its launches, all attempts, in the order of the file.

    A launch is [launch, attempt, status, started, inferences, quantiles in ms (or none), load ms,
    cold ms, warm-up's inferences, steady, bursts, quiet bursts, what disturbed, reason,
    conditions]; None stands for what was not recorded. ``few`` is for a run with many cells: with
    ``FEW_QUANTILES`` of three digits, and of the rest what disturbed and the reason.
    """
    found: dict[str, list[list[Any]]] = {}
    for record in records:
        found.setdefault(str(record.get("cell")), []).append(_launch(record, few=few))
    return found


def _launch(record: Mapping[str, Any], *, few: bool) -> list[Any]:
    quantiles, digits = (FEW_QUANTILES, 3) if few else (QUANTILES, 4)
    times = [value for value in record.get("latency_ns") or () if figures.number(value) is not None]
    warm_up, conditions = record.get("warmup") or {}, record.get("conditions") or {}
    shown = [] if few else [_short(conditions.get(key)) for key in _CONDITIONS]
    disturbed = record.get("disturbed") or []
    return [
        record.get("launch"),
        record.get("attempt"),
        record.get("status"),
        None if few else record.get("started"),
        len(times),
        [_short(float(q) / 1e6, digits) for q in np.quantile(times, quantiles)] if times else [],
        *([None] * 6 if few else _told(record, warm_up)),
        [str(item) for item in disturbed] if isinstance(disturbed, list) else [str(disturbed)],
        record.get("reason") or "",
        shown if any(value is not None for value in shown) else [],
    ]


def _told(record: Mapping[str, Any], warm_up: Mapping[str, Any]) -> list[Any]:
    return [
        _short(record.get("load_ms")),
        _short(record.get("cold_ms")),
        warm_up.get("iterations"),
        warm_up.get("steady"),
        record.get("bursts"),
        record.get("quiet_bursts"),
    ]


def _short(value: object, digits: int = 4) -> float | int | None:
    """A number with a few significant digits, which a picture does not tell from the whole."""
    known = figures.number(value)
    if known is None:
        return None
    short = float(f"{known:.{digits}g}")
    return int(short) if short.is_integer() else short

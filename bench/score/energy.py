"""From energy launches to the figures of a cell; the replicate is the launch.

An interval is over launches where there are several, else over the windows of the one.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from deploymark.bench.matrix.energy_settings import EnergySettings
from deploymark.bench.records.energy import values_of
from deploymark.bench.records.launches import Record
from deploymark.bench.records.run import CellResult
from deploymark.bench.statistics.intervals import Interval, launch_interval

JOULES_A_WH = 3600.0

_ALL_OF_IT = frozenset({"board", "wall"})
"""Scopes that a battery feeds: a package or a GPU is a part of what it does."""


def add_energy(
    result: CellResult, records: Sequence[Record], settings: EnergySettings | None, reason: str
) -> None:
    """Fill in what the energy launches of a cell measured; ``reason`` is why there are none."""
    if not records:
        result.energy_reason = reason
        return
    first = next((record for record in records if record.get("source")), records[0])
    result.energy_source, result.energy_kind = first.get("source"), first.get("kind")
    result.energy_scope, result.energy_period_ms = first.get("scope"), first.get("period_ms")
    result.energy_idle_w = _median([record.get("idle_w") for record in records])
    net = values_of(records, "energy_j_per_image")
    gross = values_of(records, "energy_gross_j_per_image")
    result.energy_launches = max(len(net), len(gross))
    result.energy_j_per_image, result.energy_gross_j_per_image = _median(net), _median(gross)
    if (interval := _interval(records, net, "net_interval")) is not None:
        result.energy_ci_low_j_per_image, result.energy_ci_high_j_per_image = interval
    if (interval := _interval(records, gross, "gross_interval")) is not None:
        result.energy_gross_ci_low_j_per_image, result.energy_gross_ci_high_j_per_image = interval
    if not net:
        result.energy_reason = _why(records, "no_net")
    without = len(records) - len(net)
    if net and without:
        times = f"{without} of {len(records)} energy launches"
        result.warnings.append(f"{times} had no figure: {_why(records, 'no_net')}")
    result.warnings += dict.fromkeys(note for r in records for note in r.get("notes", ()))
    if result.energy_gross_j_per_image:
        result.images_per_wh = JOULES_A_WH / result.energy_gross_j_per_image
    if settings is not None and settings.battery_wh and settings.frames_per_second:
        _add_battery(result, records, settings.frames_per_second, settings.battery_wh)


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(statistics.median(known)) if known else None


def _interval(
    records: Sequence[Record], values: Sequence[float], of_windows: str
) -> Interval | None:
    """The interval over launches; of a single one that over its windows."""
    if len(values) > 1:
        return launch_interval(values)
    told = next((found for record in records if (found := record.get(of_windows))), None)
    return None if told is None or not values else (float(told[0]), float(told[1]))


def _why(records: Sequence[Record], key: str) -> str:
    """Why launches have no figure: their faults, or how the worker ended, each once."""
    told = [record.get(key) or record.get("reason") or "" for record in records]
    return "; ".join(dict.fromkeys(text for text in told if text)) or "no energy was measured"


def _add_battery(
    result: CellResult, records: Sequence[Record], frames_per_second: float, battery_wh: float
) -> None:
    """Hours that a battery lasts at so many images a second, idle power included."""
    why = ""
    rates = [
        window["images"] / window["seconds"]
        for record in records
        for window in record.get("windows", ())
    ]
    if result.energy_j_per_image is None or result.energy_idle_w is None:
        why = result.energy_reason or "no energy was measured"
    elif result.energy_scope not in _ALL_OF_IT:
        why = f"{result.energy_source} sees the {result.energy_scope} alone, a battery feeds more"
    elif rates and statistics.median(rates) < frames_per_second:
        why = f"it infers {statistics.median(rates):.3g} images a second, not {frames_per_second:g}"
    if why:
        result.warnings.append(f"no battery life: {why}")
        return
    assert result.energy_j_per_image is not None  # noqa: S101 - for the type checker
    assert result.energy_idle_w is not None  # noqa: S101
    watts = result.energy_idle_w + result.energy_j_per_image * frames_per_second
    result.battery_hours = battery_wh / watts

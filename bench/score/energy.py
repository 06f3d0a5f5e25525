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
    result.images_per_wh = _median(values_of(records, "images_per_wh"))
    result.battery_hours = _median(values_of(records, "battery_hours"))
    if settings is not None and settings.battery_wh and result.battery_hours is None:
        result.warnings.append(f"no battery life: {_why(records, 'no_battery')}")


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


def duty_cycle(record: Record, settings: EnergySettings) -> dict[str, float | str | None]:
    """What a launch's figures come to: images a watt-hour, and the hours a battery lasts.

    The first is of steady inferences, idle power in it; the second of the matrix's images a second
    with idle power between them. ``no_battery`` says why there is none where one is asked for.
    """
    gross, net = record.get("gross_joules_per_image"), record.get("joules_per_image")
    found: dict[str, float | str | None] = {
        "images_per_wh": JOULES_A_WH / gross if gross else None,
        "battery_hours": None,
        "no_battery": "",
    }
    frames, battery_wh = settings.frames_per_second, settings.battery_wh
    if frames is None or battery_wh is None:
        return found
    windows = record["windows"]
    seconds = sum(window["seconds"] for window in windows)
    rate = sum(window["images"] for window in windows) / seconds if seconds else 0.0
    if net is None or record["idle_w"] is None:
        found["no_battery"] = record["no_net"]
    elif record["scope"] not in _ALL_OF_IT:
        found["no_battery"] = (
            f"{record['source']} sees the {record['scope']} alone, a battery feeds more"
        )
    elif rate < frames:
        found["no_battery"] = f"it infers {rate:.3g} images a second, not {frames:g}"
    else:
        found["battery_hours"] = battery_wh / (record["idle_w"] + net * frames)
    return found

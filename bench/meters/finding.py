"""All meters of this machine, several at once; and for each kind that is not here, why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from deploymark.bench.meters import battery, hwmon, rapl, zeus_meters
from deploymark.bench.meters.base import ENTRY_POINT_GROUP, Found, Meter, MeterError, Missing
from deploymark.bench.meters.external import ExternalMeter


def _sources(roots: Mapping[str, str]) -> Iterator[Found]:
    yield rapl.find(Path(roots.get("powercap", rapl.POWERCAP)))
    yield zeus_meters.find()
    yield hwmon.find(Path(roots.get("hwmon", hwmon.HWMON)))
    yield battery.find(Path(roots.get("power_supply", battery.POWER_SUPPLY)))
    yield from _third_parties()


def _third_parties() -> Iterator[Found]:
    """Meters of other packages, by entry points ``deploymark.meters``."""
    from importlib import metadata  # slow

    for point in metadata.entry_points(group=ENTRY_POINT_GROUP):
        try:
            found = point.load()()
        except Exception as error:  # noqa: BLE001 - a broken package must not stop the others
            reason = f"{point.value} failed: {type(error).__name__}: {error}"
            remedy = "Mend or remove the package that provides it."
            yield Found(missing=[Missing(point.name, reason, remedy)])
            continue
        if isinstance(found, Found):
            yield found
        else:
            reason = f"{point.value} gave {type(found).__name__}, expected bench.meters.base.Found"
            yield Found(missing=[Missing(point.name, reason)])


def find_all(external: Mapping[str, Any] | None, roots: Mapping[str, str]) -> Found:
    """Open every meter; that of a matrix comes first.

    ``external`` has the arguments of ``ExternalMeter``. ``roots`` are other folders for the
    kernel's trees, by ``powercap``, ``hwmon`` and ``power_supply``.
    """
    meters: list[Meter] = []
    missing: list[Missing] = []
    if external is not None:
        try:
            meters.append(ExternalMeter(**external))
        except MeterError as error:
            missing.append(Missing("external meter", error.message, "Mend energy.meter.command."))
    for found in _sources(roots):
        meters += found.meters
        missing += found.missing
    return Found(meters, missing)

"""The battery of a laptop: what it gives while it is the only supply.

Files and units are those of the kernel's ``Documentation/ABI/testing/sysfs-class-power``:
``power_now`` in microwatts, or ``voltage_now`` in microvolts and ``current_now`` in microamperes.
Many firmwares update them every few seconds and slower.
"""

from __future__ import annotations

from pathlib import Path

from deploymark.bench.meters.base import Facts, Found, Meter, MeterDiedError, Missing
from deploymark.bench.meters.sysfs import number_of, text_of

POWER_SUPPLY = Path("/sys/class/power_supply")

_MICRO = 1e-6


class BatteryMeter(Meter):
    """One battery that discharges."""

    def __init__(self, facts: Facts, battery: Path) -> None:
        super().__init__(facts)
        self._battery = battery

    def read(self) -> float:
        """Watts. Raises MeterError, also where the battery is on mains by now."""
        status = text_of(self._battery / "status")
        if status != "Discharging":
            raise MeterDiedError(f"the battery's state became {status!r:.40}: it is on mains")
        if (self._battery / "power_now").exists():
            return number_of(self._battery / "power_now") * _MICRO
        # Some drivers give the current of a discharge a negative sign.
        current = abs(number_of(self._battery / "current_now")) * _MICRO
        return current * number_of(self._battery / "voltage_now") * _MICRO


def find(power_supply: Path = POWER_SUPPLY) -> Found:
    """The batteries that are in use, and why there are none."""
    batteries = [
        supply
        for supply in sorted(power_supply.glob("*"))
        if text_of(supply / "type") == "Battery" and text_of(supply / "scope") != "Device"
    ]
    usable = [
        battery
        for battery in batteries
        if (battery / "power_now").exists() or (battery / "current_now").exists()
    ]
    used = [battery for battery in usable if text_of(battery / "status") == "Discharging"]
    if used:
        return Found([_meter(battery) for battery in used])
    if usable:
        reason, remedy = "the battery is on mains", "Unplug the machine while it measures."
    elif batteries:
        reason, remedy = "the battery does not tell its power", ""
    else:
        reason, remedy = "there is no battery", ""
    return Found(missing=[Missing("battery", reason, remedy)])


def _meter(battery: Path) -> Meter:
    return BatteryMeter(
        Facts(
            name=f"battery:{battery.name}",
            source=f"battery {battery.name}",
            kind="integrated power",
            scope="board",
            unit="w",
            sums_as="battery:all",
        ),
        battery,
    )

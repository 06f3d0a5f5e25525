"""Power and energy sensors of Linux' hwmon that are known to see a whole board, package or GPU.

Files and units are those of the kernel's ``Documentation/hwmon/sysfs-interface.rst``: ``power1``
in microwatts, ``energy1`` in microjoules, ``in1`` in millivolts, ``curr1`` in milliamperes. Drives,
regulators and parts of a board have such files, too: a driver that is not known is not guessed at.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

from deploymark.bench.meters.base import Facts, Found, Meter, Missing, Scope
from deploymark.bench.meters.sysfs import number_of, text_of

HWMON = Path("/sys/class/hwmon")

_MICRO = 1e-6


@dataclasses.dataclass(frozen=True)
class _Driver:
    """What a driver's sensors see, and which of its labels are the whole of it."""

    scope: Scope
    labels: str = ".*"


_INPUT_RAIL = r"(?i)vdd_in|.*_in|.*system.*|.*total.*|pom_5v_in"

DRIVERS: dict[str, _Driver] = {
    "power_meter": _Driver("wall"),  # ACPI 4.0's, of servers
    "amd_energy": _Driver("package", r"Esocket\d+"),
    "amdgpu": _Driver("GPU"),
    "i915": _Driver("GPU"),
    "xe": _Driver("GPU", r"card|"),
    "ina219": _Driver("board"),
    "ina220": _Driver("board"),
    "ina226": _Driver("board"),
    "ina228": _Driver("board"),
    "ina230": _Driver("board"),
    "ina231": _Driver("board"),
    "ina238": _Driver("board"),
    "ina260": _Driver("board"),
    "ina3221": _Driver("board", _INPUT_RAIL),  # Jetson: the rail that feeds the module
}
"""By the ``name`` of the device. The ina2xx stand where the board's maker put them: on the input of
boards that are sold with one."""


class FileMeter(Meter):
    """One file, in a millionth of the unit."""

    def __init__(self, facts: Facts, file: Path) -> None:
        super().__init__(facts)
        self._file = file

    def read(self) -> float:
        """Watts or joules. Raises MeterError."""
        return number_of(self._file) * _MICRO


class ProductMeter(Meter):
    """Voltage and current of a rail, where the driver does not multiply them."""

    def __init__(self, facts: Facts, volts: Path, amperes: Path) -> None:
        super().__init__(facts)
        self._millivolts, self._milliamperes = volts, amperes

    def read(self) -> float:
        """Watts. Raises MeterError."""
        return number_of(self._millivolts) * number_of(self._milliamperes) * _MICRO


def find(hwmon: Path = HWMON) -> Found:
    """The sensors of known drivers, and which others there are."""
    meters: list[Meter] = []
    unknown = []
    for device in sorted(hwmon.glob("hwmon*")):
        name = text_of(device / "name")
        if name in DRIVERS:
            meters += _of_device(device, name, DRIVERS[name])
        elif list(device.glob("power*_input")) + list(device.glob("power*_average")):
            unknown.append(name or device.name)
    if meters:
        return Found(meters)
    if unknown:
        reason = f"nobody knows what the power sensors of {', '.join(sorted(unknown))} see"
        remedy = "Where you know: give the command that reads one as energy.meter of the matrix."
    else:
        reason = "no power sensor is in hwmon"
        remedy = "An INA219 on the supply of a board, with its kernel driver, is one."
    return Found(missing=[Missing("hwmon", reason, remedy)])


def _of_device(device: Path, name: str, driver: _Driver) -> Iterator[Meter]:
    """The energy counters of a device, its power sensors, and products of voltage and current."""
    for file in _files(device, r"energy(\d+)_input"):
        if _is_whole(device, file, driver):
            yield FileMeter(_facts(device, name, file, driver, "counter"), file)
    powers = _files(device, r"power(\d+)_(average|input)")
    seen = set()
    for file in powers:
        number = _number(file)
        if number not in seen and _is_whole(device, file, driver):
            seen.add(number)
            yield FileMeter(_facts(device, name, file, driver, "power"), file)
    if powers:
        return
    for file in _files(device, r"curr(\d+)_input"):
        volts = device / f"in{_number(file)}_input"
        if volts.exists() and _is_whole(device, volts, driver):
            yield ProductMeter(_facts(device, name, volts, driver, "power"), volts, file)


def _files(device: Path, pattern: str) -> list[Path]:
    return sorted(file for file in device.iterdir() if re.fullmatch(pattern, file.name))


def _number(file: Path) -> str:
    return re.sub(r"\D", "", file.name)


def _label(device: Path, file: Path) -> str:
    return text_of(device / f"{file.name.partition('_')[0]}_label")


def _is_whole(device: Path, file: Path, driver: _Driver) -> bool:
    """Whether a sensor sees the whole of what its driver sees, and no part."""
    return re.fullmatch(driver.labels, _label(device, file)) is not None


def _facts(device: Path, name: str, file: Path, driver: _Driver, what: str) -> Facts:
    label = _label(device, file)
    sensor = f"hwmon:{device.name}:{name}"
    return Facts(
        name=f"{sensor}:{file.name.partition('_')[0]}",
        source=" ".join(part for part in ("hwmon", name, label) if part),
        kind="counter" if what == "counter" else "integrated power",
        scope=driver.scope,
        unit="j" if what == "counter" else "w",
        sums_as="hwmon:packages" if driver.scope == "package" else "",
        # Counter and power of one GPU are two paths to the same; sockets are not.
        sensor=sensor if driver.scope == "GPU" else "",
    )

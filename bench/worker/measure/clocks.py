"""Clocks and heat of the processor, as Linux shows them in sysfs.

cpufreq: Linux ``admin-guide/pm/cpufreq.rst``; thermal zones: ``driver-api/thermal/sysfs-api.rst``;
throttle counters: ``arch/x86/kernel/cpu/mce/therm_throt.c``. Python 3.10 and the standard library
alone: the worker's side.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

SYS = Path("/sys")

SANE_CELSIUS = (0.0, 150.0)
"""Thermal zones without a sensor give values outside of this."""

FIRMWARE_FLAGS = {
    0x1: "under-voltage",
    0x2: "frequency capped",
    0x4: "throttled",
    0x8: "soft temperature limit",
}
"""Bits of a Raspberry Pi's ``get_throttled`` that say what is so now (its documentation of
``vcgencmd``); those from 16 on say what was so since the start."""


def read_int(path: Path, base: int = 10) -> int | None:
    """A file's whole number, None where there is none."""
    with contextlib.suppress(OSError, ValueError):
        return int(path.read_text(encoding="ascii", errors="replace").strip(), base)
    return None


def throttle_files(cpus: Collection[int], sys: Path = SYS) -> list[Path]:
    """Counters of throttling by heat, of x86 cores and their packages."""
    files: list[Path] = []
    for cpu in sorted(cpus):
        folder = sys / f"devices/system/cpu/cpu{cpu}/thermal_throttle"
        files += [folder / "core_throttle_count", folder / "package_throttle_count"]
    return [file for file in files if file.is_file()]


def overcurrent_files(sys: Path = SYS) -> list[Path]:
    """Counters of a Jetson's events of under-voltage and over-current (driver soctherm_oc)."""
    return sorted((sys / "class/hwmon").glob("hwmon*/oc*_event_cnt"))


def events(files: Iterable[Path]) -> int:
    """The sum of counters; a package's is in it once for each of its processors."""
    return sum(read_int(file) or 0 for file in files)


def reference_khz(cpu: int, sys: Path = SYS) -> tuple[int, str] | None:
    """The clock that a processor should keep under load, and which one that is.

    ``base`` is the one its maker guarantees (intel_pstate's ``base_frequency``, CPPC's nominal
    frequency elsewhere), ``maximum`` the highest where no base is known; never above what the
    user allows (``scaling_max_freq``).
    """
    folder = sys / f"devices/system/cpu/cpu{cpu}"
    nominal_mhz = read_int(folder / "acpi_cppc/nominal_freq")
    base = read_int(folder / "cpufreq/base_frequency") or (nominal_mhz or 0) * 1000
    value = base or read_int(folder / "cpufreq/cpuinfo_max_freq")
    if not value:
        return None
    allowed = read_int(folder / "cpufreq/scaling_max_freq") or value
    return min(value, allowed), "base" if base else "maximum"


def frequencies(cpus: Sequence[int], sys: Path = SYS) -> dict[str, Any]:
    """Clocks now of the processors given, in MHz, and the lowest share of what it should be."""
    now: list[int] = []
    shares: list[tuple[float, float, str]] = []
    for cpu in cpus:
        khz = read_int(sys / f"devices/system/cpu/cpu{cpu}/cpufreq/scaling_cur_freq")
        if khz is None:
            continue
        now.append(khz)
        if (reference := reference_khz(cpu, sys)) is not None:
            shares.append((khz / reference[0], reference[0] / 1000, reference[1]))
    share, reference_mhz, kind = min(shares, default=(None, None, None))
    return {
        "cpu_mhz_min": min(now) / 1000 if now else None,
        "cpu_mhz_mean": sum(now) / len(now) / 1000 if now else None,
        "cpu_mhz_reference": reference_mhz,
        "cpu_mhz_reference_kind": kind,
        "frequency_share": share,
    }


def temperature(sys: Path = SYS) -> dict[str, Any]:
    """The hottest thermal zone, in degrees Celsius, and its name."""
    hottest: tuple[float, str] | None = None
    for zone in sorted((sys / "class/thermal").glob("thermal_zone*")):
        millidegrees = read_int(zone / "temp")
        if millidegrees is None:
            continue
        celsius = millidegrees / 1000
        if SANE_CELSIUS[0] < celsius < SANE_CELSIUS[1] and (
            hottest is None or celsius > hottest[0]
        ):
            hottest = celsius, zone_name(zone)
    celsius_now, name = hottest or (None, None)
    return {"temperature_c": celsius_now, "temperature_zone": name}


def zone_name(zone: Path) -> str:
    """What a thermal zone calls itself."""
    with contextlib.suppress(OSError):
        return (zone / "type").read_text(encoding="ascii", errors="replace").strip() or zone.name
    return zone.name


def firmware_throttling(sys: Path = SYS) -> list[str] | None:
    """What a Raspberry Pi's firmware does to the clock now; None on other machines."""
    flags = read_int(sys / "devices/platform/soc/soc:firmware/get_throttled", base=16)
    if flags is None:
        return None
    return [name for bit, name in FIRMWARE_FLAGS.items() if flags & bit]

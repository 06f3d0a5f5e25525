"""RAPL: the energy counters of Intel's and AMD's processors, through Linux's powercap.

The tree is that of the kernel's ``Documentation/power/powercap/powercap.rst``: a zone
``intel-rapl:0`` has ``name`` (``package-0``, ``psys``), ``energy_uj`` and ``max_energy_range_uj``,
and zones below it (``intel-rapl:0:0``, ``core``, ``uncore``, ``dram``) are parts of it. Only the
packages are read, each once; what lies below one is in it already, but for ``dram``, which stays
out. ``psys`` sees the whole board and is a meter of its own, never added to a package. The kernel
updates the counter about every millisecond (Intel SDM volume 3B, section 16.10: "the energy status
MSRs are updated roughly every 1 millisecond"). Since Linux 5.10 only root may read ``energy_uj``
(CVE-2020-8694).
"""

from __future__ import annotations

from pathlib import Path

from deploymark.bench.meters.base import Facts, Found, Meter, Missing
from deploymark.bench.meters.sysfs import may_read, number_of, text_of

POWERCAP = Path("/sys/class/powercap")

UDEV_RULE = (
    'SUBSYSTEM=="powercap", ACTION=="add", KERNEL=="intel-rapl:?", '
    'RUN+="/bin/chgrp power /sys%p/energy_uj", RUN+="/bin/chmod g+r /sys%p/energy_uj"'
)
"""Lets a group of users read the counters; a file of root's, once, and no program is run as root.
"""

_MICRO = 1e-6


class RaplMeter(Meter):
    """One package, or the whole board."""

    def __init__(self, facts: Facts, zone: Path) -> None:
        super().__init__(facts)
        self._file = zone / "energy_uj"

    def read(self) -> float:
        """Joules since some time in the past, until the counter begins again. Raises MeterError."""
        return number_of(self._file) * _MICRO


def _zones(powercap: Path) -> list[tuple[str, Path]]:
    """The packages and psys by name, each once: some machines list one under two controllers."""
    found: dict[str, Path] = {}
    # The registers of the processor before the same counters mapped into memory.
    zones = sorted(powercap.glob("intel-rapl*:*"), key=lambda zone: ("-mmio" in zone.name, zone))
    for zone in zones:
        name = text_of(zone / "name")
        is_part = zone.name.count(":") > 1
        if not is_part and name.startswith(("package-", "psys")) and (zone / "energy_uj").exists():
            found.setdefault(name, zone)
    return sorted(found.items())


def find(powercap: Path = POWERCAP) -> Found:
    """The RAPL counters of this machine, and why there are none."""
    zones = _zones(powercap)
    if not zones:
        return Found(
            missing=[
                Missing(
                    "RAPL",
                    "there is no RAPL counter: virtual machines, containers and many boards have "
                    "none",
                    "Measure on the machine itself; on Intel and AMD processors: sudo modprobe "
                    "intel_rapl_msr",
                )
            ]
        )
    closed = [zone for _, zone in zones if not may_read(zone / "energy_uj")]
    if closed:
        return Found(
            missing=[
                Missing(
                    "RAPL",
                    f"{closed[0] / 'energy_uj'} is there and may not be read (since Linux 5.10)",
                    "Let a group read it: sudo groupadd power; sudo usermod -aG power $USER; a "
                    f"file /etc/udev/rules.d/70-rapl.rules with the line {UDEV_RULE}; then restart",
                )
            ]
        )
    return Found([_meter(name, zone) for name, zone in zones])


def _meter(name: str, zone: Path) -> Meter:
    wraps_at_uj = text_of(zone / "max_energy_range_uj")
    is_board = name == "psys"
    return RaplMeter(
        Facts(
            name=f"rapl:{name}",
            source=f"RAPL {name}",
            kind="counter",
            scope="board" if is_board else "package",
            unit="j",
            sums_as="" if is_board else "rapl:packages",
            wraps_at_j=float(wraps_at_uj) * _MICRO if wraps_at_uj.isdecimal() else None,
        ),
        zone,
    )

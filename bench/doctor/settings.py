"""How the machine is set: clock, turbo, siblings, processors, quota, heat.

Read from sysfs and procfs, as Linux documents them: ``admin-guide/pm/cpufreq.rst`` and
``intel_pstate.rst``, ``driver-api/thermal/sysfs-api.rst``, ``admin-guide/cgroup-v2.rst``. What
cannot be read is a note.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from pathlib import Path

from deploymark.bench.doctor.findings import Finding
from deploymark.bench.worker.measure.clocks import SANE_CELSIUS, read_int, zone_name
from deploymark.bench.worker.measure.conditions import (
    cpu_list,
    throttling_files,
    usable_cpus,
    with_siblings,
)

SYS = Path("/sys")
PROC = Path("/proc")

TRIP_MARGIN_C = 10.0
"""Nearer than this to where the kernel begins to cool by slowing down, a run will get there."""

_TRIPS = frozenset({"passive", "hot", "critical"})
"""Kinds of trip points at which the processor is slowed down or stopped; ``active`` are fans."""


def _read(path: Path) -> str | None:
    with contextlib.suppress(OSError):
        return path.read_text(encoding="utf-8", errors="replace").strip() or None
    return None


def setting_findings(
    threads: int, *, sys: Path = SYS, proc: Path = PROC, cpus: Collection[int] | None = None
) -> list[Finding]:
    """All settings that move latencies, for sessions of ``threads`` threads."""
    usable = set(cpus) if cpus is not None else usable_cpus(proc)
    return [
        governor(usable, sys),
        turbo(sys),
        *siblings(usable, sys),
        pinning(usable, threads, sys),
        *quota(threads, sys, proc),
        heat(sys),
    ]


def governor(usable: Collection[int], sys: Path = SYS) -> Finding:
    """Whether the clock follows the load."""
    folder = sys / "devices/system/cpu"
    found = {_read(folder / f"cpu{cpu}/cpufreq/scaling_governor") for cpu in usable}
    names = sorted(name for name in found if name is not None)
    if not names:
        return Finding("note", "frequency", "the frequency governor cannot be read here")
    if names == ["performance"]:
        return Finding("ok", "frequency", "the governor is 'performance'")
    return Finding(
        "problem",
        "frequency",
        f"the governor is {', '.join(map(repr, names))}: the clock follows the load",
        "sudo cpupower frequency-set -g performance, or without cpupower: "
        "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor",
    )


def turbo(sys: Path = SYS) -> Finding:
    """Whether clocks above the base are allowed, which last as long as the chip is cool."""
    folder = sys / "devices/system/cpu"
    intel_off = read_int(folder / "intel_pstate/no_turbo")
    boost = read_int(folder / "cpufreq/boost")
    if intel_off is None and boost is None:
        return Finding("note", "turbo", "whether turbo clocks are on cannot be read here")
    if intel_off == 1 or (intel_off is None and boost == 0):
        return Finding("ok", "turbo", "off: the clock does not depend on the temperature")
    switch = "1 | sudo tee /sys/devices/system/cpu/intel_pstate/no_turbo"
    if intel_off is None:
        switch = "0 | sudo tee /sys/devices/system/cpu/cpufreq/boost"
    return Finding(
        "note",
        "turbo",
        "on: the clock varies with temperature and with what other cores do",
        f"for figures that repeat (and are slower): echo {switch}",
    )


def siblings(usable: Collection[int], sys: Path = SYS) -> Iterator[Finding]:
    """Processors that share a core, where there are any."""
    cores = {tuple(sorted(with_siblings([cpu], sys))) for cpu in usable}
    shared = sorted(core for core in cores if len(core) > 1)
    if not shared:
        return
    firsts = ",".join(str(core[0]) for core in sorted(cores))
    yield Finding(
        "note",
        "siblings",
        f"{len(shared)} cores run two hardware threads or more, which slow each other down",
        f"taskset -c {firsts} deploymark run …, or for all: "
        "echo off | sudo tee /sys/devices/system/cpu/smt/control",
    )


def pinning(usable: Collection[int], threads: int, sys: Path = SYS) -> Finding:
    """Whether the run has processors of its own."""
    folder = sys / "devices/system/cpu"
    online = cpu_list(_read(folder / "online") or "")
    isolated = cpu_list(_read(folder / "isolated") or "")
    names = ",".join(map(str, sorted(usable)))
    if not online:
        return Finding("note", "pinning", "which processors are online cannot be read here")
    if isolated and set(usable) <= isolated:
        return Finding("ok", "pinning", f"to the processors {names}, which nothing else may use")
    if set(usable) < online:
        text = f"to the processors {names}; other processes may use them, too"
        return Finding("ok", "pinning", text)
    spare = sorted(online)[-threads:] if threads < len(online) else []
    return Finding(
        "note",
        "pinning",
        f"none: the scheduler may move threads among all {len(online)} processors",
        f"taskset -c {','.join(map(str, spare))} deploymark run …, and for processors that nothing "
        f"else uses the kernel option isolcpus={','.join(map(str, spare))}"
        if spare
        else "",
    )


def quota(threads: int, sys: Path = SYS, proc: Path = PROC) -> Iterator[Finding]:
    """A limit of processor time, as containers have."""
    limits = []
    for file in throttling_files(proc, sys):
        group = file.parent
        words = (_read(group / "cpu.max") or "").split()
        if not words:  # version 1
            words = [str(read_int(group / f"cpu.cfs_{name}_us")) for name in ("quota", "period")]
        with contextlib.suppress(ValueError):
            allowed_us, period_us = (int(word) for word in words)
            if allowed_us > 0 and period_us > 0:
                limits.append(allowed_us / period_us)
    if not limits:
        return
    cores = min(limits)
    if cores >= threads:
        yield Finding("ok", "quota", f"{cores:g} processors, enough for {threads} threads")
    else:
        yield Finding(
            "problem",
            "quota",
            f"this control group may use {cores:g} processors, while `threads: auto` takes "
            f"{threads}: the kernel stops it again and again",
            f"docker run --cpus {threads}, or `threads: [{max(1, int(cores))}]` in the matrix",
        )


def heat(sys: Path = SYS) -> Finding:
    """How far the zone that is nearest to its trip point is from it."""
    nearest: tuple[float, float, float, str] | None = None
    hottest: float | None = None
    for zone in sorted((sys / "class/thermal").glob("thermal_zone*")):
        now = (read_int(zone / "temp") or 0) / 1000
        if not SANE_CELSIUS[0] < now < SANE_CELSIUS[1]:
            continue
        hottest = max(now, hottest or now)
        trips = [
            (read_int(kind.with_name(kind.name.replace("_type", "_temp"))) or 0) / 1000
            for kind in sorted(zone.glob("trip_point_*_type"))
            if _read(kind) in _TRIPS
        ]
        for trip in trips:
            if trip > 0 and (nearest is None or trip - now < nearest[0]):
                nearest = trip - now, now, trip, zone_name(zone)
    if hottest is None:
        return Finding("note", "heat", "no thermal zone can be read here")
    if nearest is None:
        return Finding("ok", "heat", f"{hottest:.0f} °C at most; no trip point is given")
    margin, now, trip, name = nearest
    text = f"{name} is at {now:.0f} °C, it is slowed down from {trip:.0f} °C on"
    if margin >= TRIP_MARGIN_C:
        return Finding("ok", "heat", text)
    return Finding("problem", "heat", text, "Let it cool down, and see to its fan and its dust.")

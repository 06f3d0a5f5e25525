"""What this machine can measure, what not, and the command that mends it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deploymark.backends import registry
from deploymark.backends.base import PRECISIONS, Probe
from deploymark.backends.hardware import cpu
from deploymark.bench.children.memory_limit import enforcement
from deploymark.bench.doctor.activity import activity_findings, gpu_findings
from deploymark.bench.doctor.findings import Finding
from deploymark.bench.doctor.meters import meter_findings
from deploymark.bench.doctor.settings import setting_findings
from deploymark.bench.machine.fingerprint import default_threads, fingerprint
from deploymark.bench.machine.probing import Found, probe_backends
from deploymark.bench.store import CACHE_VARIABLE, cache_root

_LOW_DISK_BYTES = 2 << 30


def backend_findings(found: Sequence[tuple[str, Found]]) -> list[Finding]:
    """What each backend serves here."""
    return [_backend(name, item) for name, item in found]


def _backend(name: str, found: Found) -> Finding:
    probe = found.probe
    if not probe.installed:
        return Finding("note", name, probe.reason or "not installed", probe.remedy)
    served = {device: words for device in probe.devices if (words := _served(probe, device))}
    if served:
        devices = "; ".join(f"{device}: {', '.join(words)}" for device, words in served.items())
        text = f"{probe.version or ''} {devices}".strip()
    else:
        text = f"{probe.version or ''} measures nothing here".strip()
    missing = dict.fromkeys(
        f"{service.reason} ({device})" if served else service.reason
        for (device, _), service in probe.services.items()
        if device not in served and service.exists
    )
    text = "; ".join([text, *missing])
    remedy = next(
        (
            service.remedy
            for (device, _), service in probe.services.items()
            if not served and service.exists and service.remedy
        ),
        "",
    )
    if not probe.can_export:
        return Finding("note", name, f"{text}; cannot export: {probe.reason}", probe.remedy)
    return Finding("ok" if served else "note", name, text, remedy)


def _served(probe: Probe, device: str) -> list[str]:
    """Precisions served on a device, those that the hardware emulates marked."""
    services = {precision: probe.service(device, precision) for precision in PRECISIONS}
    return [
        precision if service.native else f"{precision} (emulated)"
        for precision, service in services.items()
        if service.served
    ]


def machine_findings(machine: dict[str, Any]) -> list[Finding]:
    """Processor, memory, isolation."""
    gib = machine["memory_bytes"] / (1 << 30)
    findings = [
        Finding(
            "ok",
            "machine",
            f"{machine['cpu']}, {machine['cores_usable']} of {machine['cores_logical']} cores "
            f"usable, {default_threads()} threads by default, {gib:.0f} GiB",
        )
    ]
    if cpu.detect().is_x86 and not cpu.detect().has_int8_dot:
        text = "this processor has no VNNI: 8-bit products run, and gain less than where it has"
        findings.append(Finding("note", "int8", text))
    if machine["gpus"]:
        findings.append(Finding("ok", "gpu", "; ".join(machine["gpus"])))
    if machine["virtualization"]:
        text = f"{machine['virtualization']}: other guests may take time from this one"
        findings.append(Finding("note", "isolation", text))
    return findings


def _cache() -> Finding:
    root = cache_root()
    there = next(folder for folder in (root, *root.parents) if folder.exists())
    free = shutil.disk_usage(there).free
    text = f"{root}, {free / (1 << 30):.0f} GiB free"
    if not os.access(there, os.W_OK) or os.statvfs(there).f_flag & os.ST_RDONLY:
        return Finding(
            "problem",
            "cache",
            f"{text}, cannot be written: what it has is used, and nothing is added",
            f"set {CACHE_VARIABLE} to a folder that can be written",
        )
    if free < _LOW_DISK_BYTES:
        return Finding(
            "problem",
            "cache",
            text,
            f"deploymark cache clear, or set {CACHE_VARIABLE} to another disk",
        )
    return Finding("ok", "cache", text)


def _memory_limit() -> Finding:
    how = enforcement()
    if how.way == "cgroup-v2":
        return Finding("ok", "limits of memory", f"control groups below {how.parent}")
    weaker = "by RLIMIT_DATA, the weaker way" if how.way else "not enforced"
    remedy = "See docs/memory.md for what a control group takes." if how.way else ""
    return Finding("note", "limits of memory", f"{weaker}: {how.reason}", remedy)


def examine() -> list[Finding]:
    """Everything, in the order of the report."""
    with tempfile.TemporaryDirectory(prefix="deploymark-") as folder:
        answers = probe_backends(registry.specs(), log=Path(folder) / "probe.log")
    return [
        *machine_findings(fingerprint()),
        *setting_findings(default_threads()),
        *activity_findings(),
        *gpu_findings(),
        _cache(),
        _memory_limit(),
        *meter_findings(),
        *backend_findings(list(answers.backends.items())),
    ]

"""The machine's fingerprint: what a figure depends on besides the artifact."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import psutil

from deploymark.backends.hardware import cpu

_CGROUP = Path("/sys/fs/cgroup")
_CPU_FOLDER = Path("/sys/devices/system/cpu")
_QUERY_TIMEOUT_S = 10.0


def _read(path: Path) -> str | None:
    with contextlib.suppress(OSError):
        return path.read_text(encoding="utf-8", errors="replace").strip() or None
    return None


def usable_cpus() -> int:
    """Logical processors this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def default_threads() -> int:
    """Threads of an inference where the matrix says ``auto``: the physical cores at hand."""
    physical = psutil.cpu_count(logical=False) or usable_cpus()
    return max(1, min(physical, usable_cpus()))


def virtualization() -> str | None:
    """``vm``, ``container``, ``vm+container``, or None on bare metal as far as can be seen."""
    kinds = []
    cpuinfo = _read(Path("/proc/cpuinfo")) or ""
    if " hypervisor" in cpuinfo:
        kinds.append("vm")
    markers = (Path("/.dockerenv"), Path("/run/.containerenv"))
    if any(marker.exists() for marker in markers) or "container" in os.environ:
        kinds.append("container")
    return "+".join(kinds) or None


def _gpus() -> list[str]:
    """NVIDIA GPUs as nvidia-smi names them: name, driver version, memory."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    query = "--query-gpu=name,driver_version,memory.total"
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        answer = subprocess.run(
            [tool, query, "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=_QUERY_TIMEOUT_S,
            check=True,
        )
        return [line.strip() for line in answer.stdout.splitlines() if line.strip()]
    return []


def fingerprint() -> dict[str, Any]:
    """Host, processor, memory, GPU, operating system and how it is set.

    Sizes in bytes, frequencies in MHz; a value that cannot be read is None.
    """
    frequency = None
    with contextlib.suppress(Exception):  # psutil raises various errors on virtual machines
        frequency = psutil.cpu_freq()
    uname = platform.uname()
    processor = cpu.detect()
    return {
        "host": socket.gethostname(),
        "cpu": processor.model,
        "cpu_flags": sorted(processor.features),
        "cores_physical": psutil.cpu_count(logical=False),
        "cores_logical": psutil.cpu_count(),
        "cores_usable": usable_cpus(),
        "frequency_max_mhz": (frequency.max or None) if frequency else None,
        "memory_bytes": psutil.virtual_memory().total,
        "gpus": _gpus(),
        "architecture": uname.machine,
        "os": f"{uname.system} {uname.release}",
        "distribution": _distribution(),
        "python": platform.python_version(),
        "governor": _read(_CPU_FOLDER / "cpu0/cpufreq/scaling_governor"),
        "turbo_off": _read(_CPU_FOLDER / "intel_pstate/no_turbo"),
        "smt": _read(_CPU_FOLDER / "smt/control"),
        "virtualization": virtualization(),
        "cgroup_cpu_max": _read(_CGROUP / "cpu.max"),
    }


def _distribution() -> str | None:
    with contextlib.suppress(OSError):
        return platform.freedesktop_os_release().get("PRETTY_NAME")
    return None


def git_commit(folder: Path) -> str | None:
    """The commit checked out in ``folder``, None where it is no git work tree."""
    tool = shutil.which("git")
    if tool is None:
        return None
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        answer = subprocess.run(
            [tool, "-C", str(folder), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=_QUERY_TIMEOUT_S,
            check=True,
        )
        return answer.stdout.strip() or None
    return None

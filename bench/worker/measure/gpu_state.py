"""The GPU before and after timing: clocks, heat, why it is throttled, who else computes on it.

NVIDIA's GPUs by ``nvidia-smi`` (its fields: ``nvidia-smi --help-query-gpu``), a Jetson's by its
devfreq node. Python 3.10 and the standard library alone: the worker's side.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from deploymark.bench.worker.measure.clocks import read_int

SYS = Path("/sys")
PROC = Path("/proc")

REASONS = {
    0x1: "gpu_idle",
    0x2: "applications_clocks_setting",
    0x4: "sw_power_cap",
    0x8: "hw_slowdown",
    0x10: "sync_boost",
    0x20: "sw_thermal_slowdown",
    0x40: "hw_thermal_slowdown",
    0x80: "hw_power_brake_slowdown",
    0x100: "display_clock_setting",
}
"""Bits of ``clocks_event_reasons.active``: nvmlClocksEventReasons of the NVML reference."""

COUNTED_REASONS = ("sw_thermal_slowdown", "hw_thermal_slowdown", "hw_power_brake_slowdown")
"""Reasons for which newer drivers count the microseconds: what happened between two readings."""

_FIELDS = ("clocks.sm", "clocks.max.sm", "temperature.gpu")
_QUERIES = (
    (
        *_FIELDS,
        "clocks_event_reasons.active",
        *(f"clocks_event_reasons_counters.{name}" for name in COUNTED_REASONS),
    ),
    (*_FIELDS, "clocks_event_reasons.active"),
    (*_FIELDS, "clocks_throttle_reasons.active"),  # its name before driver 535
)
"""Tried in turn: a driver refuses the whole query for one field that it does not know."""

_JETSON_NODES = ("*.gpu", "*.gv11b", "*.gp10b", "*.ga10b")
"""Orin and Nano, Xavier, TX2: names of the GPU's devfreq node."""

_GPU_WORDS = ("gpu", "cuda", "vulkan")

_TIMEOUT_S = 10.0

Ask = Callable[[Sequence[str]], "str | None"]


def is_gpu(device: str) -> bool:
    """Whether a launch's device is a GPU, by its name: ``cuda:0``, ``GPU.1``, ``vulkan``."""
    return any(word in device.lower() for word in _GPU_WORDS)


def nvidia_smi(arguments: Sequence[str]) -> str | None:
    """What ``nvidia-smi`` answers; None where it is not there, refuses or hangs."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        answer = subprocess.run(
            [tool, *arguments, "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=True,
        )
        return answer.stdout
    return None


def held_bytes(pid: int, ask: Ask = nvidia_smi) -> int | None:
    """Memory of NVIDIA GPUs that a process holds, as NVML counts it by process; None if untold.

    In a container the driver may know the process by another number, and tells nothing of it.
    """
    told = ask(("--query-compute-apps=pid,used_memory",))
    found = None
    for line in (told or "").splitlines():
        number, _, mib = (word.strip() for word in line.partition(","))
        if number == str(pid) and mib.isdigit():  # "[N/A]" where the driver does not tell
            found = (found or 0) + (int(mib) << 20)
    return found


def gpu_index(device: str, environment: Mapping[str, str] = os.environ) -> str:
    """The GPU that a device is, as nvidia-smi's ``-i`` takes it: ``cuda:1`` → ``1``.

    CUDA counts what ``CUDA_VISIBLE_DEVICES`` shows; nvidia-smi counts all.
    """
    digits = re.search(r"(\d+)$", device)
    index = int(digits.group(1)) if digits else 0
    shown = [
        name.strip() for name in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if name
    ]
    return shown[index] if index < len(shown) else str(index)


def _number(text: str, base: int = 10) -> int | None:
    """``1410``, or None for ``[N/A]`` and ``[Not Supported]``."""
    with contextlib.suppress(ValueError):
        return int(text.strip(), base)
    return None


def parse_state(answer: str, query: Sequence[str]) -> dict[str, Any]:
    """The first line of an answer: clocks in MHz, degrees Celsius, reasons by name."""
    lines = answer.strip().splitlines()
    words = dict(zip(query, lines[0].split(","), strict=False)) if lines else {}
    active = next((text for field, text in words.items() if field.endswith(".active")), "")
    mask = _number(active, base=16)
    counted = {
        name: _number(words.get(f"clocks_event_reasons_counters.{name}", ""))
        for name in COUNTED_REASONS
    }
    return {
        "sm_mhz": _number(words.get("clocks.sm", "")),
        "sm_max_mhz": _number(words.get("clocks.max.sm", "")),
        "temperature_c": _number(words.get("temperature.gpu", "")),
        "reasons": None if mask is None else [name for bit, name in REASONS.items() if mask & bit],
        "throttled_us": counted,
    }


def parse_processes(answer: str) -> dict[int, str]:
    """Name by process id, of ``--query-compute-apps=pid,process_name``."""
    found: dict[int, str] = {}
    for line in answer.splitlines():
        pid, _, name = line.partition(",")
        if (number := _number(pid)) is not None:
            found[number] = name.strip()
    return found


def _parent(pid: int, proc: Path) -> int | None:
    with contextlib.suppress(OSError, ValueError, IndexError):
        text = (proc / str(pid) / "stat").read_text(encoding="ascii", errors="replace")
        return int(text.rpartition(")")[2].split()[1])
    return None


def foreign_processes(processes: Mapping[int, str], proc: Path = PROC) -> list[str]:
    """Names of those that are neither this process nor another worker of its parent.

    Inside a container the driver may give the ids of the host: then this process is one of those
    that are unknown, and one of them is not counted.
    """
    foreign = {
        pid: name
        for pid, name in processes.items()
        if pid != os.getpid() and _parent(pid, proc) != os.getppid()
    }
    names = sorted(Path(name).name for name in foreign.values())
    hidden = os.getpid() not in processes and any(_parent(pid, proc) is None for pid in foreign)
    return names[1:] if hidden else names


class GpuWatch:
    """The state of one GPU when this is made and when it is read. Never ask while timing."""

    def __init__(self, device: str, *, ask: Ask = nvidia_smi, sys: Path = SYS) -> None:
        self._index, self._ask, self._sys = gpu_index(device), ask, sys
        self._queries: Sequence[Sequence[str]] = _QUERIES
        self._before = self._state()

    def read(self) -> dict[str, Any]:
        """Both states, the reasons seen in either, and what else computes on the GPU."""
        after = self._state()
        states = [state for state in (self._before, after) if state is not None]
        reasons = [state["reasons"] for state in states if state["reasons"] is not None]
        apps = ["-i", self._index, "--query-compute-apps=pid,process_name"]
        processes = parse_processes(self._ask(apps) or "") if states else {}
        return {
            "before": self._before,
            "after": after,
            "throttle_reasons": sorted(set().union(*reasons, self._counted(after)))
            if reasons
            else None,
            # We compute here ourselves: an empty list hides it, as in a container.
            "foreign_processes": foreign_processes(processes) if processes else None,
            **self._devfreq(),
        }

    def _state(self) -> dict[str, Any] | None:
        for query in self._queries:
            answer = self._ask(["-i", self._index, f"--query-gpu={','.join(query)}"])
            if answer is not None:
                self._queries = (query,)
                return parse_state(answer, query)
        return None

    def _counted(self, after: Mapping[str, Any] | None) -> set[str]:
        """Reasons whose counter moved."""
        if self._before is None or after is None:
            return set()
        before, now = self._before["throttled_us"], after["throttled_us"]
        return {
            name
            for name in COUNTED_REASONS
            if before[name] is not None and now[name] is not None and now[name] > before[name]
        }

    def _devfreq(self) -> dict[str, Any]:
        """Clock of a Jetson's GPU, in MHz."""
        folder = self._sys / "class/devfreq"
        nodes = (node for pattern in _JETSON_NODES for node in sorted(folder.glob(pattern)))
        node = next(nodes, None)
        now, top = (
            (read_int(node / "cur_freq"), read_int(node / "max_freq")) if node else (None,) * 2
        )
        return {
            "devfreq_mhz": None if now is None else now / 1e6,
            "devfreq_max_mhz": None if top is None else top / 1e6,
        }

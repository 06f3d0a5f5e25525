"""What else runs: processor time of other processes, steal, paging; and on the GPU."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

import psutil

from deploymark.bench.doctor.findings import Finding
from deploymark.bench.matrix.validity import Validity
from deploymark.bench.worker.measure import gpu_state
from deploymark.bench.worker.measure.conditions import Watch

WINDOW_S = 1.0
"""How long the doctor looks."""

_BUSIEST = 3
_WORTH_NAMING_PERCENT = 5.0


def activity_findings(validity: Validity | None = None) -> list[Finding]:
    """What other processes do during a second of rest, and the hypervisor during one of work."""
    limits = validity or Validity()
    paged_before = _paged_bytes()
    busiest = _Busiest()
    resting = Watch()
    time.sleep(WINDOW_S)
    trace = resting.read()
    names = busiest.names()
    return [
        load(trace, limits, names),
        steal(_working(), limits),
        swap(psutil.swap_memory().used, _paged_bytes() - paged_before),
    ]


def restless(validity: Validity) -> str:
    """What would disturb launches now, in a line; empty where nothing would.

    Looks for ``WINDOW_S`` seconds, in which it works on one processor.
    """
    if not validity.enabled:
        return ""
    busiest = _Busiest()
    trace = _working()
    findings = load(trace, validity, busiest.names()), steal(trace, validity)
    return "; ".join(finding.text for finding in findings if finding.state == "problem")


def _working() -> dict[str, Any]:
    """What happens in a second of work on one processor: only who wants one can be denied it."""
    watch = Watch()
    end = time.monotonic() + WINDOW_S
    while time.monotonic() < end:
        pass
    return watch.read()


class _Busiest:
    """The processes that use most of the processor between making this and asking it."""

    def __init__(self) -> None:
        self._processes = [process for process in psutil.process_iter(["name"]) if process.pid]
        for process in self._processes:
            self._percent(process)

    def names(self) -> list[str]:
        """The busiest, with their share of one processor."""
        shares = [(self._percent(process), process) for process in self._processes]
        shares.sort(key=lambda item: item[0], reverse=True)
        return [
            f"{process.info['name']} (pid {process.pid}, {share:.0f} %)"
            for share, process in shares[:_BUSIEST]
            if share >= _WORTH_NAMING_PERCENT and process.pid != psutil.Process().pid
        ]

    @staticmethod
    def _percent(process: psutil.Process) -> float:
        """Of one processor since the last call; 0 for one that is gone or not ours to see."""
        try:
            return process.cpu_percent()
        except psutil.Error:
            return 0.0


def load(trace: Mapping[str, Any], limits: Validity, busiest: Sequence[str]) -> Finding:
    """What other processes take."""
    cores = trace["foreign_load_cores"]
    if cores is None:
        return Finding("note", "load", "what other processes use cannot be read here")
    text = f"other processes use {cores:.2g} of {trace['watched_cpus']} processors"
    limit = limits.max_foreign_load_cores
    if limit is None or cores <= limit:
        return Finding("ok", "load", text)
    named = f": {', '.join(busiest)}" if busiest else ""
    return Finding(
        "problem",
        "load",
        f"{text}{named}; launches are disturbed from {limit:g} on",
        "End them, or wait until they are done.",
    )


def steal(trace: Mapping[str, Any], limits: Validity) -> Finding:
    """What a hypervisor withholds."""
    share, limit = trace["steal_share"], limits.max_steal_share
    if share is None:
        return Finding("note", "steal", "time that a hypervisor withholds cannot be read here")
    text = f"a hypervisor withholds {share * 100:.2g} % of the processor time that is wanted"
    rounding = trace["tick_error_s"] / trace["wall_s"]
    if limit is None or share - rounding <= limit:
        return Finding("ok", "steal", text if share else "no hypervisor withholds processor time")
    return Finding(
        "problem",
        "steal",
        text,
        "Take a machine with dedicated processors, or measure when its host is quieter.",
    )


def _paged_bytes() -> int:
    """Bytes moved to and from swap since the start."""
    memory = psutil.swap_memory()
    return int(memory.sin + memory.sout)


def swap(used_bytes: int, paged_bytes: int) -> Finding:
    """Whether memory is short."""
    used = f"{used_bytes / (1 << 20):.0f} MiB of swap are in use"
    if paged_bytes > 0:
        text = f"the system is paging: {paged_bytes / (1 << 20):.2g} MiB in a second, and {used}"
        return Finding("problem", "swap", text, "Free memory, then: sudo swapoff -a")
    if used_bytes > 0:
        return Finding("note", "swap", used, "before long runs: sudo swapoff -a")
    return Finding("ok", "swap", "not in use")


_GPU_FIELDS = ("name", "persistence_mode", "clocks.applications.graphics", "clocks.max.graphics")


def gpu_findings(
    ask: Callable[[Sequence[str]], str | None] = gpu_state.nvidia_smi,
) -> list[Finding]:
    """NVIDIA's GPUs: persistence, clocks, what slows them down, who computes on them."""
    # A driver refuses all for one field that it does not know.
    answers = (
        ask([f"--query-gpu={','.join(fields)}"]) for fields in (_GPU_FIELDS, _GPU_FIELDS[:2])
    )
    answer = next((found for found in answers if found), "")
    findings: list[Finding] = []
    for index, line in enumerate(answer.strip().splitlines()):
        values = [value.strip() for value in line.split(",")]
        findings += _settings(f"gpu {index}", dict(zip(_GPU_FIELDS, values, strict=False)), index)
        state = gpu_state.GpuWatch(f"cuda:{index}", ask=ask).read()
        findings += _throttled(f"gpu {index}", state["throttle_reasons"])
    processes = gpu_state.parse_processes(ask(["--query-compute-apps=pid,process_name"]) or "")
    if processes:  # all of them others': the doctor computes nothing there
        names = ", ".join(sorted(PurePath(name).name for name in processes.values()))
        text = f"other processes compute on it: {names}"
        findings.append(Finding("problem", "gpu", text, "End them: nvidia-smi lists them."))
    return findings


def _settings(what: str, values: Mapping[str, str], index: int) -> Iterator[Finding]:
    if values.get("persistence_mode") == "Disabled":
        yield Finding(
            "note",
            what,
            "persistence mode is off: the driver unloads between launches, and the clocks reset",
            f"sudo nvidia-smi -i {index} -pm 1",
        )
    asked, top = (values.get(field, "") for field in _GPU_FIELDS[2:])
    if asked.isdigit() and asked != top:
        yield Finding("ok", what, f"application clocks are set to {asked} MHz (highest {top})")
    else:
        yield Finding(
            "note",
            what,
            "its clock varies with load and temperature unless it is locked",
            f"sudo nvidia-smi -i {index} -lgc MHZ, a clock that it can keep; back with -rgc",
        )


def _throttled(what: str, reasons: Sequence[str] | None) -> Iterator[Finding]:
    if reasons is None:
        yield Finding("note", what, "why it is throttled cannot be read here")
        return
    bad = [name for name in reasons if name in Validity().gpu_throttle_reasons]
    if bad:
        text = f"it is throttled now: {', '.join(bad)}"
        yield Finding("problem", what, text, "Let it cool, and see to its power supply.")

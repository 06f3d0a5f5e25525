"""What else happened while a worker was timing: counters of the kernel, read before and after.

Nothing here polls: the counters are read when an interval begins and when it ends. A reading that
the platform does not give is None. Fields and units are those of proc(5), sched-stats (Linux
``Documentation/scheduler/sched-stats.rst``), PSI (``accounting/psi.rst``) and cgroups
(``admin-guide/cgroup-v2.rst``). Python 3.10 and the standard library alone: the worker's side.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from deploymark.bench.worker.measure import clocks, gpu_state

PROC = Path("/proc")
SYS = Path("/sys")

DEFAULT_TICKS_PER_S = 100
"""USER_HZ, the unit of ``/proc/stat``, where ``sysconf`` does not tell."""

TICK_ERROR_SIGMAS = 3.0
"""How many standard deviations of rounding a figure made of ticks is trusted to be off."""

BUSY_THREAD_SHARE = 0.1
"""A thread that ran for this share of the wall time is counted as busy."""

_BUSY = (0, 1, 2, 5, 6)
"""user (guests are in it), nice, system, irq, softirq: the columns of ``/proc/stat`` that work."""
_IDLE = (3, 4)
_STEAL = 7

Counters = dict[str, int]


def _read(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text(encoding="ascii", errors="replace")
    return ""


def ticks_per_s() -> int:
    """Ticks of ``/proc/stat`` a second."""
    try:
        return os.sysconf("SC_CLK_TCK")
    except (AttributeError, OSError, ValueError):  # Windows has no sysconf
        return DEFAULT_TICKS_PER_S


def usable_cpus(proc: Path = PROC) -> set[int]:
    """Processors that any thread of this process may run on.

    All threads, since a runtime that pins its own may pin the main thread too.
    """
    if not hasattr(os, "sched_getaffinity"):
        return set(range(os.cpu_count() or 1))
    found = set(os.sched_getaffinity(0))
    for task in _tasks(proc):
        with contextlib.suppress(OSError):
            found |= os.sched_getaffinity(int(task.name))
    return found


def cpu_list(text: str) -> set[int]:
    """``0-2,4`` as a set, the kernel's format of lists of processors."""
    cpus: set[int] = set()
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        with contextlib.suppress(ValueError):
            cpus |= set(range(int(first), int(last or first) + 1))
    return cpus


def with_siblings(cpus: Collection[int], sys: Path = SYS) -> set[int]:
    """The processors and those that share a core with them: SMT siblings slow each other down."""
    found = set(cpus)
    for cpu in cpus:
        folder = sys / f"devices/system/cpu/cpu{cpu}/topology"
        found |= cpu_list(_read(folder / "thread_siblings_list"))
    return found


def stat_counters(text: str, cpus: Collection[int]) -> Counters:
    """Ticks busy, idle and stolen of some processors, of the text of ``/proc/stat``."""
    wanted = {f"cpu{cpu}" for cpu in cpus}
    found = {"busy_ticks": 0, "idle_ticks": 0, "steal_ticks": 0}
    seen = 0
    for line in text.splitlines():
        name, *values = line.split()
        if not name.startswith("cpu"):
            break
        if name not in wanted or len(values) <= _STEAL:
            continue
        seen += 1
        ticks = [int(value) for value in values]
        found["busy_ticks"] += sum(ticks[column] for column in _BUSY)
        found["idle_ticks"] += sum(ticks[column] for column in _IDLE)
        found["steal_ticks"] += ticks[_STEAL]
    return found if seen else {}


def pressure_us(text: str) -> Counters:
    """Microseconds in which some task waited for a processor, of ``/proc/pressure/cpu``."""
    for line in text.splitlines():
        if line.startswith("some ") and "total=" in line:
            return {"cpu_pressure_us": int(line.rsplit("total=", 1)[1])}
    return {}


def throttling_files(proc: Path = PROC, sys: Path = SYS) -> list[Path]:
    """``cpu.stat`` of this process's control group and of those above it, version 1 or 2."""
    files: list[Path] = []
    for line in _read(proc / "self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        names = ("cpu", "cpu,cpuacct") if controllers else ("", "unified")
        parts = [part for part in path.split("/") if part]
        if ".." in parts:
            parts = []
        for root in (sys / "fs/cgroup" / name for name in names):
            groups = [root.joinpath(*parts[:depth]) for depth in range(len(parts), -1, -1)]
            files += [file for group in groups if (file := group / "cpu.stat").is_file()]
    return files


def throttling_counters(files: Iterable[Path]) -> Counters:
    """Periods in which a quota stopped a control group of ours, and microseconds stopped."""
    periods = stopped_us = 0
    seen = False
    for file in files:
        words = dict(line.split(maxsplit=1) for line in _read(file).splitlines() if " " in line)
        if "nr_throttled" not in words:
            continue  # the root group: nothing limits it
        seen = True
        periods += int(words["nr_throttled"])
        stopped_us += int(words.get("throttled_usec", 0))
        stopped_us += int(words.get("throttled_time", 0)) // 1000  # version 1, nanoseconds
    return {"throttled_periods": periods, "throttled_us": stopped_us} if seen else {}


def suspension_counters() -> Counters:
    """Nanoseconds that the machine was suspended, since it started: clock_gettime(2), Linux."""
    if not hasattr(time, "CLOCK_BOOTTIME"):
        return {}
    # CLOCK_BOOTTIME counts on while the machine sleeps, CLOCK_MONOTONIC does not.
    awake_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    return {"suspended_ns": time.clock_gettime_ns(time.CLOCK_BOOTTIME) - awake_ns}


def usage_counters() -> Counters:
    """Page faults and context switches of this process: getrusage(2)."""
    try:
        import resource
    except ImportError:  # Windows
        return {}
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "minor_faults": usage.ru_minflt,
        "major_faults": usage.ru_majflt,
        "voluntary_switches": usage.ru_nvcsw,
        "involuntary_switches": usage.ru_nivcsw,
    }


def _tasks(proc: Path) -> list[Path]:
    with contextlib.suppress(OSError):
        return list((proc / "self/task").iterdir())
    return []


def thread_times(proc: Path = PROC) -> dict[str, tuple[int, int]]:
    """(ns on a processor, ns waiting in a run queue) of each thread, of ``schedstat``."""
    times: dict[str, tuple[int, int]] = {}
    for task in _tasks(proc):
        words = _read(task / "schedstat").split()
        if len(words) >= 2:  # noqa: PLR2004 - the third is the number of time slices
            times[task.name] = int(words[0]), int(words[1])
    return times


def last_cpu(thread: str, proc: Path = PROC) -> int | None:
    """The processor that a thread last ran on: field 39 of proc(5)'s ``stat``."""
    # The name, in parentheses, may hold spaces: count from behind it, where field 3 stands.
    words = _read(proc / "self/task" / thread / "stat").rpartition(")")[2].split()
    return int(words[36]) if len(words) > 36 else None  # noqa: PLR2004 - field 39


@dataclasses.dataclass(frozen=True)
class Change:
    """What happened in one interval.

    How the counters changed, and each thread's (ns on a processor, ns waiting for one). ``until``
    are the threads' readings at its end.
    """

    counters: Counters
    threads: Mapping[str, tuple[int, int]]
    until: Mapping[str, tuple[int, int]]


class Watch:
    """Counters of what happens between ``start`` and ``pause``, over one or more intervals.

    It starts when it is made. ``device`` is the launch's: where it is a GPU, its driver is asked
    when the watch is made and when it is read. That takes a while in which a GPU clocks down, so
    make the watch before the warm-up and ``start`` behind it. ``proc``, ``sys`` and ``cpus`` (the
    processors that threads may use) are there for tests.
    """

    def __init__(
        self,
        *,
        device: str = "cpu",
        proc: Path = PROC,
        sys: Path = SYS,
        cpus: Collection[int] | None = None,
    ) -> None:
        self._proc, self._sys = proc, sys
        self._usable = set(cpus) if cpus is not None else usable_cpus(proc)
        self._cpus = with_siblings(self._usable, sys)
        self._quota_files = throttling_files(proc, sys)
        self._event_files = {
            "throttle_events": clocks.throttle_files(self._cpus, sys),
            "overcurrent_events": clocks.overcurrent_files(sys),
        }
        self._gpu = gpu_state.GpuWatch(device, sys=sys) if gpu_state.is_gpu(device) else None
        # The wait for a device is no processor time, and the rest of the time tells nothing.
        self._explains = device == "cpu"
        self._totals: dict[str, int] | None = None
        self._threads: dict[str, list[int]] = {}
        self._intervals = 0
        self.start()

    def start(self) -> None:
        """Begin an interval; one that is open is forgotten."""
        self._begun_threads = thread_times(self._proc)
        self._begun: Counters | None = self._counters()

    def pause(self) -> None:
        """End the open interval, and add what happened in it."""
        if self._begun is not None:
            self.add([self._change(self._counters())])
            self._begun = None

    def forget(self) -> None:
        """Leave the open interval out."""
        self._begun = None

    def lap(self) -> Change:
        """End the interval, give what happened in it, and begin the next with the same reading.

        Nothing is added: see ``add``.
        """
        counters = self._counters()
        change = self._change(counters)
        self._begun = counters
        self._begun_threads = {**self._begun_threads, **change.until}
        return change

    def add(self, changes: Sequence[Change]) -> None:
        """Add what happened in intervals that follow on one another, as one interval."""
        self._intervals += 1
        for change in changes:
            counters = change.counters
            if self._totals is not None:  # a counter that failed once is unknown
                both = counters.keys() & self._totals.keys()
                counters = {key: self._totals[key] + counters[key] for key in both}
            self._totals = counters
            for thread, (ran, waited) in change.threads.items():
                total = self._threads.setdefault(thread, [0, 0])
                total[0] += ran
                total[1] += waited

    def figures(self, change: Change) -> dict[str, Any]:
        """What happened in one interval, of the figures of ``read`` those that counters tell."""
        return self._figures(change.counters, change.threads, intervals=1)

    def read(self) -> dict[str, Any]:
        """What happened, ready for JSON; ends the open interval. Sizes are in the names."""
        self.pause()
        totals = self._totals or {}
        threads = {name: (ran, waited) for name, (ran, waited) in self._threads.items()}
        busy = _busy_threads(threads, totals["wall_ns"])
        ran_on = {last_cpu(thread, self._proc) for thread in busy} - {None}
        return {
            **self._figures(totals, threads, intervals=self._intervals),
            **clocks.frequencies(sorted(cpu for cpu in ran_on if cpu is not None), self._sys),
            **clocks.temperature(self._sys),
            "firmware_throttling": clocks.firmware_throttling(self._sys),
            "gpu": None if self._gpu is None else self._gpu.read(),
        }

    def _change(self, counters: Counters) -> Change:
        begun = self._begun or {}
        until = thread_times(self._proc)
        threads = {}
        for thread, (ran, waited) in until.items():
            ran_before, waited_before = self._begun_threads.get(thread, (0, 0))
            threads[thread] = ran - ran_before, waited - waited_before
        change = {key: counters[key] - begun[key] for key in counters if key in begun}
        return Change(change, threads, until)

    def _figures(
        self, counters: Counters, threads: Mapping[str, tuple[int, int]], *, intervals: int
    ) -> dict[str, Any]:
        busy = _busy_threads(threads, counters["wall_ns"])
        figures = summary(counters, cpus=len(self._cpus), intervals=intervals, hz=ticks_per_s())
        waited_s = sum(waited for _, waited in threads.values()) / 1e9
        return {
            **figures,
            "unexplained_s": unexplained_s(figures, waited_s) if self._explains else None,
            "usable_cpus": len(self._usable),
            "busy_threads": len(busy) if threads else None,
            "run_queue_wait_s": waited_s if threads else None,
        }

    def _counters(self) -> Counters:
        return {
            "wall_ns": time.perf_counter_ns(),
            **suspension_counters(),
            "own_cpu_ns": time.process_time_ns(),
            **usage_counters(),
            **stat_counters(_read(self._proc / "stat"), self._cpus),
            **pressure_us(_read(self._proc / "pressure/cpu")),
            **throttling_counters(self._quota_files),
            **{name: clocks.events(files) for name, files in self._event_files.items() if files},
        }


def _busy_threads(threads: Mapping[str, tuple[int, int]], wall_ns: int) -> list[str]:
    """Threads that worked, the busiest at least."""
    by_time = sorted(threads, key=lambda thread: threads[thread][0], reverse=True)
    threshold = BUSY_THREAD_SHARE * wall_ns
    return by_time[:1] + [thread for thread in by_time[1:] if threads[thread][0] > threshold]


def unexplained_s(figures: Mapping[str, Any], waited_s: float) -> float:
    """Seconds of wall time in which a process that computes did neither that nor wait for it.

    Stopped (SIGSTOP, a debugger), in a machine that was paused. What it computed, the time that its
    threads stood in run queues, what a quota withheld and what a hypervisor gave to others explain
    the rest; a thread beside another explains too much, never too little.
    """
    known_s = figures["own_cpu_s"] + waited_s
    known_s += (figures["throttled_s"] or 0.0) + (figures["steal_s"] or 0.0)
    return float(max(0.0, figures["wall_s"] - known_s))


def summary(totals: Mapping[str, int], *, cpus: int, intervals: int, hz: int) -> dict[str, Any]:
    """Figures of the counters' changes, those that are not there None.

    ``foreign_load_cores`` is the time that ``cpus`` processors worked for others (``busy_s`` less
    our own), over the wall time. ``steal_share`` is the time that a hypervisor gave to others,
    over the time that was wanted. Both are made of ticks: ``tick_error_s`` is how many seconds of
    processor time rounding may put them off, ``TICK_ERROR_SIGMAS`` standard deviations of the sum
    of two rounded readings (variance 1/12 each) of every processor in every interval.
    """
    wall_s, own_s = totals["wall_ns"] / 1e9, totals["own_cpu_ns"] / 1e9
    figures: dict[str, Any] = {
        "wall_s": wall_s,
        "intervals": intervals,
        "own_cpu_s": own_s,
        "watched_cpus": cpus,
        "busy_s": None,
        "steal_s": None,
        "foreign_load_cores": None,
        "steal_share": None,
        "tick_error_s": TICK_ERROR_SIGMAS * math.sqrt(cpus * intervals / 6) / hz,
        "throttled_s": totals["throttled_us"] / 1e6 if "throttled_us" in totals else None,
        "suspended_s": totals["suspended_ns"] / 1e9 if "suspended_ns" in totals else None,
    }
    for key in (
        "minor_faults",
        "major_faults",
        "voluntary_switches",
        "involuntary_switches",
        "cpu_pressure_us",
        "throttled_periods",
        "throttle_events",
        "overcurrent_events",
    ):
        figures[key] = totals.get(key)
    busy, steal = totals.get("busy_ticks", 0), totals.get("steal_ticks", 0)
    # Sandboxes that make a /proc of their own (gVisor) leave these counters standing.
    if busy + steal + totals.get("idle_ticks", 0) > 0 and wall_s > 0:
        figures["busy_s"], figures["steal_s"] = busy / hz, steal / hz
        figures["foreign_load_cores"] = max(0.0, busy / hz - own_s) / wall_s
        figures["steal_share"] = steal / (busy + steal) if busy + steal else 0.0
    return figures

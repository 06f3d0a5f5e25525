"""Timing in short bursts, with the counters read between them: what was quiet, and what was not.

On a machine that others use, quiet and disturbed moments alternate. A burst whose counters say that
something else happened is marked; timing goes on until the quiet bursts hold the time that was
asked for, or patience is over. The rule looks at counters and never at the times: setting aside
what was slow would make every figure better than it is.

Python 3.10 and the standard library alone: the worker's side.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from deploymark.bench.worker.measure import latency
from deploymark.bench.worker.measure.conditions import Change, Watch

BURST_S = 0.075
"""Length of a burst: long against a tick of the kernel's counters (10 ms), short against the
moments in which other processes come and go. One inference at least, whatever it takes."""

HALTED_S = 0.25
"""Seconds of a burst that nothing explains, from which it was halted: more than a burst lasts, so
that a runtime that sleeps between its kernels is not meant, and less than anybody stops a process.
"""

PATIENCE = 4.0
"""Times the seconds asked for that a launch may take in search of quiet bursts."""

SUFFICIENT = 0.5
"""Share of the seconds asked for that quiet bursts must hold for figures to come from them."""

Limits = Mapping[str, "float | None"]
"""``max_foreign_load_cores``, ``max_steal_share``, ``max_run_queue_wait_share`` and
``max_quota_share``, None where there is no limit."""


@dataclasses.dataclass(frozen=True)
class Burst:
    """Inferences in a row, and what happened meanwhile."""

    times_ns: list[int]
    seconds: float
    quiet: bool
    change: Change


@dataclasses.dataclass(frozen=True)
class Timed:
    """All bursts of a launch. ``quiet`` tells whether figures come from the quiet ones alone."""

    bursts: list[Burst]
    quiet: bool

    @property
    def counted_ns(self) -> list[int]:
        """Nanoseconds of the inferences that make the figures."""
        return [time_ns for burst in self.counted for time_ns in burst.times_ns]

    @property
    def counted(self) -> list[Burst]:
        """The bursts that make the figures."""
        return [burst for burst in self.bursts if burst.quiet or not self.quiet]

    def told(self) -> dict[str, Any]:
        """What is recorded of the bursts, ready for JSON: counts, and the inferences set aside."""
        return {
            "bursts": len(self.bursts),
            "quiet_bursts": sum(burst.quiet for burst in self.bursts),
            "set_aside_ns": [
                time_ns
                for burst in self.bursts
                if self.quiet and not burst.quiet
                for time_ns in burst.times_ns
            ],
        }

    def add_to(self, watch: Watch) -> None:
        """Add what happened in the bursts that count alone; those in a row are one interval."""
        watch.forget()
        row: list[Change] = []
        for burst in self.bursts:
            if burst.quiet or not self.quiet:
                row.append(burst.change)
            elif row:
                watch.add(row)
                row = []
        if row:
            watch.add(row)


def foreign_load(figures: Mapping[str, Any], limits: Limits) -> bool:
    """Whether others used more of the processors than they may; rounding is given its due."""
    load, limit = figures.get("foreign_load_cores"), limits.get("max_foreign_load_cores")
    if load is None or limit is None:
        return False
    return bool(load - figures["tick_error_s"] / figures["wall_s"] > limit)


def stolen(figures: Mapping[str, Any], limits: Limits) -> bool:
    """Whether a hypervisor withheld more than it may of the time that was wanted."""
    steal, limit = figures.get("steal_s"), limits.get("max_steal_share")
    if steal is None or limit is None:
        return False
    return bool(steal - figures["tick_error_s"] > limit * (figures["busy_s"] + steal))


def waited(figures: Mapping[str, Any], limits: Limits) -> bool:
    """Whether threads stood in a queue for too much of the time that they were ready.

    Threads beyond the number of processors wait for each other, which says nothing.
    """
    wait, limit = figures.get("run_queue_wait_s"), limits.get("max_run_queue_wait_share")
    busy = figures.get("busy_threads")
    if wait is None or limit is None or busy is None or busy > figures["usable_cpus"]:
        return False
    return bool(wait > limit * (wait + figures["own_cpu_s"]))


def stopped(figures: Mapping[str, Any], limits: Limits) -> bool:
    """Whether a quota of the control group stopped it for too much of the time."""
    quota, limit = figures.get("throttled_s"), limits.get("max_quota_share")
    if quota is None or limit is None:
        return False
    return bool(quota > limit * figures["wall_s"])


def halted(figures: Mapping[str, Any], beyond_s: float = 0.0) -> bool:
    """Whether the process or the machine stood still: no limit makes such times figures.

    For longer than ``beyond_s`` seconds, and than ``HALTED_S`` in any case.
    """
    return any(
        (figures.get(name) or 0.0) > max(HALTED_S, beyond_s)
        for name in ("unexplained_s", "suspended_s")
    )


def is_quiet(figures: Mapping[str, Any], limits: Limits) -> bool:
    """Whether nothing disturbed a burst, of its ``Watch.figures``."""
    rules = (foreign_load, stolen, waited, stopped)
    return not halted(figures) and not any(rule(figures, limits) for rule in rules)


def timed(
    work: Callable[[Any], object],
    items: Sequence[Any],
    watch: Watch,
    limits: Limits,
    *,
    seconds: float,
    min_iterations: int,
    max_iterations: int,
    max_s: float = math.inf,
    clock: latency.Clock = time.perf_counter_ns,
) -> Timed:
    """Time ``work`` on the items in turn, burst by burst.

    Goes on until quiet bursts hold ``min_iterations``, and ``seconds`` or ``max_iterations``.
    Without that it ends after ``PATIENCE`` times as much, or after as much where no burst was
    quiet; and after ``max_s`` seconds, where few inferences have to do. Garbage collection is off
    meanwhile, as in timeit.
    """
    asked = _Asked(seconds, min_iterations, max_iterations, max_s)
    bursts: list[Burst] = []
    done = 0
    with latency.no_collection():
        watch.start()
        began = clock()
        while not asked.is_enough(bursts, (clock() - began) / 1e9):
            times = _burst(work, items, done, asked.left(bursts), clock)
            change = watch.lap()
            done += len(times)
            bursts.append(
                Burst(times, sum(times) / 1e9, is_quiet(watch.figures(change), limits), change)
            )
    return Timed(bursts, asked.suffice(bursts))


def _burst(
    work: Callable[[Any], object], items: Sequence[Any], done: int, most: int, clock: latency.Clock
) -> list[int]:
    """Nanoseconds of each inference of one burst, ``most`` at most; ``done`` were made before."""
    times: list[int] = []
    began = clock()
    while True:
        item = items[(done + len(times)) % len(items)]
        before = clock()
        work(item)
        after = clock()
        times.append(after - before)
        if after - began >= BURST_S * 1e9 or len(times) >= most:
            return times


def _held(bursts: Sequence[Burst], *, quiet: bool) -> tuple[float, int]:
    """Seconds and inferences in all bursts, or in the quiet ones."""
    chosen = [burst for burst in bursts if burst.quiet or not quiet]
    return sum(burst.seconds for burst in chosen), sum(len(burst.times_ns) for burst in chosen)


@dataclasses.dataclass(frozen=True)
class _Asked:
    """How much is to be timed, and when it is given up."""

    seconds: float
    min_iterations: int
    max_iterations: int
    max_s: float

    def left(self, bursts: Sequence[Burst]) -> int:
        """Inferences that the next burst may have."""
        _, quiet = _held(bursts, quiet=True)
        _, made = _held(bursts, quiet=False)
        return max(1, self.max_iterations - (quiet or made))

    def suffice(self, bursts: Sequence[Burst]) -> bool:
        """Whether the quiet bursts hold enough for figures to come from them."""
        seconds, iterations = _held(bursts, quiet=True)
        return iterations >= self.min_iterations and (
            seconds >= SUFFICIENT * self.seconds or iterations >= SUFFICIENT * self.max_iterations
        )

    def is_enough(self, bursts: Sequence[Burst], elapsed_s: float) -> bool:
        """Whether there is enough, or no more to be hoped for."""
        seconds, iterations = _held(bursts, quiet=True)
        if self._reached(seconds, iterations):
            return True
        _, made = _held(bursts, quiet=False)
        if elapsed_s >= self.max_s:
            return made >= latency.LEAST_ITERATIONS
        if not self._reached(elapsed_s, made):
            return False
        # Where nothing was quiet so far, waiting for it is as hopeless as repeating the launch.
        patient = elapsed_s < PATIENCE * self.seconds and made < PATIENCE * self.max_iterations
        return iterations == 0 or not patient

    def _reached(self, seconds: float, iterations: int) -> bool:
        return iterations >= self.min_iterations and (
            seconds >= self.seconds or iterations >= self.max_iterations
        )

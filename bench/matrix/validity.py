"""Whether a launch was disturbed while it was timed, by what, and what mends it.

The counters come from ``bench.worker.measure.conditions``. A disturbed launch is repeated. Where it
stays disturbed it counts and its cell is marked, or the cell is ``invalid``, as ``on_disturbed``
says.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from deploymark.bench.worker.measure import bursts

GpuReason = Literal[
    "sw_power_cap",
    "hw_slowdown",
    "sync_boost",
    "sw_thermal_slowdown",
    "hw_thermal_slowdown",
    "hw_power_brake_slowdown",
]

OnDisturbed = Literal["mark", "fail"]

_PROCESSORS = (
    "End what else runs (deploymark doctor names the busiest), or give the run processors of its "
    "own (taskset, isolcpus); a load that is part of what you measure: see docs/validity.md."
)
_COOLING = "Let the machine cool, see to its cooling and power supply, or limit its clock for good."


class Validity(BaseModel):
    """What disturbs a launch; ``null`` switches a limit off, ``enabled: false`` all of them.

    Every limit is far above what a machine does by itself and below what one busy process does, so
    that a quiet two-core virtual machine passes and a process that loads one core does not:

    - Foreign load: the rest of a quiet system takes hundredths of a core, one busy process takes 1
      (0.5 if it works half of the time). 0.25 lies between them by factors.
    - Steal: what a hypervisor gives to others adds to the mean latency about as much as its share.
      2 % is the change that a gate should still see.
    - Run-queue wait: each wake-up costs microseconds of it, up to 2 % of the time on a quiet
      machine; two processes that share a core wait for half of theirs. Judged only where there are
      no more busy threads than processors: threads beyond that wait for each other.
    - Major faults: after the warm-up every page that an inference touches is in memory.
    - Quota: 1 % of the time stopped by a control group shows in the 99th percentile.
    - Clock: thermal and power limits of a processor take it to below its base clock, while its
      turbo clocks, which vary by nature, stay above.
    - Temperature and involuntary switches have no limit by default: chips are made to run hot,
      what matters is throttling; and switches are many where threads spin, with nobody else there.
    - GPU: what NVML calls slowdown, by heat or power brake. A cap of power is how many GPUs run
      all of the time, so it is none unless asked for.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = Field(
        default=True,
        description="false: nothing disturbs a launch; what was read is recorded all the same.",
    )
    on_disturbed: OnDisturbed = Field(
        "mark",
        description="What becomes of a cell whose launches stay disturbed in spite of repeats. "
        "mark: they count, and the cell is marked and says by what. fail: the cell is invalid and "
        "fails the run (--strict).",
    )
    repeats: int = Field(
        2, ge=0, le=20, description="How often a disturbed launch is repeated, at most."
    )
    max_foreign_load_cores: float | None = Field(
        0.25,
        ge=0,
        description="Processors that other processes may keep busy, of those usable here.",
    )
    max_steal_share: float | None = Field(
        0.02,
        ge=0,
        le=1,
        description="Of the processor time wanted, what a hypervisor may withhold.",
    )
    max_run_queue_wait_share: float | None = Field(
        0.1, ge=0, le=1, description="Waiting for a processor, of the time that threads were ready."
    )
    max_major_faults: int | None = Field(10, ge=0, description="Pages read from disk while timing.")
    max_involuntary_switches_per_s: float | None = Field(
        None, ge=0, description="Context switches that the worker did not ask for; off by default."
    )
    max_quota_share: float | None = Field(
        0.01, ge=0, description="Time stopped by a quota of the control group, of the wall time."
    )
    min_frequency_share: float | None = Field(
        0.7,
        ge=0,
        le=1,
        description="Clock of the processors used, of their base clock; of their highest clock "
        "where no base is known.",
    )
    max_temperature_c: float | None = Field(
        None, description="Hottest thermal zone, degrees Celsius; off by default."
    )
    throttling: bool = Field(
        default=True, description="Whether throttling of the processor by heat or power disturbs."
    )
    gpu_throttle_reasons: tuple[GpuReason, ...] = Field(
        ("hw_slowdown", "sw_thermal_slowdown", "hw_thermal_slowdown", "hw_power_brake_slowdown"),
        description="NVIDIA's reasons for lower clocks that disturb.",
    )
    max_gpu_processes: int | None = Field(
        0, ge=0, description="Other processes that may compute on the GPU."
    )

    def burst_limits(self) -> dict[str, float | None]:
        """The limits that bursts are judged by, too (``bench.worker.measure.bursts``)."""
        names = (
            "max_foreign_load_cores",
            "max_steal_share",
            "max_run_queue_wait_share",
            "max_quota_share",
        )
        return {name: getattr(self, name) if self.enabled else None for name in names}


@dataclasses.dataclass(frozen=True)
class Disturbance:
    """One thing that disturbed a launch, and what mends it.

    ``words`` is the sentence, limit included, with a ``{}`` for each of ``figures``: the words of
    two launches are the same where the same thing disturbed them.
    """

    words: str
    remedy: str
    figures: tuple[float, ...] = ()


def disturbances(trace: Mapping[str, Any], validity: Validity) -> list[str]:
    """What disturbed a launch, a sentence each, of its ``conditions``; none for a valid one.

    What could not be read does not disturb.
    """
    return _sentences(_find(trace, validity))


def told_together(traces: Iterable[Mapping[str, Any]], validity: Validity) -> str:
    """What disturbed several launches: each cause once with the range of its figures.

    What disturbed most of them comes first. Empty where nothing did.
    """
    return "; ".join(_sentences(found for trace in traces for found in _find(trace, validity)))


def remedy(traces: Iterable[Mapping[str, Any]], validity: Validity) -> str:
    """What mends the disturbances of launches; empty where there are none."""
    found = (found.remedy for trace in traces for found in _find(trace, validity))
    return " ".join(dict.fromkeys(found))


def _sentences(found: Iterable[Disturbance]) -> list[str]:
    """A sentence for each cause, the commonest first."""
    figures: dict[str, list[tuple[float, ...]]] = {}
    for item in found:
        figures.setdefault(item.words, []).append(item.figures)
    commonest = sorted(figures.items(), key=lambda item: len(item[1]), reverse=True)
    return [
        words.format(*(_range(column) for column in zip(*values, strict=True)))
        for words, values in commonest
    ]


def _range(values: Sequence[float]) -> str:
    """``0.48 to 0.55``; one figure where both ends read the same."""
    return " to ".join(dict.fromkeys((_figure(min(values)), _figure(max(values)))))


def _figure(value: float) -> str:
    """Two significant digits, and those before the point."""
    return f"{value:.0f}" if abs(value) >= 10 else f"{value:.2g}"  # noqa: PLR2004 - two digits


def _find(trace: Mapping[str, Any], validity: Validity) -> Iterator[Disturbance]:
    if not validity.enabled:
        return
    yield from _others(trace, validity)
    yield from _halted(trace)
    yield from _waiting(trace, validity)
    yield from _clock(trace, validity)
    if trace.get("gpu") is not None:
        yield from _gpu(trace["gpu"], validity)


def _others(trace: Mapping[str, Any], validity: Validity) -> Iterator[Disturbance]:
    """Processor time that others had. Rounding to ticks is given its due."""
    limits = validity.burst_limits()
    if bursts.foreign_load(trace, limits):
        yield Disturbance(
            "foreign processes used {} cores while timing "
            f"(limit {validity.max_foreign_load_cores:g})",
            _PROCESSORS,
            (trace["foreign_load_cores"],),
        )
    if bursts.stolen(trace, limits):
        yield Disturbance(
            "the hypervisor withheld {} % of the processor time while timing "
            f"(limit {_limit(validity.max_steal_share)})",
            "Measure on a machine with dedicated processors, or when its host is quieter.",
            (100 * trace["steal_s"] / (trace["busy_s"] + trace["steal_s"]),),
        )


_HALTED_SHARE = 0.1
"""Of the time of a launch: moments that nothing explains add up over its bursts."""


def _halted(trace: Mapping[str, Any]) -> Iterator[Disturbance]:
    """Time in which the worker, or the machine, was stopped."""
    if not bursts.halted(trace, _HALTED_SHARE * trace.get("wall_s", 0.0)):
        return
    stood_s = max(trace.get("unexplained_s") or 0.0, trace.get("suspended_s") or 0.0)
    yield Disturbance(
        "the worker stood still for {} s while timing, neither computing nor waiting for a "
        "processor",
        "Do not stop it, nor suspend the machine, while it measures.",
        (stood_s,),
    )


def _waiting(trace: Mapping[str, Any], validity: Validity) -> Iterator[Disturbance]:
    """Time in which the worker stood still."""
    limits = validity.burst_limits()
    if bursts.waited(trace, limits):
        waited = trace["run_queue_wait_s"]
        yield Disturbance(
            "threads waited for a processor for {} % of the time that they were ready "
            f"(limit {_limit(validity.max_run_queue_wait_share)})",
            _PROCESSORS,
            (100 * waited / (waited + trace["own_cpu_s"]),),
        )
    faults, limit = trace.get("major_faults"), validity.max_major_faults
    if faults is not None and limit is not None and faults > limit:
        yield Disturbance(
            f"{{}} pages were read from disk while timing (limit {limit})",
            "Free memory and turn swap off: sudo swapoff -a",
            (faults,),
        )
    switches, most = trace.get("involuntary_switches"), validity.max_involuntary_switches_per_s
    if switches is not None and most is not None and switches > most * trace["wall_s"]:
        yield Disturbance(
            f"{{}} involuntary context switches a second while timing (limit {most:g})",
            "End what else runs, or measure with fewer threads.",
            (switches / trace["wall_s"],),
        )
    if bursts.stopped(trace, limits):
        yield Disturbance(
            "a processor quota of the control group stopped it for {} % of the time "
            f"(limit {_limit(validity.max_quota_share)})",
            "Raise the container's quota (docker run --cpus), or measure with fewer threads than "
            "it has processors.",
            (100 * trace["throttled_s"] / trace["wall_s"],),
        )


def _clock(trace: Mapping[str, Any], validity: Validity) -> Iterator[Disturbance]:
    share, limit = trace.get("frequency_share"), validity.min_frequency_share
    if share is not None and limit is not None and share < limit:
        yield Disturbance(
            "the processor's clock was at {} MHz, {} % of "
            f"its {trace['cpu_mhz_reference_kind']} clock (limit {_percent(limit)})",
            "sudo cpupower frequency-set -g performance; let it cool, and see to its power supply.",
            (trace["cpu_mhz_min"], 100 * share),
        )
    celsius, limit = trace.get("temperature_c"), validity.max_temperature_c
    if celsius is not None and limit is not None and celsius > limit:
        yield Disturbance(
            f"the thermal zone {_literal(trace['temperature_zone'])} was at {{}} °C "
            f"(limit {limit:g} °C)",
            _COOLING,
            (celsius,),
        )
    if not validity.throttling:
        return
    if events := trace.get("throttle_events"):
        words = "the processor was throttled while timing ({} events)"
        yield Disturbance(words, _COOLING, (events,))
    if flags := trace.get("firmware_throttling"):
        names = _literal(", ".join(flags))
        yield Disturbance(f"the firmware held the clock down: {names}", _COOLING)


def _gpu(gpu: Mapping[str, Any], validity: Validity) -> Iterator[Disturbance]:
    reasons = [
        name for name in gpu["throttle_reasons"] or () if name in validity.gpu_throttle_reasons
    ]
    if reasons:
        yield Disturbance(
            f"the GPU was throttled: {', '.join(reasons)}",
            "Let the GPU cool, and fix a clock that it can keep: sudo nvidia-smi -lgc MHZ",
        )
    others, limit = gpu["foreign_processes"], validity.max_gpu_processes
    if others is not None and limit is not None and len(others) > limit:
        yield Disturbance(
            f"{{}} other processes computed on the GPU: {_literal(', '.join(others))} "
            f"(limit {limit})",
            "End them: nvidia-smi lists them.",
            (len(others),),
        )


def _percent(share: float) -> str:
    return f"{_figure(share * 100)} %"


def _limit(share: float | None) -> str:
    """A limit in words; there is one where it was passed."""
    return "" if share is None else _percent(share)


def _literal(names: str) -> str:
    """Names from outside, which may hold braces, as part of the words of a disturbance."""
    return names.replace("{", "{{").replace("}", "}}")

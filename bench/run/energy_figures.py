"""The figures of one energy launch: measured by meters, modelled, or null with the reason."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from deploymark.bench.matrix.energy_settings import PowerModel
from deploymark.bench.matrix.validity import Validity
from deploymark.bench.meters import faults
from deploymark.bench.meters.analysis import (
    Phases,
    Reading,
    Window,
    disagreements,
    gap,
    read_pass,
    record,
)
from deploymark.bench.meters.base import KINDS, Facts
from deploymark.bench.meters.external import EXTERNAL
from deploymark.bench.meters.faults import Fault
from deploymark.bench.meters.trace import Trace
from deploymark.bench.records.energy import MODELLED
from deploymark.bench.worker.measure import bursts
from deploymark.bench.worker.measure.gpu_state import is_gpu

_NONE: dict[str, Any] = {
    "source": None,
    "kind": None,
    "scope": None,
    "period_ms": None,
    "idle_w": None,
    "joules_per_image": None,
    "net_interval": None,
    "gross_joules_per_image": None,
    "gross_interval": None,
    "no_net": "",
    "no_gross": "",
    "windows": [],
    "meters": [],
    "notes": [],
}


def refused(reason: str) -> dict[str, Any]:
    """No figure at all."""
    return {**_NONE, "no_net": reason, "no_gross": reason}


def suiting(facts: Sequence[Facts], device: str) -> list[list[Facts]]:
    """The meters that see what a cell on ``device`` uses, the best first.

    Each entry is one meter, or several that add up. What the matrix names comes before all. On a
    GPU its own sensor is next, a counter before a power; the package of a processor says nothing of
    a GPU. Elsewhere it is the package, before what sees more: the board, the wall.
    """
    groups: dict[str, list[Facts]] = {}
    for item in facts:
        groups.setdefault(item.sums_as or item.name, []).append(item)
    digits = re.search(r"(\d+)$", device)
    number = digits.group(1) if digits else "0"
    order = ("GPU" if is_gpu(device) else "package", "board", "wall")

    def rank(group: list[Facts]) -> tuple[bool, int, int]:
        first = group[0]
        scope = order.index(first.scope) if first.scope in order else len(order)
        return first.name != EXTERNAL, scope, KINDS.index(first.kind)

    suited = [
        group
        for group in groups.values()
        if group[0].name == EXTERNAL
        or (group[0].scope in order and group[0].device in {"", number})
    ]
    return sorted(suited, key=rank)


def measured(
    traces: Sequence[Trace],
    names: Sequence[str],
    phases: Phases,
    conditions: Mapping[str, Any],
    validity: Validity,
) -> dict[str, Any]:
    """The figures of the meters ``names``, and what every other one read beside them."""
    groups: dict[str, list[Trace]] = {}
    for trace in traces:
        groups.setdefault(trace.facts.sums_as or trace.facts.name, []).append(trace)
    readings = [read_pass(group, phases) for group in groups.values()]
    own = next(
        reading
        for group, reading in zip(groups.values(), readings, strict=True)
        if {trace.facts.name for trace in group} & set(names)
    )
    twins = [
        reading
        for reading in readings
        if reading is not own and own.facts.sensor and reading.facts.sensor == own.facts.sensor
    ]
    found = [
        *own.faults,
        *(fault for twin in twins for fault in disagreements(own, twin)),
        *_foreign(own.facts, conditions, validity),
    ]
    whole = [fault.text for fault in found if not fault.net_only]
    figures = own.figures
    told = {
        **_NONE,
        "source": own.facts.source,
        "kind": own.facts.kind,
        "scope": own.facts.scope,
        "period_ms": None if own.period_s is None else own.period_s * 1e3,
        "no_gross": "; ".join(whole),
        "no_net": "; ".join(fault.text for fault in found),
        "windows": _windows(own, phases),
        "meters": [record(reading) for reading in readings],
        "notes": [_gap_note(own, twin) for twin in twins if own.figures and twin.figures],
    }
    if figures is None or whole:
        return told
    told |= {
        "idle_w": figures.idle_w,
        "gross_joules_per_image": figures.gross_j,
        "gross_interval": figures.gross_interval,
    }
    if not found:
        told |= {"joules_per_image": figures.net_j, "net_interval": figures.net_interval}
    return told


def _windows(reading: Reading, phases: Phases) -> list[dict[str, Any]]:
    joules = reading.energies.window_j if reading.energies else (None,) * len(phases.windows)
    return [
        {"seconds": window.seconds, "images": window.images, "joules": energy}
        for window, energy in zip(phases.windows, joules, strict=True)
    ]


def _gap_note(own: Reading, twin: Reading) -> str:
    """How far two paths to one sensor are apart."""
    assert own.figures is not None  # noqa: S101 - for the type checker: asked by the caller
    assert twin.figures is not None  # noqa: S101
    gross = gap(own.figures.gross_j, twin.figures.gross_j)
    idle = gap(own.figures.idle_w, twin.figures.idle_w)
    return (
        f"{own.facts.source} and {twin.facts.source} differ by {gross:.1%} under load and "
        f"{idle:.1%} idle"
    )


def _foreign(facts: Facts, conditions: Mapping[str, Any], validity: Validity) -> Iterator[Fault]:
    """Whether others used what the sensor sees."""
    if not validity.enabled:
        return
    if facts.scope == "GPU":
        others = (conditions.get("gpu") or {}).get("foreign_processes")
        limit = validity.max_gpu_processes
        if others is not None and limit is not None and len(others) > limit:
            words = f"{len(others)} other processes computed on the GPU (limit {limit})"
            yield faults.foreign_load(facts.source, words)
    elif bursts.foreign_load(conditions, validity.burst_limits()):
        words = (
            f"foreign processes used {conditions['foreign_load_cores']:.2g} cores meanwhile (limit "
            f"{validity.max_foreign_load_cores:g})"
        )
        yield faults.foreign_load(facts.source, words)


def modelled(model: PowerModel, window: Window, cpu_s: float, cpus: int) -> dict[str, Any]:
    """What the matrix's model says: power that rises evenly with the processors that are busy.

    ``cpu_s`` is the worker's processor time in the window, of ``cpus`` processors.
    """
    net_j = (model.busy_w - model.idle_w) * cpu_s / cpus / window.images
    return {
        **_NONE,
        "source": f"modelled from processor time ({model.idle_w:g} to {model.busy_w:g} W)",
        "kind": MODELLED,
        "scope": "board",
        "idle_w": model.idle_w,
        "joules_per_image": net_j,
        "gross_joules_per_image": net_j + model.idle_w * window.seconds / window.images,
        "windows": [{"seconds": window.seconds, "images": window.images, "joules": None}],
    }

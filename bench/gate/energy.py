"""Energy of the two sides of a gate: energy launches of each in turn, where a meter sees them.

Not in the timed pairs: no meter is read while a latency is taken. A launch of either side makes a
pair, one right after the other, in random order. A modelled energy is not asked for: it gates
nothing.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Sequence
from pathlib import Path

from deploymark.bench.gate.pairing import SIDES, Measurable
from deploymark.bench.matrix.energy_settings import EnergyOption, asked
from deploymark.bench.matrix.gate_settings import GateSettings
from deploymark.bench.matrix.validity import Validity
from deploymark.bench.meters.base import MeterDiedError
from deploymark.bench.meters.recording import recorded
from deploymark.bench.run.energy import why_no_meter
from deploymark.bench.run.energy_figures import suiting
from deploymark.bench.run.energy_launch import EnergyTask, energy_launch

LEAST_PAIRS = 2
"""Pairs of energy launches, at least: the fewest that have an interval."""


@dataclasses.dataclass(frozen=True)
class PairedEnergy:
    """Joules an image of the baseline and of the candidate, a pair each; or why there are none."""

    joules: tuple[list[float], list[float]]
    reason: str = ""


def wants_energy(settings: GateSettings, option: EnergyOption) -> bool:
    """Whether a gate measures energy: where its section names the figure, as it takes minutes."""
    named = settings.energy_j_per_image is not None or (
        "figures" in settings.model_fields_set and "energy_j_per_image" in settings.figures
    )
    return named and asked(option) is not None


def measure_energy(
    sides: Sequence[Measurable],
    option: EnergyOption,
    validity: Validity,
    seed: int,
    log: Path,
    say: Callable[[str], None],
) -> PairedEnergy:
    """Energy launches of both sides in turn, ``energy.launches`` pairs of them.

    None follows one that has no figure. Raises BadInputError if an interpreter is none.
    """
    settings = asked(option)
    assert settings is not None  # noqa: S101 - for the type checker: ``wants_energy`` asked
    external = None if settings.meter is None else settings.meter.model_dump()
    try:
        with recorded(external, log.with_suffix(".meters.log")) as recording:
            facts, missing = recording.facts, recording.missing
    except MeterDiedError as error:
        return PairedEnergy(([], []), error.message)
    meters = suiting(facts, sides[1].cell.device)
    if not meters:
        return PairedEnergy(([], []), why_no_meter(missing))
    names = [item.name for item in meters[0]]
    order = random.Random(f"{seed}/energy/{sides[1].cell.id}")  # noqa: S311 - no secret
    joules: tuple[list[float], list[float]] = ([], [])
    count = max(LEAST_PAIRS, settings.launches)
    for launch in range(count):
        for index in order.sample((0, 1), 2):
            side = sides[index]
            say(f"{side.cell.id}: energy of the {SIDES[index]} {launch + 1}/{count}")
            record = energy_launch(
                EnergyTask(
                    side.cell,
                    launch,
                    side.threads,
                    side.artifact,
                    side.images,
                    settings,
                    validity,
                    names,
                ),
                log.with_name(f"{log.stem}-{SIDES[index]}.log"),
            )
            value = record.get("joules_per_image")
            if value is None:
                why = record.get("no_net") or record["reason"]
                return PairedEnergy(([], []), f"the {SIDES[index]}: {why}")
            joules[index].append(float(value))
    return PairedEnergy(joules)

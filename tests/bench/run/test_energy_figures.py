"""Which meter makes a cell's figure, and what becomes of its readings."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from deploymark.bench.matrix.energy_settings import PowerModel
from deploymark.bench.matrix.validity import Validity
from deploymark.bench.meters.analysis import Phases, Window
from deploymark.bench.meters.base import Facts
from deploymark.bench.run.energy_figures import measured, modelled, suiting
from tests.sensors import COUNTER, LINES, Sensor, loaded, phases_of

PHASES: Phases = phases_of(0.1)
QUIET: dict[str, Any] = {"foreign_load_cores": 0.01, "tick_error_s": 0.1, "wall_s": 40.0}

PACKAGES = [
    dataclasses.replace(COUNTER, name=f"rapl:package-{n}", sums_as="rapl:packages") for n in (0, 1)
]
PSYS = dataclasses.replace(COUNTER, name="rapl:psys", scope="board")
GPUS = [
    Facts(f"gpu:{n}:{what}", "NVIDIA", kind, "GPU", unit, sensor=f"gpu:{n}", device=str(n))
    for n in (0, 1)
    for what, kind, unit in (("power", "integrated power", "w"), ("energy", "counter", "j"))
]
EXTERNAL = dataclasses.replace(LINES, name="external")
EVERY = [*PACKAGES, PSYS, *GPUS, EXTERNAL]


def names(facts: list[Facts], device: str) -> list[list[str]]:
    return [[item.name for item in group] for group in suiting(facts, device)]


def test_a_processor_is_seen_by_its_packages() -> None:
    assert names(EVERY, "cpu") == [
        ["external"],
        ["rapl:package-0", "rapl:package-1"],
        ["rapl:psys"],
    ]


def test_a_gpu_is_seen_by_its_own_sensor_and_by_no_package() -> None:
    own = [["gpu:1:energy"], ["gpu:1:power"], ["rapl:psys"]]
    assert names([*PACKAGES, PSYS, *GPUS], "cuda:1") == own
    assert names([*PACKAGES, *GPUS], "cuda")[0] == ["gpu:0:energy"]
    assert names(PACKAGES, "cuda:0") == []


def power_of(idle_w: float, load_w: float) -> Any:
    return loaded(PHASES, lambda t: np.full_like(t, idle_w), lambda t: np.full_like(t, load_w))


def test_both_paths_to_a_sensor_are_recorded_with_their_gap() -> None:
    counter = Sensor(GPUS[1], 0.1).trace(power_of(50, 300), PHASES)
    power = Sensor(GPUS[0], 0.1, noise_w=0.5).trace(power_of(55, 303), PHASES)
    figures = measured([counter, power], ["gpu:0:energy"], PHASES, QUIET, Validity())
    assert figures["kind"] == "counter"
    assert figures["no_net"] == ""
    assert figures["gross_joules_per_image"] == pytest.approx(3.0, rel=0.01)
    assert figures["joules_per_image"] == pytest.approx(2.5, rel=0.01)
    assert [meter["name"] for meter in figures["meters"]] == ["gpu:0:energy", "gpu:0:power"]
    (note,) = figures["notes"]
    assert "differ by 1.0% under load and 9.5% idle" in note


def test_two_paths_that_disagree_leave_no_figure() -> None:
    counter = Sensor(GPUS[1], 0.1).trace(power_of(50, 300), PHASES)
    power = Sensor(GPUS[0], 0.1, noise_w=0.5).trace(power_of(50, 400), PHASES)
    figures = measured([counter, power], ["gpu:0:energy"], PHASES, QUIET, Validity())
    assert (figures["joules_per_image"], figures["gross_joules_per_image"]) == (None, None)
    assert "disagree by 29% under load" in figures["no_gross"]


def test_a_foreign_process_on_the_sensor_leaves_no_figure() -> None:
    trace = Sensor(PACKAGES[0], 0.1).trace(power_of(5, 20), PHASES)
    busy = {**QUIET, "foreign_load_cores": 1.0}
    figures = measured([trace], ["rapl:package-0"], PHASES, busy, Validity())
    assert figures["gross_joules_per_image"] is None
    assert "foreign processes used 1 cores meanwhile (limit 0.25)" in figures["no_net"]
    off = measured([trace], ["rapl:package-0"], PHASES, busy, Validity(enabled=False))
    assert off["gross_joules_per_image"] == pytest.approx(0.2, rel=0.01)
    gpu = Sensor(GPUS[1], 0.1).trace(power_of(50, 300), PHASES)
    shared = {**busy, "gpu": {"foreign_processes": ["trainer"]}}
    figures = measured([gpu], ["gpu:0:energy"], PHASES, shared, Validity())
    assert "1 other processes computed on the GPU" in figures["no_net"]


def test_a_model_is_of_processor_time() -> None:
    figures = modelled(PowerModel(idle_w=4, busy_w=12), Window((0.0, 10.0), 100), 5.0, 4)
    assert figures["kind"] == "modelled"
    assert figures["joules_per_image"] == pytest.approx(8 * 5 / 4 / 100)
    assert figures["gross_joules_per_image"] == pytest.approx(0.1 + 0.4)

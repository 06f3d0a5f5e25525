"""Energy of both sides of a gate, in launches of their own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from deploymark.bench.gate.energy import measure_energy, wants_energy
from deploymark.bench.gate.pairing import Measurable
from deploymark.bench.matrix.energy_settings import EnergySettings, ExternalMeterSettings
from deploymark.bench.matrix.gate_settings import Cost, GateSettings
from deploymark.bench.matrix.validity import Validity
from tests.checkout import ROOT

COMMAND = (sys.executable, str(ROOT / "tests" / "standin_meter.py"))
QUICK = {"launches": 1, "window_s": 1.2, "idle_s": 1.2, "budget_s": 2}


@pytest.mark.heavy
def test_both_sides_are_measured_in_turn(side: Measurable, tmp_path: Path) -> None:
    settings = EnergySettings(
        meter=ExternalMeterSettings(command=COMMAND, unit="j", scope="board"), **QUICK
    )
    said: list[str] = []
    found = measure_energy(
        [side, side], settings, Validity(enabled=False), 0, tmp_path / "energy.log", said.append
    )
    assert found.reason == ""
    assert [len(values) for values in found.joules] == [2, 2]
    assert all(value > 0 for values in found.joules for value in values)
    assert len(said) == 4


@pytest.mark.heavy
def test_a_meter_that_fails_is_the_reason(side: Measurable, tmp_path: Path) -> None:
    broken = (sys.executable, "-c", "print(1.0)")
    settings = EnergySettings(meter=ExternalMeterSettings(command=broken, unit="j"), **QUICK)
    log = tmp_path / "energy.log"
    found = measure_energy([side, side], settings, Validity(), 0, log, lambda _: None)
    assert found.joules == ([], [])
    assert "stopped at once: it ended with exit code 0" in found.reason


def test_energy_is_measured_where_the_gate_names_it() -> None:
    on = EnergySettings()
    assert not wants_energy(GateSettings(), on)
    assert wants_energy(GateSettings(figures=("energy_j_per_image",)), on)
    assert wants_energy(GateSettings(energy_j_per_image=Cost(max_rise=0.1)), on)
    assert not wants_energy(GateSettings(figures=("energy_j_per_image",)), "off")

"""A meter fed by a known function of time is recovered within 1 %, gross and net."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploymark.bench.meters.analysis import Phases, read_pass
from deploymark.bench.meters.base import Facts
from deploymark.bench.meters.trace import update_period_s
from tests.sensors import (
    COUNTER,
    COUNTER_LINES,
    LINES,
    POWER,
    Floats,
    Power,
    Sensor,
    loaded,
    phases_of,
    true_figures,
)

PERIODS = (0.001, 0.1, 1.0, 15.0)
IDLE_W, LOAD_W = 5.0, 20.0
IDLE_NOISE_W = 0.05


def constant(watts: float) -> Power:
    return lambda times_s: np.full_like(times_s, watts)


def ramp(phases: Phases) -> Power:
    """Power that rises by half while the work lasts."""
    begin_s, end_s = phases.began_s, phases.windows[-1].span[1]

    def power(times_s: Floats) -> Floats:
        return LOAD_W * (1 + 0.5 * (times_s - begin_s) / (end_s - begin_s))

    return power


def steps(phases: Phases) -> Power:
    """Power that goes up by half and down again, each time within a window, as often as it falls.

    What power does between two readings of it no sensor tells: a step may be off by half a period.
    """
    first_s, length_s = phases.windows[0].span[0], phases.windows[0].seconds
    return lambda times_s: LOAD_W * (1 + 0.5 * (((times_s - first_s) / length_s + 0.38) // 1 % 2))


SHAPES = {"constant": lambda _: constant(LOAD_W), "ramp": ramp, "steps": steps}


@pytest.mark.parametrize("period_s", PERIODS, ids=lambda period_s: f"{period_s:g}s")
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("facts", "quantum", "noise_w"),
    [
        (COUNTER, 0.0, 0.0),
        (COUNTER, 0.01, 0.0),
        (COUNTER_LINES, 0.0, 0.0),
        (POWER, 0.0, IDLE_NOISE_W),
        (POWER, 0.1, IDLE_NOISE_W),
        (LINES, 0.0, IDLE_NOISE_W),
        (LINES, 0.05, IDLE_NOISE_W),
        (LINES, 0.0, 0.5),
    ],
    ids=[
        "counter",
        "counter-quantised",
        "counter-lines",
        "power",
        "power-quantised",
        "lines",
        "lines-quantised",
        "lines-noisy",
    ],
)
def test_a_known_power_is_recovered_within_one_percent(
    period_s: float, shape: str, facts: Facts, quantum: float, noise_w: float
) -> None:
    phases = phases_of(period_s, windows=4)
    power = loaded(phases, constant(IDLE_W), SHAPES[shape](phases))
    if facts.unit == "j" and quantum and period_s < 0.01:
        quantum = period_s  # a counter that counts in steps above what it adds in a period
    sensor = Sensor(facts, period_s, jitter=0.1, quantum=quantum, noise_w=noise_w)
    trace = sensor.trace(power, phases)

    reading = read_pass([trace], phases)

    assert not reading.faults
    assert update_period_s(trace) == pytest.approx(period_s, rel=0.15)
    gross, net = true_figures(power, phases, IDLE_W)
    assert reading.figures is not None
    assert reading.figures.idle_w == pytest.approx(IDLE_W, abs=0.1 + noise_w / 4)
    assert reading.figures.gross_j == pytest.approx(gross, rel=0.01)
    assert reading.figures.net_j == pytest.approx(net, rel=0.01)


@settings(max_examples=30, deadline=None)
@given(
    period_s=st.floats(0.02, 2.0),
    jitter=st.floats(0.0, 0.3),
    idle_w=st.floats(0.5, 100.0),
    rise=st.floats(0.5, 10.0),
    windows=st.integers(1, 6),
    unit=st.sampled_from([COUNTER, COUNTER_LINES, LINES]),
    seed=st.integers(0, 100),
)
def test_a_steady_load_is_recovered_whatever_the_sensor(
    period_s: float,
    jitter: float,
    idle_w: float,
    rise: float,
    windows: int,
    unit: Facts,
    seed: int,
) -> None:
    phases = phases_of(period_s, windows)
    power = loaded(phases, constant(idle_w), constant(idle_w * (1 + rise)))
    trace = Sensor(unit, period_s, jitter=jitter, seed=seed).trace(power, phases)
    reading = read_pass([trace], phases)
    gross, net = true_figures(power, phases, idle_w)
    assert reading.figures is not None
    assert reading.figures.gross_j == pytest.approx(gross, rel=0.01)
    assert reading.figures.net_j == pytest.approx(net, rel=0.01)
    interval = reading.figures.net_interval
    assert (interval is None) == (windows == 1)
    assert interval is None or interval[0] <= reading.figures.net_j <= interval[1]


def test_a_counter_that_begins_again_at_zero_is_followed() -> None:
    phases = phases_of(0.1)
    power = loaded(phases, constant(IDLE_W), constant(LOAD_W))
    whole = Sensor(COUNTER, 0.1).trace(power, phases)
    wrap_j = 90.0
    wrapped = dataclasses.replace(
        whole,
        facts=dataclasses.replace(COUNTER, wraps_at_j=wrap_j),
        values=whole.values % wrap_j,
    )
    assert np.count_nonzero(np.diff(wrapped.values) < 0) > 5
    found, known = (read_pass([trace], phases).figures for trace in (wrapped, whole))
    assert found is not None
    assert known is not None
    assert found.gross_j == pytest.approx(known.gross_j)
    assert found.net_j == pytest.approx(known.net_j)


def test_the_packages_of_a_machine_are_added() -> None:
    phases = phases_of(0.1)
    power = loaded(phases, constant(IDLE_W), constant(LOAD_W))
    one = Sensor(dataclasses.replace(COUNTER, source="one", sums_as="rapl"), 0.1, seed=1)
    two = Sensor(dataclasses.replace(COUNTER, source="two", sums_as="rapl"), 0.05, seed=2)
    reading = read_pass([one.trace(power, phases), two.trace(power, phases)], phases)
    gross, net = true_figures(power, phases, IDLE_W)
    assert reading.figures is not None
    assert (reading.facts.name, reading.facts.source) == ("rapl", "one + two")
    assert reading.period_s == pytest.approx(0.1, rel=0.05)
    assert reading.figures.gross_j == pytest.approx(2 * gross, rel=0.01)
    assert reading.figures.net_j == pytest.approx(2 * net, rel=0.01)
    assert reading.figures.idle_w == pytest.approx(2 * IDLE_W, rel=0.01)


def test_the_interval_holds_half_of_the_idle_drift() -> None:
    phases = phases_of(0.1)

    def idle(times_s: Floats) -> Floats:
        return np.where(times_s < phases.began_s, 5.0, 6.0)

    trace = Sensor(LINES, 0.1).trace(loaded(phases, idle, constant(LOAD_W)), phases)
    figures = read_pass([trace], phases).figures
    assert figures is not None
    assert figures.net_interval is not None
    low, high = figures.net_interval
    assert high - low == pytest.approx(1.0 / 100, rel=0.01)  # 1 W, 100 images/s, to both sides
    assert figures.idle_w == pytest.approx(5.5)


def test_a_sensor_slower_than_its_lines_is_found_out() -> None:
    phases = phases_of(1.0)
    power = loaded(phases, constant(IDLE_W), constant(LOAD_W))
    slow = Sensor(POWER, 1.0, noise_w=0.1).trace(power, phases)
    lines = dataclasses.replace(slow, facts=LINES)  # read five times a period
    assert update_period_s(lines) == pytest.approx(1.0, rel=0.05)

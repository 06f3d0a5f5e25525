"""The recorder, as a real process: an external meter that is a real child, and a RAPL tree."""

from __future__ import annotations

import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from deploymark.bench.meters.analysis import Phases, Window, read_pass
from deploymark.bench.meters.recorder import LEAST_STEP_S, MOST_STEP_S, UNKNOWN_STEP_S, step_s
from deploymark.bench.meters.recording import Recording, recorded
from deploymark.bench.meters.trace import Trace
from deploymark.bench.meters.windows import GUARD_S

NOTHING = {"powercap": "/nonexistent", "hwmon": "/nonexistent", "power_supply": "/nonexistent"}

METER = """
import sys, time
print("watts")
begun, joules = time.monotonic(), 0.0
before = begun
while True:
    time.sleep(0.01)
    now = time.monotonic()
    watts = 30.0 if {begin} <= now < {end} else 10.0
    joules += watts * (now - before)
    before = now
    print({what}, flush=True)
"""


def meter(tmp_path: Path, begin: float, end: float, what: str) -> list[str]:
    path = tmp_path / "meter.py"
    path.write_text(textwrap.dedent(METER.format(begin=begin, end=end, what=what)))
    return [sys.executable, str(path)]


def wait_until(recording: Recording, at: float) -> list[Trace]:
    while time.monotonic() < at:
        time.sleep(0.05)
    return recording.traces()


@pytest.mark.alone
@pytest.mark.parametrize(("unit", "what"), [("w", "watts"), ("j", "joules")])
def test_an_external_meter_that_is_a_process_is_recovered(
    tmp_path: Path, unit: str, what: str
) -> None:
    work_s = time.monotonic() + 6.0
    stopped_s = work_s + 2 * GUARD_S + 1.2
    external = {"command": meter(tmp_path, work_s, stopped_s, what), "unit": unit}
    with recorded(external, tmp_path / "log", roots=NOTHING, names=["external"]) as recording:
        (period_s,) = recording.periods_s()
        assert period_s is not None
        phases = Phases(
            idle_before=(work_s - GUARD_S - 1.2, work_s - GUARD_S),
            began_s=work_s,
            windows=[Window((work_s + GUARD_S, work_s + GUARD_S + 1.2), 12)],
            idle_after=(stopped_s + GUARD_S, stopped_s + GUARD_S + 1.2),
        )
        (trace,) = wait_until(recording, phases.idle_after[1] + 0.3)
    reading = read_pass([trace], phases)
    assert trace.failure is None
    assert reading.figures is not None
    assert reading.figures.idle_w == pytest.approx(10, rel=0.01)
    assert reading.figures.gross_j == pytest.approx(3, rel=0.01)
    assert reading.figures.net_j == pytest.approx(2, rel=0.01)


@pytest.mark.parametrize(
    ("program", "kind", "words"),
    [
        ("print(1.5, flush=True); print('12,5 W', flush=True)", "garbage", "'12,5 W'"),
        ("print(1.5); import sys; sys.exit(3)", "died", "it ended with exit code 3"),
        ("print('a\\nb\\nc\\nd\\ne\\nf\\n')", "garbage", "'f'"),
    ],
)
def test_what_a_command_does_wrong_is_told(
    tmp_path: Path, program: str, kind: str, words: str
) -> None:
    external = {"command": [sys.executable, "-c", program], "unit": "w"}
    with recorded(external, tmp_path / "log", roots=NOTHING, names=["external"]) as recording:
        until = time.monotonic() + 20
        while (trace := recording.traces()[0]).failure is None and time.monotonic() < until:
            time.sleep(0.05)
    assert trace.failure == (kind, words)


def test_a_command_that_cannot_be_started_is_missing(tmp_path: Path) -> None:
    external = {"command": ["no-such-meter-here"], "unit": "w"}
    with recorded(external, tmp_path / "log", roots=NOTHING, names=["external"]) as recording:
        assert recording.facts == []
        missing = next(item for item in recording.missing if item.what == "external meter")
    assert "no-such-meter-here cannot be started" in missing.reason


def test_a_rapl_tree_is_read_by_the_recorder(tmp_path: Path) -> None:
    zone = tmp_path / "powercap/intel-rapl:0"
    zone.mkdir(parents=True)
    for name, text in (("name", "package-0"), ("max_energy_range_uj", "262143328850")):
        (zone / name).write_text(f"{text}\n")
    counter = zone / "energy_uj"
    counter.write_text("0\n")
    roots = {**NOTHING, "powercap": str(tmp_path / "powercap")}
    with recorded(None, tmp_path / "log", roots=roots, names=["rapl:package-0"]) as recording:
        for step in range(20):
            partial = zone / "partial"
            partial.write_text(f"{step * 1_000_000}\n")
            partial.replace(counter)
            time.sleep(0.02)
        (trace,) = recording.traces()
    assert trace.failure is None
    assert trace.facts.wraps_at_j == pytest.approx(262143.32885)
    assert trace.values[-1] == pytest.approx(19.0)
    assert np.all(np.diff(trace.values) >= 0)


def test_sensors_are_read_as_often_as_they_need() -> None:
    assert step_s(0.001) == LEAST_STEP_S
    assert step_s(1.0) == pytest.approx(0.05)
    assert step_s(15.0) == MOST_STEP_S
    assert step_s(None) == UNKNOWN_STEP_S

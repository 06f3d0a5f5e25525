"""Each fault of a meter, provoked once, with the sentence that it gives."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from deploymark.bench.meters import faults
from deploymark.bench.meters.analysis import disagreements, read_pass
from deploymark.bench.meters.trace import Trace
from tests.sensors import COUNTER, LINES, POWER, Floats, Sensor, loaded, phases_of

PHASES = phases_of(0.1)


def steady(idle_w: float = 5.0, load_w: float = 20.0) -> Callable[[Floats], Floats]:
    return loaded(
        PHASES, lambda times_s: np.full_like(times_s, idle_w), lambda t: np.full_like(t, load_w)
    )


def counter(**changes: object) -> Trace:
    whole = Sensor(COUNTER, 0.1).trace(steady(), PHASES)
    return dataclasses.replace(whole, **changes)  # type: ignore[arg-type]


def power(trace: Callable[[Floats, Floats], Floats]) -> Trace:
    """A noisy power whose values are changed, by (times, values)."""
    whole = Sensor(POWER, 0.1, noise_w=0.05).trace(steady(), PHASES)
    return dataclasses.replace(whole, values=trace(whole.times_s, whole.values))


def until(trace: Trace, end_s: float, failure: tuple[str, str] | None = None) -> Trace:
    keep = trace.times_s < end_s
    return Trace(trace.facts, trace.times_s[keep], trace.values[keep], failure)


def stuck() -> Trace:
    return counter(values=np.full(len(counter().times_s), 7.0))


def stuck_while_working() -> Trace:
    whole = counter()
    return dataclasses.replace(whole, values=np.minimum(whole.values, whole.values[2000]))


def unread() -> Trace:
    """Not read for half of a window, in which its small range was passed."""
    whole = counter()
    facts = dataclasses.replace(COUNTER, wraps_at_j=10.0)
    late_s = PHASES.windows[0].span[0] + 3
    keep = (whole.times_s < late_s) | (whole.times_s > late_s + 0.45)
    return Trace(facts, whole.times_s[keep], whole.values[keep] % 10.0)


def backwards() -> Trace:
    whole = counter()
    values = whole.values.copy()
    values[4000:] -= 30.0
    return dataclasses.replace(whole, values=values)


def zero_while_working() -> Trace:
    inside = PHASES.windows[1].span
    return power(lambda t, w: np.where((t > inside[0]) & (t < inside[0] + 1), 0.0, w))


def late() -> Trace:
    """A smart plug that tells of two seconds ago."""
    whole = Sensor(LINES, 0.1, noise_w=0.05).trace(steady(), PHASES)
    return dataclasses.replace(whole, times_s=whole.times_s + 2.0)


def buffered() -> Trace:
    """Lines held back in a pipe for ten seconds, then all at once."""
    whole = Sensor(LINES, 0.1, noise_w=0.05).trace(steady(), PHASES)
    times_s = np.ceil(whole.times_s / 10) * 10 + np.arange(len(whole.times_s)) * 1e-5
    return dataclasses.replace(whole, times_s=times_s)


def drifting() -> Trace:
    idle = lambda t: np.where(t < PHASES.began_s, 5.0, 15.0)  # noqa: E731
    return Sensor(LINES, 0.1).trace(loaded(PHASES, idle, lambda t: np.full_like(t, 20.0)), PHASES)


CASES: dict[str, tuple[Callable[[], Trace], str, str, bool]] = {
    "stuck": (stuck, "stuck", "a counter did not move in 48.1 s: the sensor is stuck", False),
    "stuck-while-working": (stuck_while_working, "stuck", "a counter did not move in", False),
    "wrapped-twice": (
        unread,
        "wrapped twice",
        "at 19.7 W its range of 10 J may have been passed more than once meanwhile",
        False,
    ),
    "backwards": (backwards, "backwards", "a counter went backwards by 30 J, which no", False),
    "zero-throughout": (
        lambda: power(lambda _, w: np.zeros_like(w)),
        "zero",
        "a power meter read zero watts: something that runs takes energy",
        False,
    ),
    "zero-while-working": (zero_while_working, "zero", "read zero watts under load", False),
    "drift": (
        drifting,
        "idle drift",
        "idle power was 5 W before and 15 W after, and the inferences add 10 W: the drift is too",
        True,
    ),
    "no-signal": (
        lambda: Sensor(LINES, 0.1, noise_w=0.1).trace(steady(20.0, 19.0), PHASES),
        "no signal",
        "the inferences do not show in it",
        True,
    ),
    "died": (
        lambda: until(counter(), 120.0, ("died", "exit code 3")),
        "died",
        "a counter stopped half-way: exit code 3",
        False,
    ),
    "garbage": (
        lambda: until(counter(), 120.0, ("garbage", "'12,5 W'")),
        "garbage",
        "a counter gave something that is no reading: '12,5 W'",
        False,
    ),
    "the-wrong-way-round": (
        lambda: power(lambda _, w: -w),
        "garbage",
        "is the meter connected the wrong way round?",
        False,
    ),
    "silent-at-the-end": (lambda: until(counter(), 130.0), "lag", "was silent for", False),
    "held-back": (buffered, "lag", "must flush each line", False),
    "late": (late, "lag", "a power meter follows the load 1.95 s late (limit 1 s)", False),
    "too-short": (
        lambda: Sensor(COUNTER, 1.0).trace(steady(), PHASES),
        "too short",
        "a window of 5 s is shorter than the 20 updates that a figure needs (20 s)",
        False,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_fault_is_told_and_spoils_the_figure(case: str) -> None:
    make, kind, words, net_only = CASES[case]
    reading = read_pass([make()], PHASES)
    assert [fault.kind for fault in reading.faults] == [kind]
    (fault,) = reading.faults
    assert words in fault.text
    assert fault.net_only == net_only


def test_two_paths_that_disagree_spoil_each_other() -> None:
    one = read_pass([counter()], PHASES)
    low = Sensor(LINES, 0.1, noise_w=0.05).trace(steady(4.0, 16.0), PHASES)
    (fault,) = disagreements(one, read_pass([low], PHASES))
    assert fault.text == (
        "a counter and a power meter disagree by 22% under load (limit 10%): one of them is wrong, "
        "and nothing tells which"
    )
    assert not fault.net_only


def test_two_paths_that_disagree_when_idle_spoil_the_net() -> None:
    """As NVML's do: 187 J against 327 J of the same idle time (zeus, issue 181)."""
    one = read_pass([counter()], PHASES)
    other = Sensor(LINES, 0.1, noise_w=0.05).trace(steady(8.7, 20.0), PHASES)
    (fault,) = disagreements(one, read_pass([other], PHASES))
    assert "above idle" in fault.text
    assert fault.net_only
    same = Sensor(LINES, 0.1, noise_w=0.05, seed=4).trace(steady(5.0, 20.1), PHASES)
    assert not list(disagreements(one, read_pass([same], PHASES)))


def test_a_foreign_process_is_named() -> None:
    fault = faults.foreign_load("a counter", "foreign processes used 1.0 cores")
    assert fault.text == "a counter saw more than the inferences: foreign processes used 1.0 cores"


def test_a_meter_that_never_answers_is_silent() -> None:
    nothing = Trace(COUNTER, np.array([]), np.array([]))
    (fault,) = read_pass([nothing], PHASES).faults
    assert fault.kind == "lag"


def test_a_fault_of_one_package_spoils_the_sum() -> None:
    reading = read_pass([counter(), stuck()], PHASES)
    assert [fault.kind for fault in reading.faults] == ["stuck"]
    assert reading.figures is None

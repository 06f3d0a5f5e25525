from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploymark.bench.matrix.validity import Validity
from deploymark.bench.worker.measure import bursts
from deploymark.bench.worker.measure.bursts import BURST_S, PATIENCE, Timed, is_quiet, timed
from deploymark.bench.worker.measure.conditions import Change, Watch

LIMITS = Validity().burst_limits()
BURST_NS = int(BURST_S * 1e9)

CALM: dict[str, Any] = {
    "wall_s": 0.075,
    "own_cpu_s": 0.075,
    "tick_error_s": 0.017,
    "foreign_load_cores": 0.1,
    "busy_s": 0.08,
    "steal_s": 0.0,
    "run_queue_wait_s": 0.001,
    "busy_threads": 1,
    "usable_cpus": 2,
    "throttled_s": 0.0,
}


class Machine(Watch):
    """Inferences of a given length, and bursts that are quiet as a list says, the last for ever."""

    def __init__(self, inference_ns: int, quiet: list[bool]) -> None:
        self.inference_ns = inference_ns
        self.quiet = quiet
        self.laps = 0
        self.now_ns = 0
        self.asked: list[object] = []
        self.added: list[int] = []

    def clock(self) -> int:
        return self.now_ns

    def work(self, item: object) -> None:
        self.asked.append(item)
        self.now_ns += self.inference_ns

    def start(self) -> None:
        pass

    def forget(self) -> None:
        pass

    def lap(self) -> Change:
        quiet = self.quiet[min(self.laps, len(self.quiet) - 1)]
        self.laps += 1
        return Change({"wall_ns": 0, "quiet": quiet}, {}, {})

    def figures(self, change: Change) -> dict[str, Any]:
        return CALM if change.counters["quiet"] else {**CALM, "foreign_load_cores": 1.0}

    def add(self, changes: Any) -> None:
        self.added.append(len(changes))

    def timed(self, seconds: float = 0.5, least: int = 10, most: int = 10_000) -> Timed:
        return timed(
            self.work,
            "abc",
            self,
            LIMITS,
            seconds=seconds,
            min_iterations=least,
            max_iterations=most,
            max_s=30.0,
            clock=self.clock,
        )


def test_a_quiet_machine_takes_the_time_asked_for() -> None:
    machine = Machine(5_000_000, [True])
    found = machine.timed()
    assert len(found.counted_ns) == 105, "seven bursts of 15"
    assert found.told() == {"bursts": 7, "quiet_bursts": 7, "set_aside_ns": []}
    assert machine.asked[:7] == list("abcabca"), "items in turn, from burst to burst"
    found.add_to(machine)
    assert machine.added == [7]


def test_disturbed_bursts_are_set_aside_and_counted() -> None:
    machine = Machine(5_000_000, [True, False, True, True, False])
    machine.quiet = [True, False] * 30
    found = machine.timed()
    told = found.told()
    assert (told["bursts"], told["quiet_bursts"]) == (13, 7)
    assert len(told["set_aside_ns"]) == 6 * 15
    assert len(found.counted_ns) == 7 * 15
    found.add_to(machine)
    assert machine.added == [1] * 7


def test_patience_ends_and_too_few_quiet_bursts_count_no_more_than_the_others() -> None:
    machine = Machine(5_000_000, [True] + [False] * 200)
    found = machine.timed()
    assert machine.now_ns / 1e9 == pytest.approx(PATIENCE * 0.5, abs=2 * BURST_S)
    assert not found.quiet
    assert found.told()["set_aside_ns"] == []
    assert len(found.counted_ns) == sum(len(burst.times_ns) for burst in found.bursts)


def test_where_nothing_is_quiet_nobody_waits_for_it() -> None:
    machine = Machine(5_000_000, [False])
    found = machine.timed()
    assert machine.now_ns / 1e9 == pytest.approx(0.5, abs=BURST_S)
    assert found.told()["quiet_bursts"] == 0


def test_slow_inferences_are_bursts_of_one() -> None:
    machine = Machine(2_000_000_000, [False])
    found = machine.timed(least=10)
    assert [len(burst.times_ns) for burst in found.bursts] == [1] * 10
    found = Machine(40_000_000_000, [False]).timed(least=10)
    assert len(found.bursts) == 2, "after max_s a median of two has to do"


def test_no_more_inferences_than_asked_for() -> None:
    assert len(Machine(1_000, [True]).timed(most=20).counted_ns) == 20
    assert len(Machine(1_000, [False]).timed(most=20).counted_ns) == 20


def test_quick_inferences_are_searched_for_quiet_ones_as_patiently() -> None:
    found = Machine(1_000_000, [False, True] * 20).timed(most=200)
    assert found.told()["quiet_bursts"] == 3
    assert len(found.counted_ns) == 200
    found = Machine(1_000_000, [True] + [False] * 40).timed(most=200)
    assert sum(len(burst.times_ns) for burst in found.bursts) <= PATIENCE * 200 + 75
    assert not found.quiet


@given(
    quiet=st.lists(st.booleans(), min_size=1, max_size=40),
    inference_ns=st.integers(10_000, 300_000_000),
    seconds=st.floats(0.0, 2.0),
    least=st.integers(1, 50),
)
def test_every_inference_is_counted_or_set_aside(
    quiet: list[bool], inference_ns: int, seconds: float, least: int
) -> None:
    machine = Machine(inference_ns, quiet)
    found = machine.timed(seconds, least)
    told = found.told()
    assert len(found.counted_ns) + len(told["set_aside_ns"]) == len(machine.asked)
    assert found.counted_ns, "there is always a figure"
    assert 0 <= told["quiet_bursts"] <= told["bursts"] == machine.laps
    if told["set_aside_ns"]:
        assert len(found.counted_ns) >= least


@pytest.mark.parametrize(
    "change",
    [
        {"foreign_load_cores": 1.0},
        {"steal_s": 0.03},
        {"run_queue_wait_s": 0.02},
        {"throttled_s": 0.01},
    ],
)
def test_each_counter_can_tell(change: dict[str, float]) -> None:
    assert is_quiet(CALM, LIMITS)
    assert not is_quiet({**CALM, **change}, LIMITS)
    assert is_quiet({**CALM, **change}, {}), "without limits nothing disturbs"
    assert is_quiet({**CALM, **dict.fromkeys(change)}, LIMITS), "what is unknown does not"


def test_rounding_of_ticks_is_no_load() -> None:
    assert is_quiet({**CALM, "foreign_load_cores": 0.4}, LIMITS)
    assert is_quiet({**CALM, "run_queue_wait_s": 0.05, "busy_threads": 3}, LIMITS)


def test_a_real_watch_tells_what_happened_between_laps() -> None:
    watch = Watch()
    found = timed(
        lambda item: sum(range(item)), [20_000], watch, {}, seconds=0.2, min_iterations=5,
        max_iterations=100_000,
    )  # fmt: skip
    found.add_to(watch)
    figures = watch.read()
    assert figures["intervals"] == 1
    assert figures["wall_s"] == pytest.approx(sum(found.counted_ns) / 1e9, rel=0.5)
    assert figures["own_cpu_s"] > 0
    assert figures["wall_s"] > bursts.BURST_S

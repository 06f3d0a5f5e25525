from __future__ import annotations

import gc

import numpy as np
import pytest

from deploymark.bench.worker.measure.latency import TRACED, is_steady, time_once_ns, timed, warm_up

IMAGES = [np.zeros((1, 3, 8, 8), np.float32)]


class Machine:
    """A clock that work moves on: each inference costs what the list says, the last for ever."""

    def __init__(self, costs_ns: list[int]) -> None:
        self.costs_ns = costs_ns
        self.now_ns = 0
        self.calls = 0

    def clock(self) -> int:
        return self.now_ns

    def infer(self, _images: object) -> None:
        self.now_ns += self.costs_ns[min(self.calls, len(self.costs_ns) - 1)]
        self.calls += 1


@pytest.mark.parametrize(
    ("times", "steady"),
    [
        ([100] * 14, False),
        ([100] * 15, True),
        ([200] * 5 + [100] * 15, True),
        ([120] * 5 + [110] * 5 + [100] * 5, False),
        ([100, 100, 100, 100, 900] * 3, True),
        ([100] * 5 + [140] * 5 + [120] * 5, True),
        ([100] * 10 + [90] * 5, False),
    ],
)
def test_steady_means_that_windows_bring_no_gain(times: list[int], steady: bool) -> None:
    assert is_steady(times) is steady


def test_warm_up_goes_on_until_steady() -> None:
    machine = Machine([*(1_000_000 * factor for factor in range(20, 0, -1)), 1_000_000])
    result = warm_up(machine.infer, IMAGES, max_s=10, clock=machine.clock)
    assert result.steady
    assert result.iterations == 35
    assert result.seconds == pytest.approx(machine.now_ns / 1e9)
    assert result.first_ns[:3] == (20_000_000, 19_000_000, 18_000_000)
    assert len(result.first_ns) == result.iterations


def test_warm_up_gives_up_at_its_limit() -> None:
    machine = Machine([int(1e8 * 0.97**step) for step in range(200)])
    result = warm_up(machine.infer, IMAGES, max_s=0.5, clock=machine.clock)
    assert not result.steady
    assert result.seconds >= 0.5


def test_a_long_warm_up_leaves_its_first_times_alone() -> None:
    machine = Machine([int(1e6 * 0.97**step) for step in range(400)])
    result = warm_up(machine.infer, IMAGES, max_s=60, clock=machine.clock)
    assert result.iterations > TRACED == len(result.first_ns)


@pytest.mark.parametrize(
    ("seconds", "low", "high", "expected"),
    [(0.1, 5, 200, 10), (0.0, 5, 200, 5), (100.0, 5, 30, 30), (0.02, 5, 200, 5)],
)
def test_timed_keeps_to_its_bounds(seconds: float, low: int, high: int, expected: int) -> None:
    machine = Machine([10_000_000])
    times = timed(
        machine.infer,
        IMAGES,
        seconds=seconds,
        min_iterations=low,
        max_iterations=high,
        clock=machine.clock,
    )
    assert times == [10_000_000] * expected


@pytest.mark.parametrize(("max_s", "expected"), [(1.0, 20), (0.05, 5), (0.0, 2)])
def test_slow_inferences_need_not_be_many(max_s: float, expected: int) -> None:
    machine = Machine([10_000_000] * 100)
    times = timed(
        machine.infer,
        IMAGES,
        seconds=0,
        min_iterations=20,
        max_iterations=100,
        max_s=max_s,
        clock=machine.clock,
    )
    assert len(times) == expected


def test_warm_up_ends_in_the_middle_of_a_window_at_its_limit() -> None:
    machine = Machine([int(1e9)] * 9)
    result = warm_up(machine.infer, IMAGES, max_s=2, clock=machine.clock)
    assert (result.iterations, result.steady) == (2, False)


def test_no_garbage_is_collected_while_timing() -> None:
    seen = []
    timed(lambda _: seen.append(gc.isenabled()), [0], seconds=0, min_iterations=3, max_iterations=3)
    assert seen == [False, False, False]
    assert gc.isenabled()


def test_the_items_are_taken_in_turn() -> None:
    seen: list[int] = []
    timed(seen.append, [1, 2], seconds=0, min_iterations=5, max_iterations=5)
    assert seen == [1, 2, 1, 2, 1]


def test_one_call_is_timed() -> None:
    machine = Machine([7])
    assert time_once_ns(lambda: machine.infer(None), machine.clock) == 7

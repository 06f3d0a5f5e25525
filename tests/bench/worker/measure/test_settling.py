from __future__ import annotations

import threading
import time

from deploymark.bench.worker.measure.settling import SETTLE_S, settle


class Process:
    """A process whose threads spin for a while, on a clock that sleeping moves."""

    def __init__(self, spins_s: float) -> None:
        self.now_ns, self.spins_ns = 0, round(spins_s * 1e9)

    def clock(self) -> int:
        return self.now_ns

    def cpu(self) -> int:
        return min(self.now_ns, self.spins_ns)

    def sleep(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1e9)

    def settle(self) -> float:
        return settle(clock=self.clock, cpu=self.cpu, sleep=self.sleep)


def test_a_process_at_rest_is_not_waited_for() -> None:
    assert Process(0.0).settle() < 0.005


def test_threads_that_spin_are_waited_for_until_they_sleep() -> None:
    assert 0.05 <= Process(0.05).settle() < 0.06


def test_threads_that_spin_on_and_on_cost_the_limit() -> None:
    assert SETTLE_S <= Process(10.0).settle() < SETTLE_S + 0.01


def test_a_thread_of_this_process_is_seen() -> None:
    ends = time.perf_counter() + 0.05

    def spin() -> None:
        while time.perf_counter() < ends:
            pass

    thread = threading.Thread(target=spin)
    thread.start()
    settle(max_s=5.0)
    assert time.perf_counter() >= ends
    thread.join()

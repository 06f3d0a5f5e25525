"""What the worker tells of an energy pass: when it rested, when it inferred, and how often."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from deploymark.bench.worker.measure.energy import rest, windows


class Time:
    """A clock that inferences and sleeps move on."""

    def __init__(self) -> None:
        self.now_ns = 5_000_000_000

    def clock(self) -> int:
        return self.now_ns

    def sleep(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1e9)


def test_a_rest_leaves_its_guards_out() -> None:
    time = Time()
    stretch = rest(4.0, 1.5, clock=time.clock, sleep=time.sleep)
    assert stretch == {"start_ns": 6_500_000_000, "end_ns": 10_500_000_000}
    assert time.now_ns == 12_000_000_000


@given(
    infer_ms=st.floats(0.5, 900.0),
    window_s=st.floats(0.2, 3.0),
    guard_s=st.floats(0.1, 4.0),
    wanted=st.integers(1, 4),
)
def test_windows_follow_on_one_another_and_hold_whole_inferences(
    infer_ms: float, window_s: float, guard_s: float, wanted: int
) -> None:
    time = Time()
    begun_ns = time.now_ns
    times_ns: list[int] = []
    found = []

    def infer(_: object) -> None:
        time.sleep(infer_ms / 1e3)
        times_ns.append(time.now_ns)

    for window in windows(
        infer,
        ["one", "two"],
        window_s=window_s,
        guard_s=guard_s,
        stop=lambda: len(found) >= wanted,
        clock=time.clock,
        cpu=time.clock,
    ):
        found.append(window)  # noqa: PERF402 - ``stop`` looks at it meanwhile

    assert len(found) == wanted
    assert found[0]["start_ns"] >= begun_ns + guard_s * 1e9 - 1
    for window, following in itertools.pairwise(found):
        assert window["end_ns"] == following["start_ns"]
    for window in found:
        inside = [at for at in times_ns if window["start_ns"] < at <= window["end_ns"]]
        assert len(inside) == window["inferences"] >= 1
        assert window["end_ns"] - window["start_ns"] >= window_s * 1e9 - 1
    assert time.now_ns >= found[-1]["end_ns"] + guard_s * 1e9 - 1
    assert time.now_ns <= found[-1]["end_ns"] + guard_s * 1e9 + infer_ms * 1e6 + 2

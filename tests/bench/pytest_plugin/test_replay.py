from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploymark.bench.pytest_plugin.replay import ReplayClock

TEST_FILE = """
import pytest
from deploymark.bench.pytest_plugin.replay import ReplayClock, replay

SAMPLES = [12_345_678, 1, 999_999_999_999, 7_654_321, 12_345_679]
clock = ReplayClock()

@pytest.mark.benchmark(timer=clock)
def test_replayed(benchmark):
    replay(benchmark, clock, SAMPLES)
"""


@given(st.lists(st.integers(1, 10**13), min_size=1, max_size=50))
def test_two_readings_a_round_give_the_sample(samples: list[int]) -> None:
    clock = ReplayClock()
    clock.load(samples)
    durations = []
    for _ in samples:
        started = clock()
        durations.append(clock() - started)
    assert durations == [sample / 1e9 for sample in samples]


def test_it_ends_with_the_samples() -> None:
    clock = ReplayClock()
    clock.load([5])
    assert [clock(), clock()] == [0.0, 5e-9]
    clock()
    with pytest.raises(IndexError):
        clock()


@pytest.mark.heavy
def test_pytest_benchmark_reports_the_samples_bit_for_bit(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    # pytest-benchmark takes a session that a worker of xdist starts for one of its own
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    pytester.makepyfile(TEST_FILE)
    out = Path(str(pytester.path)) / "out.json"
    result = pytester.runpytest_subprocess(f"--benchmark-json={out}", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=1)
    stats = json.loads(out.read_text())["benchmarks"][0]["stats"]
    samples = [12_345_678, 1, 999_999_999_999, 7_654_321, 12_345_679]
    assert stats["data"] == [sample / 1e9 for sample in samples]
    assert stats["median"] == 12_345_678 / 1e9
    assert stats["rounds"] == len(samples)

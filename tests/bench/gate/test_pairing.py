"""Live pairs, with the workers themselves; the backend computes nothing, or fails as it is told."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path

import pytest

from deploymark.bench.errors import BadInputError
from deploymark.bench.gate.pairing import Measurable, PairPlan, measure_pair
from deploymark.bench.matrix.sections import Limits
from deploymark.bench.worker.measure import conditions

PLAN = PairPlan(rounds=4, burst_iterations=3)


def misbehaving(side: Measurable, **options: str) -> Measurable:
    return dataclasses.replace(side, cell=dataclasses.replace(side.cell, runtime_options=options))


def order() -> random.Random:
    return random.Random(0)  # noqa: S311 - no secret


def test_a_pair_has_all_rounds_of_both_sides(side: Measurable, tmp_path: Path) -> None:
    found = measure_pair(side, side, PLAN, tmp_path / "logs" / "pair.log", order())
    assert found.outcome.ok, found.outcome
    assert found.log_ratio is not None
    for times in found.latency_ns:
        assert [len(burst) for burst in times] == [3, 3, 3, 3]
        assert all(time > 0 for burst in times for time in burst)
    assert found.quiet == ([True] * 4, [True] * 4)  # there is no limit
    for facts in found.sides:
        assert facts["cold_ms"] > 0
        assert facts["load_ms"] > 0
        assert facts["peak_rss_bytes"] is None or facts["peak_rss_bytes"] > 0
        assert "latency_ns" not in facts


def test_bursts_carry_the_marks_of_the_counters(side: Measurable, tmp_path: Path) -> None:
    never = {"max_run_queue_wait_share": -1.0}
    plan = dataclasses.replace(PLAN, burst_limits=never)
    found = measure_pair(side, side, plan, tmp_path / "pair.log", order())
    told = conditions.thread_times()  # where the kernel counts no waiting, nothing is marked
    assert found.quiet == ([not told] * 4, [not told] * 4)
    assert found.quiet_rounds == [not told] * 4
    assert found.log_ratio is not None


def test_copies_of_the_model_take_turns_as_far_as_they_are_cheap(
    side: Measurable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = dataclasses.replace(PLAN, copies=3)
    found = measure_pair(side, side, plan, tmp_path / "pair.log", order())
    assert (found.outcome.status, found.copies) == ("ok", 3)
    # never more than there are rounds
    found = measure_pair(side, side, PairPlan(2, 3, 64), tmp_path / "pair.log", order())
    assert found.copies == 2
    monkeypatch.setattr("deploymark.bench.gate.pairing.COPIES_S", 0.0)
    found = measure_pair(side, side, plan, tmp_path / "pair.log", order())
    assert (found.outcome.status, found.copies) == ("ok", 1)


def test_the_side_that_fails_is_named(side: Measurable, tmp_path: Path) -> None:
    bad = misbehaving(side, where="load", how="raise")
    found = measure_pair(side, bad, PLAN, tmp_path / "pair.log", order())
    assert (found.outcome.status, found.failed_side) == ("load_failed", "candidate")
    assert "told to fail at load" in found.outcome.reason
    bad = misbehaving(side, where="infer", how="abort")
    found = measure_pair(bad, side, PLAN, tmp_path / "pair.log", order())
    assert (found.outcome.status, found.failed_side) == ("crashed", "baseline")
    assert found.log_ratio is None


def test_a_side_that_hangs_costs_its_limit_and_no_more(side: Measurable, tmp_path: Path) -> None:
    cell = dataclasses.replace(side.cell, limits=Limits(launch_timeout_s=2))
    brief = dataclasses.replace(side, cell=cell)
    hanging = misbehaving(brief, where="infer", how="hang")
    found = measure_pair(brief, hanging, PLAN, tmp_path / "pair.log", order())
    assert (found.outcome.status, found.failed_side) == ("timeout", "candidate")


def test_no_interpreter(side: Measurable, tmp_path: Path) -> None:
    cell = dataclasses.replace(side.cell, python="no-such-python")
    with pytest.raises(BadInputError, match="no such interpreter"):
        measure_pair(
            side, dataclasses.replace(side, cell=cell), PLAN, tmp_path / "pair.log", order()
        )

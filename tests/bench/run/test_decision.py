"""Launching where it is undecided: what is stopped, and how seldom wrongly."""

from __future__ import annotations

import random

import pytest

from deploymark.bench.matrix.schema import Matrix
from deploymark.bench.run.decision import Decision, most_rounds
from deploymark.bench.run.schedule import StoppingRule, next_round
from tests.benchmarks.decision_simulation import RULE, matrix, record, run_of, simulate

RUNS = 150


def test_a_wrong_winner_is_rarer_than_asked_for() -> None:
    found = [simulate(seed) for seed in range(RUNS)]
    # Were it 5 in 100, more than 14 of 150 would be wrong once in a hundred times.
    assert sum(wrong for wrong, *_ in found) <= 14
    assert any(named for _, named, *_ in found)
    launched, most = (sum(item[place] for item in found) for place in (2, 3))
    assert launched < 0.8 * most


def looked(latencies: dict[str, list[float]], asked: Matrix | None = None) -> Decision:
    """The decision after as many looks as there are launches of the first cell."""
    draw = random.Random(0)  # noqa: S311 - no secret
    launches = {
        name: [record(name, number, value, draw) for number, value in enumerate(values)]
        for name, values in latencies.items()
    }
    settings = asked or matrix()
    decision = Decision(settings, lambda seen: run_of(settings, seen, list(latencies)), looks=6)
    for number in range(1, len(next(iter(latencies.values()))) + 1):
        decision.look(number, launches)
    return decision


def test_what_is_far_behind_gets_one_launch() -> None:
    decision = looked({"fast": [2.0], "near": [2.3], "far": [9.0]})
    assert set(decision.closed) == {"far"}
    assert decision.closed["far"].startswith("stopped after 1 launch: cannot win: ")
    assert "times that of fast" in decision.closed["far"]


def test_further_launches_tell_what_one_could_not() -> None:
    fast, near = [2.0, 2.01, 2.0], [2.3, 2.31, 2.29]
    decision = looked({"fast": fast, "near": near, "a": [3.0] * 3, "b": [3.2] * 3, "c": [3.3] * 3})
    assert "near" in decision.closed
    assert "fast" in decision.closed, "the question is decided"
    assert decision.closed["fast"] == "", "and the winner was not stopped for a fault of its own"


def test_a_closed_cell_stays_closed() -> None:
    decision = looked({"fast": [2.0, 9.0], "far": [9.0, 2.0]})
    assert decision.closed["far"]


def test_cells_that_lost_to_one_that_fails_are_open_again() -> None:
    decision = looked({"fast": [2.0], "near": [2.3], "far": [9.0]})
    decision.failed("near")
    assert set(decision.closed) == {"far"}
    decision.failed("fast")
    assert not decision.closed


def test_closed_cells_get_no_launches() -> None:
    rules: dict[str, StoppingRule] = dict.fromkeys(("a", "b"), RULE)
    assert {slot.cell for slot in next_round(rules, {}, 0)} == {"a", "b"}
    assert {slot.cell for slot in next_round(rules, {}, 0, {"a": "x"})} == {"b"}
    assert most_rounds(rules) == RULE.most


@pytest.mark.parametrize("until", ["decided", "all", None])
def test_a_matrix_says_until_when(until: str | None) -> None:
    asked = matrix().model_dump(mode="json")
    asked["measure"] = {**asked["measure"], "until": until}
    assert Matrix.model_validate(asked).measure.until == until

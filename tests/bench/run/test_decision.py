"""Launching where it is undecided: what is stopped, and how seldom wrongly."""

from __future__ import annotations

import random

import pytest

from deploymark.bench.matrix.schema import Matrix
from deploymark.bench.records.run import Run
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
    decision = Decision(settings, lambda seen, _: run_of(settings, seen, list(latencies)), looks=6)
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


def test_a_leader_is_scored_before_others_are_given_up_for_it() -> None:
    draw = random.Random(0)  # noqa: S311 - no secret
    latencies = {"fast": 2.0, "near": 2.3, "far": 9.0}
    launches = {name: [record(name, 0, value, draw)] for name, value in latencies.items()}
    decision = Decision(matrix(), lambda seen, _: run_of(matrix(), seen, list(latencies)), looks=6)
    assert decision.look(1, launches, pending={"fast", "near", "far"}) == "fast"
    assert not decision.closed
    assert decision.look(1, launches, pending={"near", "far"}) is None
    assert set(decision.closed) == {"far"}
    assert decision.closed["far"].startswith("stopped after 1 launch, not scored: cannot win: ")


def test_an_fp32_cell_is_scored_before_anything_is_held_against_it() -> None:
    draw = random.Random(0)  # noqa: S311 - no secret
    launches = {name: [record(name, 0, 2.0, draw)] for name in ("a", "fp32")}

    def interim(seen: object, _: object) -> Run:
        run = run_of(matrix(), launches, list(launches))
        run.cells[1].precision, run.cells[1].variant = "fp32", "dense"
        return run

    decision = Decision(matrix(), interim, looks=6)
    assert decision.look(1, launches, pending={"a", "fp32"}) == "fp32"
    assert decision.look(1, launches, pending=set()) is None


def test_a_leader_that_failed_to_be_scored_leads_no_more() -> None:
    draw = random.Random(0)  # noqa: S311 - no secret
    launches = {name: [record(name, 0, value, draw)] for name, value in (("a", 2.0), ("b", 3.0))}
    failed = {"status": "crashed", "reason": "it died", "remedy": ""}
    launches["a"].append({**record("a", 1, 2.0, draw), **failed})
    decision = Decision(matrix(), lambda seen, _: run_of(matrix(), seen, list(launches)), looks=6)
    assert decision.look(1, launches, pending={"a", "b"}) == "b"


def test_nonsense_gets_no_further_launches() -> None:
    draw = random.Random(0)  # noqa: S311 - no secret
    launches = {name: [record(name, 0, 2.0, draw)] for name in ("a", "b", "nonsense")}

    def interim(seen: object, _: object) -> Run:
        run = run_of(matrix(), launches, list(launches))
        run.cells[2].status, run.cells[2].reason = "invalid", "outputs are not finite"
        return run

    decision = Decision(matrix(), interim, looks=6)
    assert decision.look(1, launches) is None
    assert decision.closed == {"nonsense": ""}
    assert not decision.decided


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

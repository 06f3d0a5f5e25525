from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import pytest

from deploymark.bench.matrix.validity import Validity
from deploymark.bench.records.launches import counted
from deploymark.bench.records.run import CellResult
from deploymark.bench.run.confidence import is_marked, judge, marked_cells, percent
from deploymark.bench.run.schedule import StoppingRule, counting, made

RULE = StoppingRule(least=2, most=6, target=0.01, budget_s=30.0, repeats=1)
STRICT = dataclasses.replace(RULE, marks=False)


def record(launch: int, latency_ns: int = 100, **values: Any) -> dict[str, Any]:
    known = {"launch": launch, "status": "ok", "latency_ns": [latency_ns], "duration_s": 5.0}
    return {**known, "disturbed": [], **values}


def judged(records: list[dict[str, Any]], rule: StoppingRule = RULE, status: str = "ok") -> Any:
    result = CellResult(cell="c", status=status)  # type: ignore[arg-type]
    result.disturbed = is_marked(records, rule)
    judge(result, records, rule, Validity())
    return result


def disturbed(launch: int, latency_ns: int = 100, steal_s: float = 0.5) -> dict[str, Any]:
    conditions = {"steal_s": steal_s, "busy_s": 0.5, "tick_error_s": 0.0, "wall_s": 1.0}
    reasons = ["the hypervisor withheld 50 %"]
    return record(launch, latency_ns, disturbed=reasons, conditions=conditions)


def test_a_cell_that_stays_disturbed_is_marked_and_says_by_what() -> None:
    result = judged([record(0), disturbed(1), disturbed(1)])
    assert (result.status, result.disturbed, result.warnings) == ("ok", True, [])
    assert result.reason == (
        "1 of 2 launches were disturbed: the hypervisor withheld 50 % of the processor time while "
        "timing (limit 2 %)"
    )
    assert "dedicated processors" in result.remedy


def test_the_sentence_has_the_range_of_the_launches_that_count() -> None:
    first = [disturbed(0, steal_s=0.9), disturbed(0, steal_s=0.125)]
    result = judged([*first, disturbed(1, steal_s=0.5)])
    assert result.reason.startswith("2 of 2 launches were disturbed: the hypervisor withheld 20 to")
    assert "withheld 20 to 50 % of" in result.reason


def test_a_cell_with_its_least_number_of_undisturbed_launches_is_not_marked() -> None:
    result = judged([record(0), *[disturbed(1)] * 2, record(2)])
    assert (result.status, result.disturbed, result.reason) == ("ok", False, None)
    assert not is_marked([record(0)], RULE)


@pytest.mark.parametrize("rule", [RULE, STRICT])
def test_what_makes_the_figures_is_the_same_by_the_mark_and_by_the_rule(rule: StoppingRule) -> None:
    for outcomes in itertools.product([(True,), (False,), (True, True), (True, False)], repeat=3):
        records = [
            disturbed(launch, 100 + index) if bad else record(launch, 100 + index)
            for launch, attempts in enumerate(outcomes)
            for index, bad in enumerate(attempts)
        ]
        by_mark = counted(records, disturbed=is_marked(records, rule))
        by_rule = counting(rule, [made(item) for item in records])
        if by_rule:  # by the mark there are figures of a cell that is vetoed, too
            assert [made(item) for item in by_mark] == by_rule


def test_a_run_tells_of_all_its_marked_cells_in_one_sentence() -> None:
    launches = {
        "a": [disturbed(0, steal_s=0.125)],
        "b": [disturbed(0, steal_s=0.5)],
        "c": [record(0)],
    }
    results = [CellResult(name, "ok", disturbed=name != "c") for name in launches]
    assert marked_cells(results, launches, Validity()) == (
        "2 of 3 cells are marked disturbed: the hypervisor withheld 20 to 50 % of the processor "
        "time while timing (limit 2 %)"
    )
    assert marked_cells(results[2:], launches, Validity()) == ""


def test_under_the_veto_a_cell_that_stays_disturbed_is_invalid_and_says_why() -> None:
    result = judged([record(0), disturbed(1), disturbed(1)], STRICT)
    assert not result.disturbed
    assert result.status == "invalid"
    assert result.reason == (
        "launch 2 was disturbed in each of 2 attempts: the hypervisor withheld 50 %"
    )
    assert "dedicated processors" in result.remedy


def test_a_repeated_launch_mends_a_cell() -> None:
    assert judged([record(0), disturbed(1), record(1)], STRICT).status == "ok"


def test_a_further_launch_that_stays_disturbed_spoils_nothing() -> None:
    result = judged([record(0), record(1), disturbed(2), disturbed(2)], STRICT)
    assert (result.status, result.warnings) == ("ok", [])


def test_a_failure_is_not_told_as_a_disturbance() -> None:
    records = [disturbed(0), record(0, status="crashed")]
    assert judged(records, status="crashed").status == "crashed"


def test_an_interval_far_wider_than_the_target_is_warned_of() -> None:
    (warning,) = judged([record(0, 100), record(1, 106)] * 2).warnings
    assert warning == "±5.4 % after 4 launches and 20 s; the target is ±1 %"


@pytest.mark.parametrize("target", [None, 0.01])
def test_an_interval_near_the_target_speaks_for_itself(target: float | None) -> None:
    rule = StoppingRule(least=2, most=6, target=target, budget_s=30.0, repeats=1)
    spread = 400 if target is None else 101
    assert judged([record(0, 100), record(1, spread)] * 2, rule).warnings == []


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.01, "±1 %"), (0.0312, "±3.1 %"), (0.0053, "±0.53 %"), (0.126, "±13 %"), (1.2, "±120 %")],
)
def test_widths_read_well(share: float, text: str) -> None:
    assert percent(share) == text

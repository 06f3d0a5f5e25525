from __future__ import annotations

from typing import Any

import pytest

from bench.confidence import judge, percent
from bench.results import CellResult
from bench.schedule import StoppingRule
from bench.validity import Validity

RULE = StoppingRule(least=2, most=6, target=0.01, budget_s=30.0, repeats=1)


def record(launch: int, latency_ns: int = 100, **values: Any) -> dict[str, Any]:
    known = {"launch": launch, "status": "ok", "latency_ns": [latency_ns], "duration_s": 5.0}
    return {**known, "disturbed": [], **values}


def judged(records: list[dict[str, Any]], rule: StoppingRule = RULE, status: str = "ok") -> Any:
    result = CellResult(cell="c", status=status)  # type: ignore[arg-type]
    judge(result, records, rule, Validity())
    return result


def disturbed(launch: int, latency_ns: int = 100) -> dict[str, Any]:
    conditions = {"steal_s": 0.5, "busy_s": 0.5, "tick_error_s": 0.0, "wall_s": 1.0}
    reasons = ["the hypervisor withheld 50 %"]
    return record(launch, latency_ns, disturbed=reasons, conditions=conditions)


def test_a_cell_that_stays_disturbed_is_invalid_and_says_why() -> None:
    result = judged([record(0), disturbed(1), disturbed(1)])
    assert result.status == "invalid"
    assert result.reason == (
        "launch 2 was disturbed in each of 2 attempts: the hypervisor withheld 50 %"
    )
    assert "dedicated processors" in result.remedy


def test_a_repeated_launch_mends_a_cell() -> None:
    assert judged([record(0), disturbed(1), record(1)]).status == "ok"


def test_a_further_launch_that_stays_disturbed_spoils_nothing() -> None:
    result = judged([record(0), record(1), disturbed(2), disturbed(2)])
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

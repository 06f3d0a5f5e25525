from __future__ import annotations

from typing import Any

import pytest

from deploymark.bench.records.launches import went_well
from deploymark.bench.run.retries import may_have_gone, remembered, told_of_retries
from deploymark.bench.run.schedule import (
    LaunchSlot,
    StoppingRule,
    forgiven,
    is_over,
    made,
    next_slot,
)

RULE = StoppingRule(least=2, most=2, target=None, budget_s=1.0, repeats=0)


def line(
    status: str, reason: str = "", launch: int = 0, attempt: int = 0, **more: Any
) -> dict[str, Any]:
    figures = {"latency_ns": [1_000_000]} if status == "ok" else {}
    head = {"cell": "a", "launch": launch, "attempt": attempt, "status": status, "reason": reason}
    return {**head, "outside": False, "disturbed": [], **figures, **more}


KILLED = line("crashed", "the process was killed from outside (SIGKILL)", outside=True)


@pytest.mark.parametrize(
    ("records", "limited", "gone"),
    [
        ([KILLED], False, {0}),
        ([line("timeout", "no end after 300 s")], False, {0}),
        ([line("load_failed", "ONNX: [Errno 28] No space left on device")], False, {0}),
        ([line("out_of_memory", "bad_alloc")], False, {0}),
        ([line("out_of_memory", "bad_alloc")], True, set()),
        ([line("crashed", "SIGSEGV")], False, {0}),
        ([line("crashed", "SIGSEGV"), line("crashed", "SIGSEGV", attempt=1)], False, set()),
        ([line("crashed", "SIGSEGV"), line("crashed", "SIGABRT", attempt=1)], False, {0, 1}),
        ([line("load_failed", "no such layer")], False, set()),
        ([line("ok"), KILLED | {"launch": 1}], False, {1}),
    ],
)
def test_what_a_resumed_run_makes_again(
    records: list[dict[str, Any]], limited: bool, gone: set[int]
) -> None:
    assert may_have_gone(records, limited=limited) == gone


def test_a_launch_killed_from_outside_is_made_again_twice_and_no_more() -> None:
    attempts = [made(KILLED | {"attempt": number}) for number in range(3)]
    assert next_slot("a", RULE, attempts[:1]) == LaunchSlot("a", 0, 1)
    assert next_slot("a", RULE, attempts[:2]) == LaunchSlot("a", 0, 2)
    assert next_slot("a", RULE, attempts) is None
    assert is_over(attempts)


def test_a_failure_ends_a_cell_until_the_run_is_resumed() -> None:
    records = [line("ok"), line("timeout", "no end after 300 s", launch=1)]
    before = [made(record) for record in records]
    assert next_slot("a", RULE, before) is None
    resumed = forgiven(before, may_have_gone(records, limited=False))
    assert next_slot("a", RULE, resumed) == LaunchSlot("a", 1, 1)
    again = [*resumed, made(line("ok", launch=1, attempt=1))]
    assert next_slot("a", RULE, again) is None


def test_attempts_that_were_made_again_are_told() -> None:
    assert told_of_retries([line("ok"), line("timeout", "slow", launch=1)]) == []
    (told,) = told_of_retries([KILLED, line("ok", attempt=1)])
    assert told.startswith("1 launch was made again after a failure: crashed: the process was kill")


def test_a_resumed_pass_starts_without_what_may_have_gone() -> None:
    refused = line("load_failed", "no such layer", launch=1)
    assert remembered([line("ok"), KILLED, refused], limited=False) == [line("ok"), refused]


def test_a_cell_went_well_whose_launch_was_made_again() -> None:
    again = line("ok", attempt=1)
    assert went_well([KILLED, again])
    assert not went_well([again, line("load_failed", launch=1)])
    assert not went_well([])


def test_a_launch_whose_line_was_set_aside_is_made_again_first() -> None:
    left = [made(line("ok", launch=1))]
    assert next_slot("a", RULE, left) == LaunchSlot("a", 0)
    assert next_slot("a", RULE, [*left, made(line("ok"))]) is None

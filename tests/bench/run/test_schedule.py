from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploymark.bench.run.schedule import (
    LaunchSlot,
    Made,
    StoppingRule,
    counting,
    made,
    next_round,
    next_slot,
    reached,
    spent_s,
    sure_launches,
    why_no_repeats,
)
from deploymark.bench.statistics.intervals import half_width

FIXED = StoppingRule(least=3, most=3, target=None, budget_s=1.0, repeats=0)
ADAPTIVE = StoppingRule(least=2, most=6, target=0.01, budget_s=100.0, repeats=2)
STRICT = dataclasses.replace(ADAPTIVE, marks=False)

NAMES = st.sets(st.text("abcdef", min_size=1, max_size=3), min_size=1, max_size=5)
RULES = st.builds(
    StoppingRule,
    least=st.integers(1, 4),
    most=st.integers(1, 8),
    target=st.none() | st.sampled_from([0.001, 0.01, 0.1]),
    budget_s=st.sampled_from([1.0, 5.0, 20.0]),
    repeats=st.integers(0, 2),
)
OUTCOMES = st.tuples(
    st.floats(0.9e6, 1.1e6), st.floats(0.1, 3.0), st.integers(0, 9), st.integers(0, 19)
)
RESTLESS = st.integers(1, 10)
"""Of ten launches, how many are disturbed."""


def launched(launch: int, median_ns: float | None = 1e6, **values: object) -> Made:
    known = {"ok": median_ns is not None, "disturbed": False, "duration_s": 1.0}
    return Made(launch=launch, median_ns=median_ns, **(known | values))  # type: ignore[arg-type]


Outcome = Callable[[LaunchSlot], Made]


def outcome_of(table: list[tuple[float, float, int, int]], restless: int) -> Outcome:
    """What a launch comes to, by its slot alone: some are disturbed, one in twenty fails."""

    def outcome(slot: LaunchSlot) -> Made:
        place = sum(map(ord, slot.cell)) + 7 * slot.launch + 3 * slot.attempt
        median_ns, duration_s, disturbed, failed = table[place % len(table)]
        if failed == 0:
            return launched(slot.launch, None, duration_s=duration_s)
        is_disturbed = disturbed < restless
        return launched(slot.launch, median_ns, duration_s=duration_s, disturbed=is_disturbed)

    return outcome


def run(
    rules: dict[str, StoppingRule],
    outcome: Outcome,
    *,
    launches: dict[str, list[Made]] | None = None,
    stop_after: int | None = None,
) -> list[LaunchSlot]:
    """The slots of a whole run, or of its beginning; ``launches`` are those made before."""
    launches = {} if launches is None else launches
    slots: list[LaunchSlot] = []
    while round_ := next_round(rules, launches, 7):
        if len(slots) == stop_after:
            return slots
        slot = round_[0]
        slots.append(slot)
        launches.setdefault(slot.cell, []).append(outcome(slot))
    return slots


def with_veto(rules: dict[str, StoppingRule]) -> dict[str, StoppingRule]:
    return {cell: dataclasses.replace(rule, marks=False) for cell, rule in rules.items()}


runs = given(
    st.dictionaries(st.text("abcdef", min_size=1, max_size=3), RULES, min_size=1, max_size=5),
    st.lists(OUTCOMES, min_size=1, max_size=40),
    RESTLESS,
    st.booleans(),
)


@runs
def test_a_run_makes_no_launch_twice_and_keeps_to_its_rules(
    rules: dict[str, StoppingRule],
    table: list[tuple[float, float, int, int]],
    restless: int,
    veto: bool,
) -> None:
    rules = with_veto(rules) if veto else rules
    launches: dict[str, list[Made]] = {}
    slots = run(rules, outcome_of(table, restless), launches=launches)
    bound = sum(max(rule.least, rule.most) * (rule.repeats + 1) for rule in rules.values())
    assert len(slots) <= bound
    assert len(set(slots)) == len(slots)
    assert [slot.round for slot in slots] == sorted(slot.round for slot in slots)
    for cell, rule in rules.items():
        of_cell = launches[cell]
        numbers = [launch.launch for launch in of_cell]
        assert max(numbers) < max(rule.least, rule.most)
        assert max(Counter(numbers).values()) <= rule.repeats + 1
        assert all(launch.ok for launch in of_cell[:-1]), "nothing follows a failure"
        for index, launch in enumerate(of_cell):
            if launch.launch < rule.least:
                continue
            before = of_cell[:index]
            assert rule.target is not None
            assert sum(made.duration_s for made in before) < rule.budget_s
            width = reached(rule, before)
            assert width is None or width > rule.target, "stops as soon as the target is met"
        stays_disturbed = [launch for launch in of_cell if launch.launch == numbers[-1]]
        vetoed = rule.marks is False and all(launch.disturbed for launch in stays_disturbed)
        slow = len(set(numbers)) >= 2 and spent_s(of_cell) >= 2 * rule.budget_s
        given_up = slow and rule.marks and why_no_repeats(rules, launches)
        if all(launch.ok for launch in of_cell) and not vetoed and not given_up:
            assert numbers[-1] >= rule.least - 1, "the least number is made"


@runs
def test_a_run_that_was_stopped_goes_on_as_it_would_have(
    rules: dict[str, StoppingRule],
    table: list[tuple[float, float, int, int]],
    restless: int,
    veto: bool,
) -> None:
    rules, outcome = with_veto(rules) if veto else rules, outcome_of(table, restless)
    whole = run(rules, outcome)
    for stop_after in {0, 1, len(whole) // 3, len(whole) // 2, len(whole) - 1}:
        launches: dict[str, list[Made]] = {}
        first = run(rules, outcome, launches=launches, stop_after=stop_after)
        assert first + run(rules, outcome, launches=launches) == whole


@runs
def test_repeats_that_were_given_up_stay_given_up(
    rules: dict[str, StoppingRule],
    table: list[tuple[float, float, int, int]],
    restless: int,
    veto: bool,
) -> None:
    rules, outcome = with_veto(rules) if veto else rules, outcome_of(table, restless)
    launches: dict[str, list[Made]] = {}
    given_up = False
    for slot in run(rules, outcome):
        assert not (given_up and slot.attempt)
        launches.setdefault(slot.cell, []).append(outcome(slot))
        now_given_up = bool(why_no_repeats(rules, launches))
        assert now_given_up or not given_up
        given_up = now_given_up
    assert not (given_up and veto)


@given(
    st.dictionaries(st.text("abcdef", min_size=1, max_size=3), RULES, min_size=1, max_size=5),
    st.lists(OUTCOMES, min_size=1, max_size=40),
)
def test_the_veto_makes_no_difference_where_nothing_is_disturbed(
    rules: dict[str, StoppingRule], table: list[tuple[float, float, int, int]]
) -> None:
    outcome = outcome_of(table, restless=0)
    assert run(rules, outcome) == run(with_veto(rules), outcome)


@given(NAMES)
def test_without_a_target_every_cell_has_its_launches_in_rounds(names: set[str]) -> None:
    slots = run(dict.fromkeys(names, FIXED), lambda slot: launched(slot.launch))
    assert len(slots) == 3 * len(names)
    for number in range(3):
        inside = slots[number * len(names) : (number + 1) * len(names)]
        assert {slot.cell for slot in inside} == names
        assert {slot.round for slot in inside} == {(number, 0)}


@given(NAMES)
def test_the_order_is_the_seeds_alone(names: set[str]) -> None:
    rules = dict.fromkeys(sorted(names), FIXED)
    turned = dict(reversed(rules.items()))
    assert next_round(rules, {}, 3) == next_round(turned, {}, 3)


def test_rounds_differ_and_seeds_differ() -> None:
    rules = dict.fromkeys("abcdefgh", FIXED)
    first = [slot.cell for slot in next_round(rules, {}, 0)]
    once = {cell: [launched(0)] for cell in rules}
    assert [slot.cell for slot in next_round(rules, once, 0)] != first
    assert [slot.cell for slot in next_round(rules, {}, 1)] != first


def test_further_launches_are_for_the_cells_that_need_them() -> None:
    rules = dict.fromkeys("ab", ADAPTIVE)
    launches = {
        "a": [launched(0, 1e6), launched(1, 1.0001e6)],
        "b": [launched(0, 1e6), launched(1, 1.1e6)],
    }
    assert next_round(rules, launches, 0) == [LaunchSlot("b", 2)]


@pytest.mark.parametrize(
    ("rule", "more"),
    [
        (ADAPTIVE, True),
        (dataclasses.replace(ADAPTIVE, target=None), False),
        (dataclasses.replace(ADAPTIVE, most=2), False),
        (dataclasses.replace(ADAPTIVE, budget_s=2.0), False),
        (dataclasses.replace(ADAPTIVE, target=0.9), False),
        (dataclasses.replace(ADAPTIVE, least=3, most=2), True),
    ],
)
def test_what_ends_the_launches_of_a_cell(rule: StoppingRule, more: bool) -> None:
    slot = next_slot("a", rule, [launched(0, 1e6), launched(1, 1.1e6)])
    assert slot == (LaunchSlot("a", 2) if more else None)


def test_a_disturbed_launch_is_repeated_at_the_end_of_its_round() -> None:
    rules = dict.fromkeys("ab", ADAPTIVE)
    launches = {"a": [launched(0, disturbed=True)]}
    assert next_round(rules, launches, 0) == [LaunchSlot("b", 0)]
    launches["b"] = [launched(0)]
    assert next_round(rules, launches, 0) == [LaunchSlot("a", 0, 1)]
    launches["a"].append(launched(0))
    assert {slot.round for slot in next_round(rules, launches, 0)} == {(1, 0)}


def test_a_launch_that_stays_disturbed_is_followed_by_the_next() -> None:
    disturbed = [launched(0, disturbed=True)] * 3
    assert next_slot("a", ADAPTIVE, disturbed[:2]) == LaunchSlot("a", 0, 2)
    assert next_slot("a", ADAPTIVE, disturbed) == LaunchSlot("a", 1)
    assert next_slot("a", ADAPTIVE, disturbed[:1], repeat=False) == LaunchSlot("a", 1)


def test_nothing_follows_one_under_the_veto() -> None:
    disturbed = [launched(0, disturbed=True)] * 3
    assert next_slot("a", STRICT, disturbed[:2]) == LaunchSlot("a", 0, 2)
    assert next_slot("a", STRICT, disturbed) is None


def test_further_launches_keep_to_the_budget_though_all_are_disturbed() -> None:
    rule = dataclasses.replace(ADAPTIVE, budget_s=4.0)
    disturbed = [launched(number, (1 + number) * 1e6, disturbed=True) for number in range(4)]
    assert next_slot("a", rule, disturbed[:3], repeat=False) == LaunchSlot("a", 3)
    assert next_slot("a", rule, disturbed, repeat=False) is None


def test_disturbed_launches_have_no_say_in_the_interval_where_enough_are_not() -> None:
    launches = [launched(0, 1e6), launched(1, 5e6, disturbed=True), launched(1, 1.1e6)]
    assert reached(STRICT, launches) == reached(ADAPTIVE, launches) == half_width([1e6, 1.1e6])
    assert reached(STRICT, launches[:2]) is None
    assert reached(ADAPTIVE, launches[:2]) == half_width([1e6, 5e6])
    attempts = [launched(1, time, disturbed=True) for time in (5e6, 4e6)]
    assert counting(ADAPTIVE, [launches[0], *attempts]) == [launches[0], attempts[1]]
    assert counting(STRICT, [launches[0], *attempts]) == launches[:1]


def all_disturbed(cells: str, attempts: int = 1) -> dict[str, list[Made]]:
    return {cell: [launched(0, disturbed=True)] * attempts for cell in cells}


def test_repeats_are_given_up_where_all_first_launches_were_disturbed() -> None:
    rules = dict.fromkeys("abcd", ADAPTIVE)
    assert why_no_repeats(rules, all_disturbed("abcd")) == (
        "the first launches of all 4 cells were disturbed: repeating them is pointless, they are "
        "counted and marked"
    )
    assert {slot.round for slot in next_round(rules, all_disturbed("abcd"), 0)} == {(1, 0)}
    one_calm = {**all_disturbed("abc"), "d": [launched(0)]}
    for launches in (all_disturbed("abc"), one_calm):
        assert not why_no_repeats(rules, launches)
    assert not why_no_repeats(dict.fromkeys("abc", ADAPTIVE), all_disturbed("abc")), "too few"
    failed = {**all_disturbed("abcd"), "e": [launched(0, None)]}
    assert why_no_repeats(dict.fromkeys("abcde", ADAPTIVE), failed), "a failure says nothing"


def test_repeats_are_given_up_where_most_were_disturbed_again() -> None:
    rules = dict.fromkeys("abc", ADAPTIVE)
    assert not why_no_repeats(rules, {**all_disturbed("ab", 3), "c": [launched(0)]})
    again = {**all_disturbed("ab", 3), "c": [launched(0, disturbed=True), launched(0)]}
    assert not why_no_repeats(rules, {**again, "a": again["c"]})
    again["c"].insert(1, again["c"][0])
    assert why_no_repeats(rules, again).startswith("5 of 6 repeats were disturbed again: ")


def test_the_veto_and_a_matrix_without_repeats_give_up_nothing() -> None:
    for rule in (STRICT, dataclasses.replace(ADAPTIVE, repeats=0)):
        assert not why_no_repeats(dict.fromkeys("abcd", rule), all_disturbed("abcd"))


def test_the_launches_that_are_sure_to_come_are_counted() -> None:
    rules = {"a": FIXED, "b": FIXED, "c": ADAPTIVE}
    launches = {"a": [launched(0)], "b": [launched(0, None)]}
    assert sure_launches(rules, launches) == 2 + 0 + 2


def test_a_record_of_an_older_run_reads_as_undisturbed() -> None:
    record = {"launch": 1, "status": "ok", "latency_ns": [3, 1, 2], "duration_s": 0.5}
    assert made(record) == Made(1, ok=True, disturbed=False, duration_s=0.5, median_ns=2)
    failed = {"launch": 1, "status": "timeout", "duration_s": 9.0}
    assert made(failed).median_ns is None

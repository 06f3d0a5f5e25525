"""Which launches come next: interleaved rounds in a seeded random order, until a cell has enough.

A machine drifts (heat, neighbours, clocks). Interleaving lets the drift hit every cell alike, as
randomised complete blocks do (Montgomery, Design and Analysis of Experiments, ch. 4).

A cell has a least number of launches; further ones are made while the interval of its median is
wider than the target. Stopping at a width is sequential estimation (Chow and Robbins, On the
asymptotic theory of fixed-width sequential confidence intervals for the mean, Annals of
Mathematical Statistics 36(2), 1965): it keeps the coverage as the target becomes small against the
spread of the launches.

Disturbed launches are repeated, unless that is pointless (``why_no_repeats``). A launch that was
disturbed in all of its attempts counts where the run marks disturbed cells, and the next one
follows; where it vetoes them, none does.

A launch that was killed from outside is made again, within a limit; so is, when a run is resumed,
one that failed for a reason that may have gone. What comes next follows from the launches made so
far, and else from nothing, so that a run that was stopped goes on as it would have gone.
"""

from __future__ import annotations

import dataclasses
import itertools
import random
import statistics
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from deploymark.bench.statistics.intervals import half_width

_FIRST_LAUNCHES = 4
"""First launches from which all of them disturbed says that the machine is never quiet.

Were half of all launches disturbed, one run in 16 would be told so by chance."""

_REPEATS = 6
_DISTURBED_AGAIN = 0.75
"""Repeats, and the share of them disturbed again, from which they are given up.

Where half of the launches are disturbed a repeat is worth its time, and it takes 5 or more of 6 to
give them up: one run in 9 does so at the sixth. Where 9 in 10 are, 8 runs in 9 have stopped by it.
"""

_KILLED_AGAIN = 2
"""Launches of a cell that are made again as they were killed from outside. What kills three workers
will kill the fourth."""

_LEAST_LAUNCHES = 2
_OVER_BUDGET = 2
"""Launches that do, and times the budget that they must have taken, on a machine that is never
quiet: two are the fewest that have an interval."""


@dataclasses.dataclass(frozen=True)
class LaunchSlot:
    """One launch to be made: which of the cell's launches it is, and which attempt at it, from 0.

    A launch that was disturbed is made again as a further attempt.
    """

    cell: str
    launch: int
    attempt: int = 0

    @property
    def round(self) -> tuple[int, int]:
        """What slots that are interleaved have in common; rounds come in this order."""
        return self.launch, self.attempt


@dataclasses.dataclass(frozen=True)
class StoppingRule:
    """When a cell has enough launches.

    At least ``least`` of them, then at most ``most`` until the half-width of the median's interval
    is within ``target`` (relative; None asks for no more) or launches have taken ``budget_s``
    seconds. A disturbed launch is repeated up to ``repeats`` times. ``marks`` tells whether one
    that stays disturbed counts, or whether the cell is given up.
    """

    least: int
    most: int
    target: float | None
    budget_s: float
    repeats: int
    marks: bool = True


def most_launches(rule: StoppingRule) -> int:
    """The most launches that a cell may have, repeats aside."""
    return rule.least if rule.target is None else max(rule.least, rule.most)


@dataclasses.dataclass(frozen=True)
class Made:
    """One launch that was made. ``median_ns`` is that of its inferences, None where it failed.

    ``outside`` tells that it was killed from outside; ``forgiven``, that it failed before the run
    was resumed, for a reason that may have gone.
    """

    launch: int
    ok: bool
    disturbed: bool
    duration_s: float
    median_ns: float | None
    outside: bool = False
    forgiven: bool = False


def made(record: Mapping[str, Any]) -> Made:
    """A line of ``launches.jsonl`` as the schedule sees it."""
    ok = record["status"] == "ok"
    return Made(
        launch=record["launch"],
        ok=ok,
        disturbed=bool(record.get("disturbed")),
        duration_s=record.get("duration_s", 0.0),
        median_ns=statistics.median(record["latency_ns"]) if ok else None,
        outside=bool(record.get("outside")),
    )


def forgiven(launches: Sequence[Made], gone: Collection[int]) -> list[Made]:
    """The launches of a cell, those whose index is in ``gone`` to be made again."""
    return [
        dataclasses.replace(launch, forgiven=index in gone) for index, launch in enumerate(launches)
    ]


def is_over(launches: Sequence[Made]) -> bool:
    """Whether a failure ends a cell: one that was not made again, and will not be."""
    failed = [launch for launch in launches if not launch.ok and not launch.forgiven]
    if len(failed) > _KILLED_AGAIN:
        return True
    return any(not launch.outside for launch in failed)


def spent_s(launches: Sequence[Made]) -> float:
    """Seconds that the launches took, disturbed ones too."""
    return sum(launch.duration_s for launch in launches)


def counting(rule: StoppingRule, launches: Sequence[Made]) -> list[Made]:
    """The launches of a cell that make its figures so far.

    The undisturbed ones where they reach the least number, or where the rule vetoes others. Else
    each launch by its last attempt, which is the undisturbed one where there is one.
    """
    done = [launch for launch in launches if launch.ok]
    calm = [launch for launch in done if not launch.disturbed]
    if len(calm) >= rule.least or not rule.marks:
        return calm
    return list({launch.launch: launch for launch in done}.values())


def reached(rule: StoppingRule, launches: Sequence[Made]) -> float | None:
    """Relative half-width of the median's interval so far; None below two launches that count."""
    medians = [launch.median_ns for launch in counting(rule, launches)]
    return half_width([median_ns for median_ns in medians if median_ns is not None])


def why_no_repeats(
    rules: Mapping[str, StoppingRule], launches: Mapping[str, Sequence[Made]]
) -> str:
    """Why disturbed launches are repeated no more, a sentence; empty as long as they are.

    A repeat is made in the hope that what disturbed has passed. On a machine that is never quiet it
    costs as much as a launch and brings none that is undisturbed. That is so where the first
    launches of all cells were disturbed, ``_FIRST_LAUNCHES`` of them at least: they lie as far
    apart as a round is long. Or where most repeats were disturbed again. Neither is unsaid by what
    follows: there is one first launch a cell, and no repeat is made any more. A launch that failed
    says nothing.
    """
    if not any(rule.marks and rule.repeats for rule in rules.values()):
        return ""
    first = [of_cell[0] for cell in rules if (of_cell := launches.get(cell))]
    told = [launch.disturbed for launch in first if launch.ok]
    if len(first) == len(rules) and len(told) >= _FIRST_LAUNCHES and all(told):
        return (
            f"the first launches of all {len(told)} cells were disturbed: repeating them is "
            "pointless, they are counted and marked"
        )
    again = [
        launch.disturbed
        for of_cell in launches.values()
        for before, launch in itertools.pairwise(of_cell)
        if launch.ok and launch.launch == before.launch
    ]
    if len(again) >= _REPEATS and sum(again) >= _DISTURBED_AGAIN * len(again):
        return (
            f"{sum(again)} of {len(again)} repeats were disturbed again: more of them are "
            "pointless, disturbed launches are counted and marked"
        )
    return ""


def next_slot(
    cell: str, rule: StoppingRule, launches: Sequence[Made], *, repeat: bool = True
) -> LaunchSlot | None:
    """The next launch of one cell, or None where it has enough or will have no more.

    One that is missing among them comes first. No more follow one that failed (``is_over``), nor,
    where the rule vetoes it, one that was disturbed in all of its attempts. ``repeat`` tells
    whether a disturbed launch is worth repeating. Where it is not, a cell whose launches have taken
    ``_OVER_BUDGET`` times its budget has enough with ``_LEAST_LAUNCHES``: threads that wait for
    each other beside a busy process take minutes for what takes seconds, and more of the same
    tells nothing new.
    """
    if is_over(launches):
        return None
    there = {launch.launch for launch in launches}
    number = max(there, default=-1)
    # a damaged line of a launch was set aside
    if (missing := next((one for one in range(number) if one not in there), None)) is not None:
        return LaunchSlot(cell, missing)
    attempts = [launch for launch in launches if launch.launch == number]
    if attempts and not attempts[-1].ok:
        return LaunchSlot(cell, number, len(attempts))
    failed = sum(not attempt.ok for attempt in attempts)
    disturbed = bool(attempts) and all(item.disturbed for item in attempts if item.ok)
    if disturbed and rule.marks and not repeat and _is_over_budget(rule, launches):
        return None
    if disturbed and repeat and len(attempts) - failed <= rule.repeats:
        slot = LaunchSlot(cell, number, len(attempts))
    elif disturbed and not rule.marks:
        return None
    else:
        slot = LaunchSlot(cell, number + 1)
    return slot if slot.launch < rule.least or _wants_more(rule, launches, slot) else None


def _is_over_budget(rule: StoppingRule, launches: Sequence[Made]) -> bool:
    """Whether launches are so slow, on a machine that is never quiet, that two have to do."""
    enough = len({launch.launch for launch in launches}) >= _LEAST_LAUNCHES
    return enough and spent_s(launches) >= _OVER_BUDGET * rule.budget_s


def _wants_more(rule: StoppingRule, launches: Sequence[Made], slot: LaunchSlot) -> bool:
    """Whether a launch beyond the least number is worth making."""
    if rule.target is None or slot.launch >= rule.most or spent_s(launches) >= rule.budget_s:
        return False
    width = reached(rule, launches)
    return width is None or width > rule.target


def _next_slots(
    rules: Mapping[str, StoppingRule], launches: Mapping[str, Sequence[Made]]
) -> dict[str, LaunchSlot]:
    repeat = not why_no_repeats(rules, launches)
    slots = {
        cell: next_slot(cell, rule, launches.get(cell, ()), repeat=repeat)
        for cell, rule in rules.items()
    }
    return {cell: slot for cell, slot in slots.items() if slot is not None}


def _open_slots(
    rules: Mapping[str, StoppingRule],
    launches: Mapping[str, Sequence[Made]],
    closed: Collection[str],
) -> dict[str, LaunchSlot]:
    slots = _next_slots(rules, launches)
    return {cell: slot for cell, slot in slots.items() if cell not in closed}


def sure_launches(
    rules: Mapping[str, StoppingRule],
    launches: Mapping[str, Sequence[Made]],
    closed: Collection[str] = (),
) -> int:
    """How many launches are to come at least, as long as none fails, is disturbed or decided."""
    return _sure(rules, _open_slots(rules, launches, closed))


def _sure(rules: Mapping[str, StoppingRule], slots: Mapping[str, LaunchSlot]) -> int:
    return sum(max(1, rules[cell].least - slot.launch) for cell, slot in slots.items())


def next_round(
    rules: Mapping[str, StoppingRule],
    launches: Mapping[str, Sequence[Made]],
    seed: int,
    closed: Collection[str] = (),
) -> list[LaunchSlot]:
    """The next launches to be made, at most one a cell; empty at the end. None of ``closed`` cells.

    All of them are the same launch and attempt, the earliest that any cell waits for: repeats come
    at the end of their round, when what disturbed may have passed. The order depends on the seed,
    the round and the ids of all cells, and not on which of them still want a launch.
    """
    return upcoming(rules, launches, seed, closed)[0]


def upcoming(
    rules: Mapping[str, StoppingRule],
    launches: Mapping[str, Sequence[Made]],
    seed: int,
    closed: Collection[str] = (),
) -> tuple[list[LaunchSlot], int]:
    """What ``next_round`` and ``sure_launches`` say, looked at once."""
    slots = _open_slots(rules, launches, closed)
    return _round_of(rules, slots, seed), _sure(rules, slots)


def _round_of(
    rules: Mapping[str, StoppingRule], slots: Mapping[str, LaunchSlot], seed: int
) -> list[LaunchSlot]:
    if not slots:
        return []
    first = min(slot.round for slot in slots.values())
    order = sorted(rules)
    # A string seeds the generator the same way in every process (Random.seed, version 2).
    random.Random(f"{seed}/{first}").shuffle(order)  # noqa: S311 - no secret
    return [slots[cell] for cell in order if cell in slots and slots[cell].round == first]

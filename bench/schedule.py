"""Which launches come next: interleaved rounds in a seeded random order, until a cell has enough.

A machine drifts (heat, neighbours, clocks). Interleaving lets the drift hit every cell alike, as
randomised complete blocks do (Montgomery, Design and Analysis of Experiments, ch. 4).

A cell has a least number of launches; further ones are made while the interval of its median is
wider than the target. Stopping at a width is sequential estimation (Chow and Robbins, On the
asymptotic theory of fixed-width sequential confidence intervals for the mean, Annals of
Mathematical Statistics 36(2), 1965): it keeps the coverage as the target becomes small against the
spread of the launches.

What comes next follows from the launches made so far and nothing else, so that a run that was
stopped goes on as it would have gone.
"""

from __future__ import annotations

import dataclasses
import random
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from bench.intervals import half_width


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
    seconds. A disturbed launch is repeated up to ``repeats`` times.
    """

    least: int
    most: int
    target: float | None
    budget_s: float
    repeats: int


@dataclasses.dataclass(frozen=True)
class Made:
    """One launch that was made. ``median_ns`` is that of its inferences, None where it failed."""

    launch: int
    ok: bool
    disturbed: bool
    duration_s: float
    median_ns: float | None


def made(record: Mapping[str, Any]) -> Made:
    """A line of ``launches.jsonl`` as the schedule sees it."""
    ok = record["status"] == "ok"
    return Made(
        launch=record["launch"],
        ok=ok,
        disturbed=bool(record.get("disturbed")),
        duration_s=record.get("duration_s", 0.0),
        median_ns=statistics.median(record["latency_ns"]) if ok else None,
    )


def spent_s(launches: Sequence[Made]) -> float:
    """Seconds that the launches took, disturbed ones too."""
    return sum(launch.duration_s for launch in launches)


def reached(launches: Sequence[Made]) -> float | None:
    """Relative half-width of the median's interval so far; None below two undisturbed launches."""
    return half_width(
        [
            launch.median_ns
            for launch in launches
            if launch.median_ns is not None and not launch.disturbed
        ]
    )


def next_slot(cell: str, rule: StoppingRule, launches: Sequence[Made]) -> LaunchSlot | None:
    """The next launch of one cell, or None where it has enough or will have no more.

    No more follow one that failed, or one that was disturbed in all of its attempts.
    """
    if any(not launch.ok for launch in launches):
        return None
    number = max((launch.launch for launch in launches), default=-1)
    attempts = [launch for launch in launches if launch.launch == number]
    if not attempts or any(not attempt.disturbed for attempt in attempts):
        slot = LaunchSlot(cell, number + 1)
    elif len(attempts) <= rule.repeats:
        slot = LaunchSlot(cell, number, len(attempts))
    else:
        return None
    return slot if slot.launch < rule.least or _wants_more(rule, launches, slot) else None


def _wants_more(rule: StoppingRule, launches: Sequence[Made], slot: LaunchSlot) -> bool:
    """Whether a launch beyond the least number is worth making."""
    if rule.target is None or slot.launch >= rule.most or spent_s(launches) >= rule.budget_s:
        return False
    width = reached(launches)
    return width is None or width > rule.target


def _next_slots(
    rules: Mapping[str, StoppingRule], launches: Mapping[str, Sequence[Made]]
) -> dict[str, LaunchSlot]:
    slots = {cell: next_slot(cell, rule, launches.get(cell, ())) for cell, rule in rules.items()}
    return {cell: slot for cell, slot in slots.items() if slot is not None}


def sure_launches(rules: Mapping[str, StoppingRule], launches: Mapping[str, Sequence[Made]]) -> int:
    """How many launches are to come at least, as long as none fails or is disturbed."""
    slots = _next_slots(rules, launches)
    return sum(max(1, rules[cell].least - slot.launch) for cell, slot in slots.items())


def next_round(
    rules: Mapping[str, StoppingRule], launches: Mapping[str, Sequence[Made]], seed: int
) -> list[LaunchSlot]:
    """The next launches to be made, at most one a cell; empty at the end.

    All of them are the same launch and attempt, the earliest that any cell waits for: repeats come
    at the end of their round, when what disturbed may have passed. The order depends on the seed,
    the round and the ids of all cells, and not on which of them still want a launch.
    """
    slots = _next_slots(rules, launches)
    if not slots:
        return []
    first = min(slot.round for slot in slots.values())
    order = sorted(rules)
    # A string seeds the generator the same way in every process (Random.seed, version 2).
    random.Random(f"{seed}/{first}").shuffle(order)  # noqa: S311 - no secret
    return [slots[cell] for cell in order if cell in slots and slots[cell].round == first]

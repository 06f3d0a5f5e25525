"""The rule: from constraints and an objective, each with its interval, to one of four outcomes.

The leader is the best cell that surely meets every constraint. Each other cell that may do so, too,
is compared with it. It is clearly worse, or at least surely not better by more than the user minds,
or else nobody knows yet. What is surely equal to the leader, to what the user minds, is a tie with
it, whichever of them is a little better. The comparisons share one error by Holm's sequentially
rejective procedure ("A simple sequentially rejective multiple test procedure", Scandinavian Journal
of Statistics 6, 1979): the clearest is judged at the error over their number, the next at that over
one fewer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from deploymark.bench.records.answer import AnswerOutcome, Estimate, Held, Standing, State

ERROR = 0.05

METHOD = (
    "t intervals of log-ratios over launches of the same rounds, and a bootstrap over the same "
    "images for mAP; 95 %, the comparisons with the leader sharing their error (Holm 1979)"
)

Cost = Callable[[str, str, float], Estimate]
"""How much worse a cell is than another, 1 being equal, at an error: ``cost(cell, leader, error)``.
"""


@dataclasses.dataclass(frozen=True)
class Entrant:
    """One cell as it enters: its constraints, its objective, and what settles ties.

    ``failed`` says why a cell has no figures; ``then`` and ``size`` (bytes) are better when lower.
    Of a ``pending`` cell figures of images are not known yet: it is taken to meet what is asked of
    them, so that it is seen whether that matters.
    """

    cell: str
    held: tuple[Held, ...]
    objective: Estimate
    then: float | None = None
    size: float | None = None
    failed: str = ""
    pending: bool = False

    @property
    def state(self) -> State:
        """Whether the cell meets all that was asked: the worst of its constraints."""
        states = {
            "met" if self.pending and not item.judged.measured else item.state for item in self.held
        }
        worst_first: tuple[State, ...] = ("not_met", "undecided", "met")
        return next((state for state in worst_first if state in states), "met")

    @property
    def violates(self) -> bool:
        """Whether a figure that was measured surely breaks a constraint."""
        return any(item.state == "not_met" and item.judged.measured for item in self.held)

    @property
    def lacking(self) -> bool:
        """Whether a figure that was asked for was not measured."""
        missing = any(not item.judged.measured for item in self.held)
        return not self.objective.measured or (missing and not self.pending)


@dataclasses.dataclass(frozen=True)
class Decision:
    """What the rule found.

    ``costs`` are of the cells compared with the leader, 1 being equal, and ``errors`` are what each
    was last judged at.
    """

    outcome: AnswerOutcome
    leader: str | None
    winner: str | None
    tie: tuple[str, ...]
    settled_by: str
    standings: Mapping[str, Standing]
    costs: Mapping[str, Estimate]
    errors: Mapping[str, float]


def decide(
    entrants: Sequence[Entrant],
    cost: Cost,
    *,
    indifference: float,
    then: str = "",
    error: float = ERROR,
) -> Decision:
    """Judge all cells. ``then`` names the figure that settles ties first, in words only.

    The comparisons share ``error``. The order of ``entrants`` does not matter. Raises nothing:
    without a cell that can be judged the outcome is ``infeasible``.
    """
    able = sorted(
        (one for one in entrants if not one.failed and not one.lacking and one.state != "not_met"),
        key=lambda one: one.cell,
    )
    standings = {one.cell: _out(one) for one in entrants if one not in able}
    if not able:
        return Decision("infeasible", None, None, (), "", standings, {}, {})
    sure = [one for one in able if one.state == "met"]
    # cost over any one cell orders as the objective does, whichever way is better
    anchor = (sure or able)[0].cell
    leader = min(
        sure or able,
        key=lambda one: (_value(cost(one.cell, anchor, ERROR)), *_settling(one)),
    ).cell
    others = [one for one in able if one.cell != leader]
    costs, errors, clear = _holm([one.cell for one in others], leader, cost, error)
    standings |= dict.fromkeys(clear, "behind")
    loose = [one for one in others if one.cell not in clear]
    blocking = [one for one in loose if not no_better(costs[one.cell], indifference)]
    standings |= {one.cell: "behind" for one in loose if one not in blocking}
    if not sure or blocking:
        standings |= dict.fromkeys((leader, *(one.cell for one in blocking)), "open")
        return Decision("undecided", leader, None, (), "", standings, costs, errors)
    costs[leader] = Estimate(1.0, 1.0, 1.0)
    tied = [one for one in sure if within(costs[one.cell], indifference)]

    def settling(one: Entrant) -> tuple[float, ...]:
        return (*_settling(one)[:2], _value(costs[one.cell]))

    ranked = sorted(tied, key=lambda one: (settling(one), one.cell))
    winner = ranked[0]
    standings |= dict.fromkeys((one.cell for one in tied), "tie")
    standings[winner.cell] = "winner"
    if len(tied) == 1:
        return Decision("best", leader, leader, (), "", standings, costs, errors)
    names, by = tuple(one.cell for one in ranked), _settled_by(ranked, settling, then)
    return Decision("tie", leader, winner.cell, names, by, standings, costs, errors)


def _out(one: Entrant) -> Standing:
    if one.failed:
        return "failed"
    if one.violates:
        return "violates"
    return "not_measured"


def _holm(
    others: Sequence[str], leader: str, cost: Cost, shared: float
) -> tuple[dict[str, Estimate], dict[str, float], set[str]]:
    """Costs beside the leader, the error that each was judged at, and who is clearly worse."""
    costs: dict[str, Estimate] = {}
    errors: dict[str, float] = {}
    clear: set[str] = set()
    rest = list(others)
    while rest:
        error = shared / len(rest)
        for cell in rest:
            costs[cell], errors[cell] = cost(cell, leader, error), error
        beaten = {cell for cell in rest if (costs[cell].low or 0.0) > 1}
        if not beaten:
            break
        clear |= beaten
        rest = [cell for cell in rest if cell not in beaten]
    return costs, errors, clear


def within(cost: Estimate, indifference: float) -> bool:
    """Whether a cell is surely as good as the leader, to what the user is indifferent to."""
    if cost.low is None or cost.high is None:
        return False
    return cost.low >= 1 / (1 + indifference) and cost.high <= 1 + indifference


def no_better(cost: Estimate, indifference: float) -> bool:
    """Whether a cell is surely not better than the leader by what the user would mind."""
    return cost.low is not None and cost.low >= 1 / (1 + indifference)


def _value(cost: Estimate) -> float:
    return float("inf") if cost.value is None else cost.value


def _settling(one: Entrant) -> tuple[float, float, str]:
    """What settles a tie: the figure that the user named, the smaller artifact, the id."""
    missing = float("inf")
    return (
        missing if one.then is None else one.then,
        missing if one.size is None else one.size,
        one.cell,
    )


def _settled_by(
    ranked: Sequence[Entrant], settling: Callable[[Entrant], tuple[float, ...]], then: str
) -> str:
    """The first of what settles a tie that tells the winner from another cell of it."""
    first, others = settling(ranked[0]), [settling(one) for one in ranked[1:]]
    for place, name in enumerate((then, "artifact_bytes", "objective")):
        if name and any(item[place] != first[place] for item in others):
            return name
    return "cell"

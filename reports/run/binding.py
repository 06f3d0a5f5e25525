"""What binds an answer: the constraint closest to its limit, and the one that keeps a cell out."""

from __future__ import annotations

from collections.abc import Sequence

from deploymark.bench.records.answer import Answer, AnswerCell, Held


def closest(cell: AnswerCell) -> Held | None:
    """The met constraint with the least room, as a share of the cell's own figure.

    A ratio's room is a share as it is. None with fewer than two to compare: one alone is no choice.
    """
    rooms = [(room, item) for item in cell.constraints if (room := _room(item)) is not None]
    if len(rooms) < 2:  # noqa: PLR2004 - two are needed to compare
        return None
    return min(rooms, key=lambda pair: pair[0])[1]


def kept_out(answer: Answer) -> tuple[AnswerCell, list[Held]] | None:
    """The best cell that breaks a measured constraint, and what it breaks.

    None unless its figure is better than that of the winner (or leader). By the measured values,
    not by their intervals: excluded cells are not compared by the rule.
    """
    named = answer.winner or answer.leader
    if named is None:
        return None
    bar = answer.cell(named).objective.value
    best = _best(
        [cell for cell in answer.cells if cell.standing == "violates"],
        maximize=answer.question.maximize,
    )
    if bar is None or best is None or best.objective.value is None:
        return None
    better = best.objective.value > bar if answer.question.maximize else best.objective.value < bar
    broken = [item for item in best.constraints if item.state == "not_met"]
    return (best, broken) if better and broken else None


def _best(cells: Sequence[AnswerCell], *, maximize: bool) -> AnswerCell | None:
    sign = -1 if maximize else 1
    known = [(sign * c.objective.value, c.cell, c) for c in cells if c.objective.value is not None]
    return min(known, key=lambda item: item[:2])[2] if known else None


def _room(item: Held) -> float | None:
    if item.state != "met" or item.judged.value is None:
        return None
    scale = 1.0 if item.kind == "ratio" else item.value.value
    return abs(item.judged.value - item.limit) / abs(scale) if scale else None

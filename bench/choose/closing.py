"""Which cells of a run on its way are out already, so that launches go where it is undecided."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping

from deploymark.bench.choose.choose import decision_of, reasons_of
from deploymark.bench.choose.table import RunTable
from deploymark.bench.records.answer import Question


@dataclasses.dataclass(frozen=True)
class Closing:
    """Why each cell is out, by cell; and whether the question is answered with that.

    ``behind`` are those of them that are out for being no better than the ``leader``. ``unscored``
    must be scored before anything can be said.
    """

    out: Mapping[str, str]
    behind: Collection[str]
    leader: str | None
    decided: bool
    unscored: str | None = None


def judge_cells(
    table: RunTable,
    question: Question,
    *,
    error: float,
    without: Collection[str] = (),
    pending: Collection[str] = (),
) -> Closing:
    """Judge the cells but those ``without``, at an error that all comparisons share.

    A cell is out where it surely violates a constraint, or is surely not better than the leader by
    what matters. Cells that failed are neither in nor out. Nor is any cell as long as the leader,
    or one tied with it, is ``pending`` its score: it may turn out not to meet what was asked.
    """
    decision = decision_of(table, question, error=error, without=without, pending=pending)
    for cell in (decision.leader, *decision.tie):
        if cell in pending:
            return Closing({}, [], None, decided=False, unscored=cell)
    reasons = reasons_of(table, question, decision)
    out = {
        cell: reasons[cell]
        for cell, standing in decision.standings.items()
        if standing in {"violates", "behind"}
    }
    behind = [cell for cell in out if decision.standings[cell] == "behind"]
    return Closing(out, behind, decision.leader, decision.outcome in {"best", "tie"})

"""Which cells get no further launches, because they cannot be the answer to the run's question.

After each round the cells are held against the leader as ``choose`` does it. One that surely
violates a constraint (sizes and mAP are known after the first launch), or is surely slower, gets no
more launches. There is a look after every round, and the error is shared among the looks: each
spends what the function of Lan and DeMets (Pocock's type) gives it and no more, which by
Bonferroni's inequality holds the error of all of them together, however they hang together. Within
a look Holm's procedure shares it among the cells.

After the first round nothing tells how launches scatter: see ``bench.choose.table.ASSUMED``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from deploymark.bench.choose.closing import judge_cells
from deploymark.bench.choose.question import question_of
from deploymark.bench.choose.table import RunTable
from deploymark.bench.matrix.constraints import parse_constraints
from deploymark.bench.matrix.schema import Matrix
from deploymark.bench.records.answer import Question
from deploymark.bench.records.launches import Record
from deploymark.bench.records.run import Run
from deploymark.bench.run.plan import Plan
from deploymark.bench.run.schedule import StoppingRule
from deploymark.bench.statistics.spending import spent

ERROR = 0.05
"""Of ever giving up the best cell, over all looks of a run."""

Interim = Callable[[Mapping[str, Sequence[Record]]], Run]
"""The results of a run from the launches made so far."""


def can_be_decided(plan: Plan) -> bool:
    """Whether launches go where the decision is open: as asked, or where a question is asked.

    Agreement is known at the end only, so a question about it lets every cell be measured.
    """
    matrix = plan.matrix
    until = matrix.measure.until or ("all" if matrix.choose is None else "decided")
    asked = matrix.choose.where if matrix.choose is not None else None
    if asked is None:
        known = all(model.dataset.labelled for model in plan.models.values())
    else:
        known = not any(item.figure == "agreement" for item in parse_constraints(asked))
    return until == "decided" and known


class Decision:
    """Looks at the launches of a run, and tells which cells are closed, and why.

    ``interim`` makes results of launches; ``looks`` is the most rounds that a run may have.
    """

    def __init__(self, matrix: Matrix, interim: Interim, looks: int) -> None:
        self._matrix = matrix
        self._interim = interim
        self._looks = max(1, looks)
        self.closed: dict[str, str] = {}
        """Why a cell gets no further launches, by cell."""
        self._behind: dict[str, str | None] = {}
        """The leader that a closed cell was no better than."""

    def look(self, number: int, launches: Mapping[str, Sequence[Record]]) -> None:
        """Judge by the first ``number`` launches of each cell, from 1; later ones count nothing."""
        seen = {
            cell: [record for record in records if record["launch"] < number]
            for cell, records in launches.items()
        }
        run = self._interim({cell: records for cell, records in seen.items() if records})
        question = question_of(self._matrix.choose, run.cells)
        table = RunTable(run, launches=seen)
        error = spent(number / self._looks, ERROR) - spent((number - 1) / self._looks, ERROR)
        self._close(table, question, error)

    def failed(self, cell: str) -> None:
        """Open the cells again that were closed for ``cell``, which has failed since."""
        for other in [one for one, leader in self._behind.items() if leader == cell]:
            del self._behind[other]
            self.closed.pop(other, None)

    def _close(self, table: RunTable, question: Question, error: float) -> None:
        judged = judge_cells(table, question, error=error, without=self.closed)
        for cell, reason in judged.out.items():
            count = table.cells[cell].launches
            times = "1 launch" if count == 1 else f"{count} launches"
            self.closed[cell] = f"stopped after {times}: cannot win: {reason}"
        self._behind |= dict.fromkeys(judged.behind, judged.leader)
        if judged.decided:
            for cell in table.cells:
                self.closed.setdefault(cell, "")


def most_rounds(rules: Mapping[str, StoppingRule]) -> int:
    """The most launches that any cell may have: as many looks there are at most."""
    counts = (rule.least if rule.target is None else rule.most for rule in rules.values())
    return max(counts, default=1)

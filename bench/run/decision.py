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

from collections.abc import Callable, Collection, Mapping, Sequence

from deploymark.backends.inputs import Size
from deploymark.bench.choose.closing import judge_cells
from deploymark.bench.choose.question import question_of
from deploymark.bench.choose.table import RunTable
from deploymark.bench.matrix.cells import is_changed
from deploymark.bench.matrix.constraints import parse_constraints
from deploymark.bench.matrix.schema import Matrix
from deploymark.bench.records.answer import Question
from deploymark.bench.records.energy import OF_ENERGY
from deploymark.bench.records.launches import Record
from deploymark.bench.records.memory import MEMORY_FIGURES
from deploymark.bench.records.reference import backend_rank
from deploymark.bench.records.run import CellResult, Run
from deploymark.bench.run.plan import Plan
from deploymark.bench.run.schedule import StoppingRule, most_launches
from deploymark.bench.statistics.spending import spent

ERROR = 0.05
"""Of ever giving up the best cell, over all looks of a run."""

KNOWN_AT_THE_END = frozenset({"agreement", "min_memory_mb", *MEMORY_FIGURES, *OF_ENERGY})
"""Figures of passes that come after the launches that time."""

Launches = Mapping[str, Sequence[Record]]

Interim = Callable[[Launches, Launches], Run]
"""The results of a run from the launches that are judged, with the boxes of all made so far."""


def can_be_decided(plan: Plan) -> bool:
    """Whether launches go where the decision is open: as asked, or where a question is asked.

    What is known at the end only lets every cell be measured where the question is about it.
    """
    matrix, choose = plan.matrix, plan.matrix.choose
    if (matrix.measure.until or ("all" if choose is None else "decided")) != "decided":
        return False
    if choose is None:
        return all(model.dataset.labelled for model in plan.models.values())
    about = {choose.minimize, choose.maximize, choose.then}
    if choose.where is None:
        labelled = all(model.dataset.labelled for model in plan.models.values())
        return labelled and not about & KNOWN_AT_THE_END
    about |= {item.figure for item in parse_constraints(choose.where)}
    return not about & KNOWN_AT_THE_END


class Decision:
    """Looks at the launches of a run, and tells which cells are closed, and why.

    ``interim`` makes results of launches; ``looks`` is the most rounds that a run may have.
    """

    def __init__(self, matrix: Matrix, interim: Interim, looks: int) -> None:
        self._matrix = matrix
        self._interim = interim
        self._looks = max(1, looks)
        self.closed: dict[str, str] = {}
        """Why a cell gets no further launches, by cell; empty where nothing more is to be known."""
        self.decided = False
        self._behind: dict[str, str | None] = {}
        """The leader that a closed cell was no better than."""

    def look(self, number: int, launches: Launches, pending: Collection[str] = ()) -> str | None:
        """Judge by the first ``number`` launches of each cell, from 1; later ones count nothing.

        Where the leader is ``pending`` its score, or the FP32 cell that others are held against,
        nothing is judged: it is returned, to be scored first, and the same look is taken again. The
        times that are judged are the same then, and it is one leader that cells are given up for,
        so no more error is spent. A launch that failed counts whenever it did.
        """
        seen = {
            cell: [
                record
                for record in records
                if record["launch"] < number or record["status"] != "ok"
            ]
            for cell, records in launches.items()
        }
        seen = {cell: records for cell, records in seen.items() if records}
        run = self._interim(seen, launches)
        if (reference := _unscored_reference(run.cells, pending)) is not None:
            return reference
        question = question_of(self._matrix.choose, run.cells)
        table = RunTable(run, launches=seen)
        error = spent(number / self._looks, ERROR) - spent((number - 1) / self._looks, ERROR)
        return self._close(table, question, error, pending)

    def failed(self, cell: str) -> None:
        """Open the cells again that were closed for ``cell``, which has failed since."""
        for other in [one for one, leader in self._behind.items() if leader == cell]:
            del self._behind[other]
            self.closed.pop(other, None)

    def _close(
        self, table: RunTable, question: Question, error: float, pending: Collection[str]
    ) -> str | None:
        judged = judge_cells(table, question, error=error, without=self.closed, pending=pending)
        if judged.unscored is not None:
            return judged.unscored
        for cell, reason in judged.out.items():
            count = table.cells[cell].launches
            times = "1 launch" if count == 1 else f"{count} launches"
            scored = ", not scored" if cell in pending else ""
            self.closed[cell] = f"stopped after {times}{scored}: cannot win: {reason}"
        self._behind |= dict.fromkeys(judged.behind, judged.leader)
        self.decided = judged.decided
        for cell, row in table.cells.items():
            if judged.decided or row.status == "invalid":
                self.closed.setdefault(cell, "")
        return None


def _unscored_reference(cells: Sequence[CellResult], pending: Collection[str]) -> str | None:
    """An unchanged FP32 cell to score where none of its model and size is."""
    groups: dict[tuple[str, Size], list[CellResult]] = {}
    for cell in cells:
        if cell.status == "ok" and cell.precision == "fp32" and not is_changed(cell.variant):
            groups.setdefault((cell.model, cell.size), []).append(cell)
    for group in groups.values():
        waiting = [cell for cell in group if cell.cell in pending]
        if len(waiting) == len(group):
            return min(waiting, key=lambda cell: (backend_rank(cell.backend), cell.cell)).cell
    return None


def most_rounds(rules: Mapping[str, StoppingRule]) -> int:
    """The most launches that any cell may have: as many looks there are at most."""
    return max(map(most_launches, rules.values()), default=1)

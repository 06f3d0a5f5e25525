"""Which launches infer on the scored images: each cell's first, or none that need not.

Where launches go where the decision is open, so do boxes: a cell that is surely slower than one
that meets what was asked need not be scored. The first round scores the FP32 cells that others are
held against; after it the leader is scored until it is one that was (``bench.run.decision``), and
every cell that is launched again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from deploymark.backends.inputs import Size
from deploymark.bench.matrix.cells import is_changed
from deploymark.bench.matrix.figures import FIGURES
from deploymark.bench.matrix.schema import Matrix
from deploymark.bench.records.launches import Record
from deploymark.bench.records.reference import backend_rank
from deploymark.bench.run.plan import PlannedCell
from deploymark.bench.run.schedule import LaunchSlot, StoppingRule, most_launches


class BoxesPlan:
    """Who gets boxes when. ``deferred``: not every cell in its first launch."""

    def __init__(
        self,
        matrix: Matrix,
        cells: Mapping[str, PlannedCell],
        rules: Mapping[str, StoppingRule],
        *,
        deferred: bool,
    ) -> None:
        self.deferred = deferred and _may_be_left_out(matrix)
        self._first = set(cells)
        if self.deferred:
            self._first = _references(cells.values())
            self._first |= {cell for cell in cells if most_launches(rules[cell]) == 1}

    def wanted(self, slot: LaunchSlot, before: Sequence[Record]) -> bool:
        """Whether a launch infers on the scored images: repeats of one that did need not."""
        if any(record["status"] == "ok" and record["predictions"] for record in before):
            return False
        if slot.launch == 0:
            return slot.cell in self._first and slot.attempt == 0
        return self.deferred

    def pending(self, launches: Mapping[str, Sequence[Record]]) -> set[str]:
        """The cells that were launched and have no boxes yet."""
        if not self.deferred:
            return set()
        return {
            cell
            for cell, records in launches.items()
            if records and not any(record.get("predictions") for record in records)
        }


def _may_be_left_out(matrix: Matrix) -> bool:
    """Whether cells may stay unscored: as asked, and where the objective is no score itself."""
    asked = matrix.choose
    objective = "" if asked is None else asked.maximize or asked.minimize or ""
    by_score = FIGURES.get(objective) == "image"
    return matrix.scoring.score != "all" and not by_score


def _references(cells: Collection[PlannedCell]) -> set[str]:
    """Of each model and size the unchanged FP32 cell of the first backend that has one."""
    found: dict[tuple[str, Size], tuple[int, str]] = {}
    for item in cells:
        cell = item.cell
        if cell.precision != "fp32" or is_changed(cell.variant):
            continue
        rank = backend_rank(cell.backend), item.id
        key = cell.model, cell.imgsz
        found[key] = min(found.get(key, rank), rank)
    return {name for _, name in found.values()}

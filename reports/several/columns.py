"""Runs as columns of one table: the figures of a cell in each of them, and the best of a column."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from deploymark.bench.records.answer import Answer
from deploymark.bench.records.comparison import LATENCY
from deploymark.bench.records.run import CellResult, Run
from deploymark.reports.page import figures
from deploymark.reports.page.tables import BY_KEY, Field, field, no_figure

ACCURACY = "map50_95"


@dataclasses.dataclass(frozen=True)
class RunColumn:
    """A column: a run (or the part of one that is of one machine) under a title of its own.

    ``detail`` says more about it. ``answer`` is the run's own, None where it has none.
    """

    title: str
    run: Run
    answer: Answer | None = None
    detail: str = ""

    @property
    def cells(self) -> Mapping[str, CellResult]:
        """The cells by id."""
        return {cell.cell: cell for cell in self.run.cells}

    @property
    def chosen(self) -> str | None:
        """The cell that the answer names: its winner, or who leads where it is undecided."""
        return None if self.answer is None else self.answer.winner or self.answer.leader


@dataclasses.dataclass(frozen=True)
class RunField(Field):
    """A figure of a cell in one run. ``best`` is the best of its column, ``chosen`` the answer."""

    best: bool = False
    chosen: bool = False


@dataclasses.dataclass(frozen=True)
class CellRow:
    """A cell: its latency in each run, and its mAP: one for all where it is alike, or one a run."""

    cell: str
    latencies: tuple[RunField, ...]
    accuracies: tuple[RunField, ...]


@dataclasses.dataclass(frozen=True)
class SideBySide:
    """The table. ``one_accuracy`` tells that a cell's mAP is the same in every run that has one."""

    rows: tuple[CellRow, ...]
    one_accuracy: bool


def _best(column: RunColumn, figure: str) -> float | None:
    """The best of a figure among the cells of a run that ended well, None without one."""
    high = BY_KEY[figure].high_first
    known = [
        value
        for cell in column.run.cells
        if cell.status == "ok" and (value := figures.measured(getattr(cell, figure))) is not None
    ]
    return (max(known) if high else min(known)) if known else None


def _field(column: RunColumn, cell: CellResult | None, figure: str, best: float | None) -> RunField:
    if cell is None:
        return RunField(**vars(no_figure("this run has no such cell")))
    found = field(cell, BY_KEY[figure])
    if found.absent and cell.status != "ok" and figure == LATENCY:
        text = cell.status.replace("_", " ")
        title = ": ".join(filter(None, (cell.status, cell.reason)))
        return RunField(text, title=title, absent=True)
    # A cell whose later launch failed may hold figures, but it is nothing to choose from.
    failed = "" if cell.status == "ok" or figure != LATENCY else cell.status.replace("_", " ")
    mark = "~" if figure == LATENCY and cell.disturbed and not found.absent else ""
    return RunField(
        f"{found.text}{mark}",
        value=found.value,
        title=found.title,
        extra=" ".join(filter(None, (found.extra, failed))),
        absent=found.absent,
        best=cell.status == "ok" and best is not None and getattr(cell, figure) == best,
        chosen=figure == LATENCY and cell.cell == column.chosen,
    )


def _same_accuracy(found: Sequence[CellResult | None]) -> bool:
    """Whether the runs that scored a cell came to the same mAP, in the digits that are shown."""
    texts = {
        figures.accuracy(cell.map50_95)
        for cell in found
        if cell is not None and figures.measured(cell.map50_95) is not None
    }
    return len(texts) <= 1


def side_by_side(columns: Sequence[RunColumn]) -> SideBySide:
    """Every cell that one of the runs has, in order of appearance, with its figures in each."""
    by_run = [column.cells for column in columns]
    names = dict.fromkeys(name for cells in by_run for name in cells)
    table = {name: [cells.get(name) for cells in by_run] for name in names}
    one_accuracy = all(_same_accuracy(found) for found in table.values())
    fastest = [_best(column, LATENCY) for column in columns]
    accurate = [_best(column, ACCURACY) for column in columns]
    rows = []
    for name, found in table.items():
        latencies, accuracies = (
            [
                _field(column, cell, figure, top)
                for column, cell, top in zip(columns, found, best, strict=True)
            ]
            for figure, best in ((LATENCY, fastest), (ACCURACY, accurate))
        )
        if one_accuracy:
            accuracies = [next((one for one in accuracies if not one.absent), accuracies[0])]
        rows.append(CellRow(name, tuple(latencies), tuple(accuracies)))
    return SideBySide(tuple(rows), one_accuracy)

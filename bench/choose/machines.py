"""One format for several machines: what ``choose`` finds of a fleet's run, or of several runs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploymark.bench.choose.table import RunTable
from deploymark.bench.errors import BadInputError
from deploymark.bench.matrix.constraints import Constraint
from deploymark.bench.matrix.figures import FIGURES
from deploymark.bench.records.answer import Estimate, Held
from deploymark.bench.records.machines import machine_of_part
from deploymark.bench.records.run import CellResult, Run, RunInfo, load_run
from deploymark.bench.score.map_interval import MapFigure
from deploymark.bench.score.of_run import RunScores
from deploymark.bench.statistics.intervals import Interval

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

METHOD = (
    "Over machines, what is made least of is the geometric mean, as SPEC takes it over programs: "
    "how many times as fast one cell is as another weighs the same on a slow and on a fast "
    "machine. A constraint is met where it is met on every machine."
)

_WORSE = ("not_met", "undecided", "met")

_ENDS = (
    "latency_ci_low_ms",
    "latency_ci_high_ms",
    "latency_p95_ci_low_ms",
    "latency_p95_ci_high_ms",
)


def read_tables(folders: Sequence[Path]) -> dict[str, RunTable]:
    """The tables of runs by the name of their machine.

    Raises BadInputError for a folder that is no run, and two runs of the same machine.
    """
    tables: dict[str, RunTable] = {}
    for folder in folders:
        run = load_run(folder)
        name = machine_of_part(folder) or str(run.info.machine.get("host") or folder.name)
        if name in tables:
            raise BadInputError(
                f"{folder} and {tables[name].run.folder} are of the same machine, {name}",
                remedy="Name one run of each machine.",
            )
        tables[name] = RunTable(run)
    return tables


class MachinesTable(RunTable):
    """Several machines as one: a figure is the geometric mean over them.

    A cell counts where it ended well on every machine. Accuracy and sizes are those of the machine
    on which they are worst. ``folder`` is what the answer calls the run.
    """

    def __init__(self, tables: Mapping[str, RunTable], folder: Path, info: RunInfo) -> None:
        self.tables = dict(tables)
        names = dict.fromkeys(name for table in self.tables.values() for name in table.cells)
        self._rows_of = {name: self._rows(name) for name in names}
        merged = Run(folder, info, tuple(self._merged(name) for name in names))
        super().__init__(merged, launches={})
        self.scores = _WorstScores(merged, self.tables)

    def _rows(self, cell: str) -> dict[str, CellResult | None]:
        return {machine: table.cells.get(cell) for machine, table in self.tables.items()}

    def _merged(self, cell: str) -> CellResult:
        """One row: that of the machine with the lowest mAP, with means in it."""
        rows = self._rows_of[cell]
        for machine, row in rows.items():
            if row is None:
                other = next(item for item in rows.values() if item is not None)
                reason = f"{machine} has no such cell"
                return dataclasses.replace(other, status="unavailable", reason=reason)
            if row.status != "ok":
                return dataclasses.replace(row, reason=f"{machine}: {row.reason}")
        there = [row for row in rows.values() if row is not None]
        worst = min(there, key=_accuracy)
        values: dict[str, Any] = {
            name: _mean([getattr(row, name) for row in there])
            for name, kind in FIGURES.items()
            if kind == "launch"
        }
        values |= {name: _mean([getattr(row, name) for row in there]) for name in _ENDS}
        values |= {
            name: max(known)
            if None not in (known := [getattr(row, name) for row in there])
            else None
            for name, kind in FIGURES.items()
            if kind == "exact" and name != "imgsz"
        }
        return dataclasses.replace(
            worst, disturbed=any(row.disturbed for row in there), machine=None, **values
        )

    def values(self, cell: str, figure: str) -> dict[int, float]:
        """The geometric mean over machines of what each launch measured, by its number."""
        found = [table.values(cell, figure) for table in self.tables.values()]
        shared = set(found[0]).intersection(*found[1:])
        means = {launch: _mean([one[launch] for one in found]) for launch in sorted(shared)}
        return {launch: mean for launch, mean in means.items() if mean is not None}

    def held(self, cell: str, constraint: Constraint) -> Held:
        """A constraint as the machine has it that is the furthest from meeting it."""
        found = {
            machine: table.held(cell, constraint)
            for machine, table in self.tables.items()
            if cell in table.cells
        }
        machine = min(found, key=lambda name: (_WORSE.index(found[name].state), _room(found[name])))
        held = found[machine]
        return dataclasses.replace(held, told=f"{held.told} on {machine}" if held.told else machine)


class _WorstScores(RunScores):
    """The scores of each cell on the machine where its mAP is lowest."""

    def __init__(self, run: Run, tables: Mapping[str, RunTable]) -> None:
        super().__init__(run)
        self._tables = tables

    def _worst(self, cell: str) -> tuple[RunTable, CellResult]:
        rows = [(table, row) for table in self._tables.values() if (row := table.cells.get(cell))]
        return min(rows, key=lambda pair: _accuracy(pair[1]))

    def resampled(self, cell: CellResult, figure: MapFigure) -> npt.NDArray[np.float64] | None:
        """As the run of that machine has them."""
        table, row = self._worst(cell.cell)
        found = table.scores.resampled(row, figure)
        self.reasons |= table.scores.reasons
        return found

    def agreement(self, cell: CellResult) -> Interval | None:
        """As the run of that machine has it."""
        table, row = self._worst(cell.cell)
        return table.scores.agreement(row)


def _accuracy(row: CellResult) -> float:
    return math.inf if row.map50_95 is None else row.map50_95


def _mean(values: Sequence[float | None]) -> float | None:
    """The geometric mean; None where one is missing or not above zero."""
    known = [value for value in values if value is not None and value > 0]
    if len(known) < len(values) or not known:
        return None
    return math.exp(math.fsum(map(math.log, known)) / len(known))


def _room(held: Held) -> float:
    """How far a figure is from its bound, as a share of it; what was not measured has none."""
    judged: Estimate = held.judged
    if judged.value is None:
        return -math.inf
    return abs(judged.value - held.limit) / (abs(held.limit) or 1.0)

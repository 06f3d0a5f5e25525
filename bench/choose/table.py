"""A run as ``choose`` reads it: every figure with its interval, and two cells beside each other."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from deploymark.bench.choose.launches import QUANTILES, launch_estimate, values_by_launch
from deploymark.bench.choose.words import held_text
from deploymark.bench.errors import BadInputError
from deploymark.bench.matrix.constraints import Constraint
from deploymark.bench.matrix.figures import FIGURES
from deploymark.bench.records.answer import Estimate, Held
from deploymark.bench.records.energy import MODELLED, OF_A_RECORD, OF_ENERGY, read_energy
from deploymark.bench.records.launches import LAUNCHES_FILE, Record, counted, read_launches
from deploymark.bench.records.machines import require_one_machine
from deploymark.bench.records.memory import MEMORY_FIGURES, MEMORY_LINES_FILE
from deploymark.bench.records.reference import reference_cell
from deploymark.bench.records.run import CellResult, Run
from deploymark.bench.score.map_interval import MapFigure
from deploymark.bench.score.of_run import RunScores
from deploymark.bench.statistics.intervals import CONFIDENCE, samples_needed
from deploymark.bench.statistics.paired_ratio import (
    NO_PRIOR,
    Prior,
    assumed_prior,
    fit_prior,
    log_ratios,
    paired_interval,
)

if TYPE_CHECKING:
    import numpy.typing as npt

ERROR = 1 - CONFIDENCE

_SAME_RATIO = Estimate(1.0, 1.0, 1.0)
_NO_DIFFERENCE = Estimate(0.0, 0.0, 0.0)


_FREEDOM = 30.0
ASSUMED = assumed_prior(0.1, _FREEDOM), assumed_prior(0.35, _FREEDOM)
"""What launches are taken to scatter by where a comparison has one round, and too few others tell.

A standard deviation of 10 % is above what launches of a quiet machine differ by (1 to 9 %); 35 %
where one of the two was disturbed (intervals over such launches were [0.8, 1.8]).
"""


class RunTable:
    """The figures of a run.

    ``launches`` are its records by cell, those of ``launches.jsonl`` unless given.
    """

    def __init__(self, run: Run, *, launches: Mapping[str, Sequence[Record]] | None = None) -> None:
        """Raises BadInputError for a fleet's run, whose machines have tables of their own."""
        if launches is None:
            require_one_machine(run)
        self.run = run
        self.cells: Mapping[str, CellResult] = {cell.cell: cell for cell in run.cells}
        self.scores = RunScores(run)
        self._launches = _launches(run, launches)
        self._weighed = _weighed(run)
        self._energy_launches: Mapping[str, Sequence[Record]] | None = None
        self._kinds = {cell.energy_kind == MODELLED for cell in run.cells if cell.energy_kind}
        self._values: dict[tuple[str, str], dict[int, float]] = {}
        self._priors: dict[tuple[str, str], Prior] = {}
        self._agreed_on = {cell.agreement_reference for cell in run.cells}

    def reference(self, cell: str) -> str | None:
        """The FP32 cell of the same model and imgsz, unchanged by any recipe; None without one.

        The one that the agreement of other backends' FP32 cells is with, where the run has that.
        """
        return reference_cell(self.run.cells, self.cells[cell])

    def values(self, cell: str, figure: str) -> dict[int, float]:
        """What each launch of a cell measured, by the number of the launch."""
        key = (cell, figure)
        if key not in self._values:
            batch = self.cells[cell].batch
            records = self._records(cell, figure)
            try:
                self._values[key] = values_by_launch(records, figure, batch=batch)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                path = self.run.folder / LAUNCHES_FILE
                raise BadInputError(f"{path} cannot be read: {cell}: {error!r}") from error
        return self._values[key]

    def _records(self, cell: str, figure: str) -> Sequence[Record]:
        """The launches that a figure comes from: of energy and memory those of their passes."""
        if figure in OF_A_RECORD:
            return self._energy().get(cell, [])
        weighed = self._weighed.get(cell, ()) if figure in MEMORY_FIGURES else ()
        return weighed or self._launches.get(cell, [])

    def _energy(self) -> Mapping[str, Sequence[Record]]:
        """The energy launches of the run, which lie beside the others."""
        if self._energy_launches is None:
            self._energy_launches = read_energy(self.run.folder)
        return self._energy_launches

    def figure(self, cell: str, name: str) -> Estimate:
        """A figure of a cell."""
        row = self.cells[cell]
        why = _why_unfit(row, name)
        if not why and name in OF_ENERGY and row.energy_kind == MODELLED and len(self._kinds) > 1:
            why = "its energy is modelled, and that of other cells was measured"
        if why:
            return Estimate(reason=why)
        value: float | None = getattr(row, name)
        if value is None and name == "agreement" and cell in self._agreed_on:
            return Estimate(1.0, 1.0, 1.0)  # it is what the others agree with
        if value is None:
            return Estimate(reason=_why_none(row, name))
        value = float(value)
        kind = FIGURES[name]
        if kind == "exact":
            return Estimate(value, value, value)
        if kind == "launch":
            return launch_estimate(row, name, value, self.values(cell, name))
        return self._image_figure(row, name, value)

    def difference(self, cell: str, other: str, name: str) -> Estimate:
        """A figure of ``cell`` less that of ``other``; of mAP on the same images."""
        one, two = self.figure(cell, name), self.figure(other, name)
        if missing := _missing(one, two, other):
            return missing
        if cell == other:
            return _NO_DIFFERENCE
        a, b = _ends(one), _ends(two)
        change = a[1] - b[1]
        drawn = self._drawn(cell, other, name)
        if drawn is not None:
            return _quantiles(change, drawn[0] - drawn[1], ERROR)
        if FIGURES[name] == "image" and name != "agreement":
            reach = _unseen(self.cells[cell])
            return Estimate(change, change - reach, change + reach)
        return Estimate(change, a[0] - b[2], a[2] - b[0])

    def ratio(self, cell: str, other: str, name: str, error: float = ERROR) -> Estimate:
        """A figure of ``cell`` over that of ``other``, with an interval of confidence 1 - error.

        Over launches of the same rounds or over the same images; where there are too few, the ends
        of both intervals are set against each other.
        """
        one, two = self.figure(cell, name), self.figure(other, name)
        if missing := _missing(one, two, other):
            return missing
        if cell == other:
            return _SAME_RATIO
        a, b = _ends(one), _ends(two)
        if b[0] <= 0:
            return Estimate(reason=f"{name} of {other} is not above zero")
        ratio = a[1] / b[1]
        drawn = self._drawn(cell, other, name)
        if drawn is not None:
            return _quantiles(ratio, drawn[0] / drawn[1], error)
        ends = paired_interval(
            self.log_ratios(cell, other, name), error, self.prior(cell, other, name)
        )
        if ends is None or FIGURES[name] != "launch":
            ends = (a[0] / b[2], a[2] / b[0])
        return Estimate(ratio, min(ends[0], ratio), max(ends[1], ratio))

    def log_ratios(self, cell: str, other: str, name: str) -> list[float]:
        """Logarithms of ``cell`` over ``other``, one a round that both have launches of."""
        return log_ratios(self.values(other, name), self.values(cell, name))

    def prior(self, cell: str, other: str, name: str) -> Prior:
        """What the cells of the run scatter by beside ``other``, or what is assumed of ``cell``."""
        key = (other, name)
        if key not in self._priors:
            cells = [one for one in self.cells if one != other]
            self._priors[key] = fit_prior([self.log_ratios(one, other, name) for one in cells])
        if self._priors[key] == NO_PRIOR and len(self.log_ratios(cell, other, name)) == 1:
            return ASSUMED[self.cells[cell].disturbed or self.cells[other].disturbed]
        return self._priors[key]

    def held(self, cell: str, constraint: Constraint) -> Held:
        """A constraint as a cell has it."""
        figure, reference = self.figure(cell, constraint.figure), None
        judged = figure
        if constraint.kind != "figure" and figure.measured:
            reference = self.reference(cell)
            judged = self._beside(cell, reference, constraint)
        held = Held(
            constraint=constraint.text,
            figure=constraint.figure,
            kind=constraint.kind,
            state=constraint.state(judged),
            value=figure,
            judged=judged,
            limit=constraint.limit,
            reference=reference,
        )
        return dataclasses.replace(held, told=held_text(held, constraint.unit))

    def _beside(self, cell: str, reference: str | None, constraint: Constraint) -> Estimate:
        if reference is None:
            return Estimate(reason="the run has no dense FP32 cell of this model")
        if constraint.kind == "ratio":
            return self.ratio(cell, reference, constraint.figure)
        return self.difference(cell, reference, constraint.figure)

    def _image_figure(self, row: CellResult, name: str, value: float) -> Estimate:
        if name == "agreement":
            if interval := self.scores.agreement(row):
                return Estimate(value, min(interval[0], value), max(interval[1], value))
        else:
            drawn = self.scores.resampled(row, cast("MapFigure", name))
            if drawn is not None:
                return _quantiles(value, drawn, ERROR)
        reach = _unseen(row)
        return Estimate(value, max(0.0, value - reach), min(1.0, value + reach))

    def drawn(self, cell: str, name: str) -> npt.NDArray[np.float64] | None:
        """The mAP of a cell on each resample of the images; None where there is none."""
        return self.scores.resampled(self.cells[cell], cast("MapFigure", name))

    def _drawn(self, cell: str, other: str, name: str) -> tuple[Any, Any] | None:
        """The mAP of both cells on the same resamples of the images; None where there is none."""
        if FIGURES[name] != "image" or name == "agreement":
            return None
        found = [self.drawn(one, name) for one in (cell, other)]
        if found[0] is None or found[1] is None or len(found[0]) != len(found[1]):
            return None
        return found[0], found[1]


def _launches(run: Run, given: Mapping[str, Sequence[Record]] | None) -> dict[str, list[Record]]:
    """The launches that count, by cell: of those given, or of the run's folder."""
    by_cell: dict[str, list[Record]] = {}
    for record in read_launches(run.folder) if given is None else chain(*given.values()):
        by_cell.setdefault(str(record.get("cell")), []).append(record)
    return {
        cell.cell: counted(by_cell[cell.cell], disturbed=cell.disturbed)
        for cell in run.cells
        if cell.cell in by_cell
    }


def _weighed(run: Run) -> dict[str, list[Record]]:
    """The launches of the memory pass that ended well, by cell."""
    by_cell: dict[str, list[Record]] = {}
    for line in read_launches(run.folder, MEMORY_LINES_FILE):
        if line.get("status") == "ok":
            by_cell.setdefault(str(line.get("cell")), []).append(line)
    return by_cell


def _why_unfit(row: CellResult, name: str) -> str:
    """Why whatever a cell has of a figure does not count; empty where it does."""
    if row.status != "ok":
        return f"{row.status}: {row.reason or 'no reason was recorded'}"
    return row.accuracy_doubt or "" if FIGURES[name] == "image" else ""


def _why_none(row: CellResult, name: str) -> str:
    if name in OF_ENERGY and row.energy_reason:
        return row.energy_reason
    if name in MEMORY_FIGURES and row.memory_reason:
        return row.memory_reason
    if name == "min_memory_mb":
        return row.memory_reason or "no smallest limit was looked for: deploymark fit"
    if name in QUANTILES:
        needed = samples_needed(QUANTILES[name])
        return f"it needs {needed} inferences, there are {row.iterations}"
    return "it was not measured"


def _missing(one: Estimate, two: Estimate, other: str) -> Estimate | None:
    if not one.measured:
        return one
    return None if two.measured else Estimate(reason=f"of {other}: {two.reason}")


def _ends(estimate: Estimate) -> tuple[float, float, float]:
    value = estimate.value or 0.0
    low = value if estimate.low is None else estimate.low
    return low, value, value if estimate.high is None else estimate.high


def _unseen(row: CellResult) -> float:
    """How far a score may be off where its images cannot be drawn anew: 1 over the root of them.

    A mean of that many numbers in [0, 1] has a standard error of half of it at most.
    """
    return 1.0 if not row.map_images else float(row.map_images**-0.5)


def _quantiles(value: float, drawn: npt.NDArray[np.float64], error: float) -> Estimate:
    """The percentile interval of a bootstrap, widened where needed to hold the figure."""
    known = drawn[np.isfinite(drawn)]
    low, high = (float(end) for end in np.quantile(known, [error / 2, 1 - error / 2]))
    return Estimate(value, min(low, value), max(high, value))

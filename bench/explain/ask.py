"""A question to a run: which cell, against which, and whether both can be asked."""

from __future__ import annotations

import dataclasses

from deploymark.bench.errors import BadInputError
from deploymark.bench.explain.reference import reference_of
from deploymark.bench.records.run import CellResult, Run
from deploymark.bench.yaml_source import did_you_mean


@dataclasses.dataclass(frozen=True)
class Asked:
    """The cell to explain, and the one to hold it against where there is one."""

    cell: CellResult
    against: CellResult | None

    @property
    def cells(self) -> tuple[str, ...]:
        """The cells that need a profile."""
        return (self.cell.cell,) if self.against is None else (self.cell.cell, self.against.cell)


def asked(run: Run, cell: str, against: str | None = None) -> Asked:
    """What is asked of a run. Raises BadInputError for what it has not, or did not measure."""
    chosen = _measured(run, cell, "CELL")
    if against is None:
        return Asked(chosen, reference_of(chosen, run.cells))
    other = _measured(run, against, "--against")
    if other.cell == chosen.cell:
        raise BadInputError(
            f"--against {against}: that is the cell itself",
            remedy="Name another cell, or leave --against out for the FP32 one.",
        )
    return Asked(chosen, other)


def _measured(run: Run, name: str, what: str) -> CellResult:
    """A measured cell of the run by its id."""
    known = {row.cell: row for row in run.cells}
    if name not in known:
        few = 8
        ids = [row.cell for row in run.cells if row.status == "ok"]
        listed = ", ".join(ids[:few]) + (f" and {len(ids) - few} more" if len(ids) > few else "")
        raise BadInputError(
            f"{what} {name}: {run.folder} has no such cell{did_you_mean(name, list(known))}",
            remedy=f"It has {listed or 'none'}.",
        )
    row = known[name]
    if row.status not in {"ok", "invalid"}:
        raise BadInputError(
            f"{what} {name} was not measured ({row.status}"
            f"{f': {row.reason}' if row.reason else ''}), so there is nothing to explain",
            remedy=row.remedy or "Name a cell that was measured.",
        )
    return row

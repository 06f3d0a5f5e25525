"""What did not go well, gathered by cause: the same reason for fifty cells is told once."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from deploymark.bench.records.run import NOT_FAILURES, STATUSES, CellResult, Status


@dataclasses.dataclass(frozen=True)
class Cause:
    """One reason why cells have no figures, with what mends it (may be empty) and the cells."""

    status: str
    reason: str
    remedy: str
    cells: tuple[str, ...]


def count_statuses(cells: Sequence[CellResult]) -> list[tuple[Status, int]]:
    """(status, number of cells) of the statuses that occur, ok first."""
    counts = [(status, sum(cell.status == status for cell in cells)) for status in STATUSES]
    return [(status, count) for status, count in counts if count]


def _gather(rows: Iterable[tuple[tuple[str, str, str], str]]) -> list[Cause]:
    groups: dict[tuple[str, str, str], list[str]] = {}
    for cause, cell in rows:
        groups.setdefault(cause, []).append(cell)
    return [Cause(*cause, tuple(cells)) for cause, cells in groups.items()]


def _causes(cells: Iterable[CellResult]) -> list[Cause]:
    causes = _gather(
        ((cell.status, cell.reason or "no reason was recorded", cell.remedy or ""), cell.cell)
        for cell in cells
    )
    return sorted(causes, key=lambda cause: STATUSES.index(cause.status))


def failures(cells: Sequence[CellResult]) -> list[Cause]:
    """Causes of the cells that should have worked, grouped by status."""
    return _causes(cell for cell in cells if cell.status not in NOT_FAILURES)


def not_served(cells: Sequence[CellResult]) -> list[Cause]:
    """Causes of the cells that do not exist or cannot run here: unsupported and unavailable."""
    return _causes(cell for cell in cells if cell.status in NOT_FAILURES and cell.status != "ok")


def disturbed(cells: Sequence[CellResult]) -> list[Cause]:
    """By what the cells were disturbed that are marked for it, each distinct sentence once.

    Without remedies: they are much the same for all, and the top of a report names them.
    """
    return _gather(
        (("disturbed", cell.reason or "", ""), cell.cell)
        for cell in cells
        if cell.disturbed and cell.status == "ok"
    )


def left_out(planned_without: Sequence[dict[str, str]]) -> list[Cause]:
    """Causes of the cells that the matrix excludes (``info.left_out``)."""
    return _gather(
        (("left out", entry.get("reason", ""), ""), entry.get("cell", ""))
        for entry in planned_without
    )


def warnings(cells: Sequence[CellResult]) -> list[Cause]:
    """Each distinct warning once, with the cells that carry it."""
    return _gather(
        (("warning", warning, ""), cell.cell) for cell in cells for warning in cell.warnings
    )

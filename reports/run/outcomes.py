"""What did not go well, gathered by cause: the same reason for fifty cells is told once."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence

from deploymark.bench.records.outcomes import STATUSES, Status
from deploymark.bench.records.run import NOT_FAILURES, CellResult


@dataclasses.dataclass(frozen=True)
class Cause:
    """One reason why cells have no figures, with what mends it (may be empty) and the cells."""

    status: str
    reason: str
    remedy: str
    cells: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class FailureKind:
    """Causes that are the same up to numbers and names.

    ``reason`` has the values that differ beside each other; ``remedies`` are the distinct ones,
    ``causes`` what the kind is made of, and ``cells`` their cells in the run's order.
    """

    status: str
    reason: str
    remedies: tuple[str, ...]
    causes: tuple[Cause, ...]
    cells: tuple[str, ...]

    @property
    def count(self) -> int:
        """The number of cells."""
        return len(self.cells)


_VALUES_TOLD = 3
"""Values told of one that differs between the causes of a kind."""

_VARIABLE = r"'[^']*'|\"[^\"]*\"|`[^`]*`|(?<![\w/])/[\w./+-]+|\b\d+(?:[.,]\d+)*"
"""What differs between reasons of one kind: what is quoted, paths, numbers."""

_AXES = ("cell", "model", "variant", "precision", "backend", "device")


def kinds(causes: Sequence[Cause], cells: Sequence[CellResult]) -> list[FailureKind]:
    """``causes`` gathered by status and by reason, up to numbers and names of ``cells``."""
    values = {str(getattr(cell, axis)) for cell in cells for axis in _AXES}
    names = sorted((re.escape(name) for name in values if name), key=len, reverse=True)
    named = [rf"(?<![\w-])(?:{'|'.join(names)})(?![\w-])"] if names else []
    variable = re.compile(f"({'|'.join([*named, _VARIABLE])})")
    groups: dict[tuple[str, ...], list[tuple[Cause, list[str]]]] = {}
    for cause in causes:
        parts = variable.split(cause.reason)
        groups.setdefault((cause.status, *parts[::2]), []).append((cause, parts[1::2]))
    order = {cell.cell: number for number, cell in enumerate(cells)}
    return [_kind(key, members, order) for key, members in groups.items()]


def _kind(
    key: tuple[str, ...], members: Sequence[tuple[Cause, list[str]]], order: dict[str, int]
) -> FailureKind:
    status, *fixed = key
    differing = zip(*(values for _, values in members), strict=True)
    slots = [_values(list(dict.fromkeys(values))) for values in differing]
    reason = "".join(text for pair in zip(fixed, [*slots, ""], strict=True) for text in pair)
    causes = tuple(cause for cause, _ in members)
    cells = {cell: None for cause in causes for cell in cause.cells}
    return FailureKind(
        status,
        reason,
        tuple(dict.fromkeys(cause.remedy for cause in causes if cause.remedy)),
        causes,
        tuple(sorted(cells, key=lambda cell: order.get(cell, len(order)))),
    )


def _values(values: Sequence[str]) -> str:
    """``a``, ``a / b``, or the first few and how many there are."""
    more = len(values) - _VALUES_TOLD
    told = " / ".join(values[:_VALUES_TOLD])
    return f"{told} / {more} more" if more > 0 else told


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

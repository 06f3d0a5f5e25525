"""The cell that a loss of accuracy is told against: FP32 of the unchanged model."""

from __future__ import annotations

from collections.abc import Sequence

from deploymark.backends.registry import BUILTIN
from deploymark.bench.records.run import CellResult

UNCHANGED = frozenset({"dense", "as-is"})
"""Variants whose weights no recipe of the run changed."""


def backend_rank(name: str) -> int:
    """The place of a backend among those shipped; others come after them."""
    order = list(BUILTIN)
    return order.index(name) if name in BUILTIN else len(order)


def reference_cell(cells: Sequence[CellResult], own: CellResult) -> str | None:
    """The FP32 cell of the same model and imgsz, unchanged by any recipe; None without one.

    The one that the agreement of other backends' FP32 cells is with, where the run has that.
    """
    unchanged = [
        row
        for row in cells
        if (row.model, row.imgsz, row.precision) == (own.model, own.imgsz, "fp32")
        and row.variant in UNCHANGED
        and row.status == "ok"
        and row.accuracy_doubt is None
    ]
    names = {row.cell for row in unchanged}
    agreed = [row.agreement_reference for row in unchanged if row.agreement_reference in names]
    if len(unchanged) > 2 and agreed:  # noqa: PLR2004 - of two, each has the other
        return max(sorted({name for name in agreed if name}), key=agreed.count)
    ranked = sorted(unchanged, key=lambda row: (backend_rank(row.backend), row.cell))
    return ranked[0].cell if ranked else None

"""Which cell a profile is held against where nobody says: the same in FP32."""

from __future__ import annotations

from collections.abc import Sequence

from deploymark.bench.records.run import CellResult

FLOAT = "fp32"


def reference_of(cell: CellResult, cells: Sequence[CellResult]) -> CellResult | None:
    """The measured FP32 cell of the same backend, model, device, size, batch and threads.

    Of several (a matrix may have runtime options as an axis, or variants) the one most alike; None
    where there is none, or the cell is it.
    """
    if cell.precision == FLOAT:
        return None
    same = ("backend", "model", "device", "imgsz", "batch", "threads")
    alike = ("variant", "runtime_axes", "memory_limit_mb")
    found = [
        other
        for other in cells
        if other.precision == FLOAT
        and other.status == "ok"
        and all(getattr(other, key) == getattr(cell, key) for key in same)
    ]
    return max(
        found,
        key=lambda other: [getattr(other, key) == getattr(cell, key) for key in alike],
        default=None,
    )

"""From the lines of the memory pass to the figures of a cell."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from deploymark.bench.records.launches import Record
from deploymark.bench.records.memory import MEMORY_FIGURES, Fit
from deploymark.bench.records.run import CellResult

_NOT_ASKED = (
    "no memory pass: the cell cannot be the answer to the run's question, or the matrix asks for "
    "none (measure.memory_launches: 0)"
)


def add_memory(result: CellResult, lines: Sequence[Record]) -> None:
    """Fill in what the memory pass of a cell found: medians over its launches.

    They stand in place of what the timing launches read in passing, which stays where there was no
    pass. A pass that failed leaves no figure, and a warning.
    """
    if not lines:
        result.memory_reason = _NOT_ASKED if result.status == "ok" else None
        return
    ok = [line for line in lines if line["status"] == "ok"]
    for name in MEMORY_FIGURES:
        known = [line[name] for line in ok if line.get(name) is not None]
        setattr(result, name, round(statistics.median(known)) if known else None)
    failed = next((line for line in lines if line["status"] != "ok"), None)
    reasons = {
        f"{what}: {line[key]}"
        for line in ok
        for key, what in (("copy_reason", "no memory per copy"), ("load_peak_reason", "load peak"))
        if line.get(key)
    }
    if failed is not None:
        said = f"the memory pass ended {failed['status']}: {failed['reason']}"
        result.warnings.append(said)
        reasons.add(said)
    result.memory_reason = "; ".join(sorted(reasons)) or None


def add_fit(result: CellResult, fit: Fit) -> None:
    """Fill in the smallest limit that a cell works within, or why none is known."""
    result.min_memory_mb = fit.min_memory_mb
    result.memory_enforced_by = fit.enforced_by or result.memory_enforced_by
    if fit.reason and fit.reason not in (result.memory_reason or ""):
        result.memory_reason = "; ".join(filter(None, (result.memory_reason, fit.reason)))

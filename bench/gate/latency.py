"""Pairs of all cells, round after round, until each has its verdict, its pairs or its time.

The cells take turns in seeded random order, a pair each, so that a drift of the machine meets all
of them; a cell that is decided leaves.
"""

from __future__ import annotations

import dataclasses
import random
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from deploymark.bench.gate.pairing import Measurable, PairPlan, PairRecord, measure_pair
from deploymark.bench.gate.rule import Decision, decide
from deploymark.bench.matrix.gate_settings import GateSettings
from deploymark.bench.matrix.validity import Validity
from deploymark.bench.records.outcomes import Outcome
from deploymark.bench.worker.measure import bursts


@dataclasses.dataclass(frozen=True)
class GateCell:
    """A cell that both sides have. ``id`` is the candidate's."""

    id: str
    baseline: Measurable
    candidate: Measurable


@dataclasses.dataclass
class PairedCell:
    """What the pairs of one cell came to. ``decision`` is None where there are fewer than two."""

    cell: GateCell
    outcome: Outcome = dataclasses.field(default_factory=lambda: Outcome("ok"))
    failed_side: str = ""
    decision: Decision | None = None
    records: list[PairRecord] = dataclasses.field(default_factory=list)
    seconds: float = 0.0
    done: bool = False

    @property
    def log_ratios(self) -> list[float]:
        """A pair each: logarithm of candidate over baseline."""
        return [record.log_ratio for record in self.records if record.log_ratio is not None]


OnPair = Callable[[PairedCell, PairRecord], None]
"""Told of every pair when it is over, before the next one starts."""


def cell_error(confidence: float, cells: int) -> float:
    """Two-sided error of one cell, so that all cells together have the confidence (Bonferroni)."""
    return (1 - confidence) / max(1, cells)


def compare_latency(
    cells: Sequence[GateCell],
    settings: GateSettings,
    *,
    seed: int,
    logs: Path,
    on_pair: OnPair | None = None,
    cells_in_all: int | None = None,
    burst_limits: bursts.Limits | None = None,
) -> dict[str, PairedCell]:
    """Measure pairs of every cell until the rule decides; by cell id.

    ``cells_in_all`` is the number of cells that share the error, that of ``cells`` by default.
    ``burst_limits`` mark what was disturbed, those of ``Validity`` by default. A cell whose worker
    fails leaves with the outcome of that worker. Raises BadInputError if an
    interpreter is none.
    """
    found = {cell.id: PairedCell(cell) for cell in cells}
    error = cell_error(settings.confidence, cells_in_all or len(cells))
    order = random.Random(f"gate/{seed}")  # noqa: S311 - no secret
    limits = Validity().burst_limits() if burst_limits is None else burst_limits
    plan = PairPlan(settings.bursts, settings.burst_iterations, settings.copies, limits)
    while waiting := [paired for paired in found.values() if not paired.done]:
        order.shuffle(waiting)
        for paired in waiting:
            log = logs / f"{paired.cell.id}.log"
            record = measure_pair(paired.cell.baseline, paired.cell.candidate, plan, log, order)
            _take(paired, record, settings, error)
            if on_pair is not None:
                on_pair(paired, record)
    return found


def _take(paired: PairedCell, record: PairRecord, settings: GateSettings, error: float) -> None:
    """Add a pair to its cell, and decide where that can be."""
    paired.records.append(record)
    paired.seconds += record.seconds
    if not record.outcome.ok:
        paired.outcome, paired.failed_side, paired.done = record.outcome, record.failed_side, True
        return
    threshold = settings.threshold("latency_p50_ms")
    ratios = paired.log_ratios
    typical_s = statistics.median(item.seconds for item in paired.records)
    over = paired.seconds + typical_s > settings.budget_s or len(ratios) >= settings.max_pairs
    decision = decide(
        ratios, max_pairs=settings.max_pairs, error=error, min_effect=threshold, last=over
    )
    if decision is None:
        # a second pair is needed for any interval, whatever the budget
        paired.done = False
        return
    paired.decision = decision
    paired.done = over or decision.verdict != "inconclusive"

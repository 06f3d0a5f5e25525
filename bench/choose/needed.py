"""What would decide an open question: so many launches, or so many images to score on."""

from __future__ import annotations

import math
import shlex
import statistics
from collections.abc import Iterator, Mapping, Sequence

from deploymark.bench.choose.rule import Decision, Entrant, no_better
from deploymark.bench.choose.table import RunTable
from deploymark.bench.matrix.command_line import more_of
from deploymark.bench.matrix.constraints import Constraint
from deploymark.bench.matrix.figures import FIGURES
from deploymark.bench.records.answer import Estimate, Held, Needed, Question
from deploymark.bench.records.energy import OF_ENERGY
from deploymark.bench.statistics.paired_ratio import rounds_needed

_FEW_LAUNCHES = 5
"""Asked for where a cell has a single launch, whose spread nobody knows."""

_MOST = {"launch": 1000, "image": 1_000_000}
"""Beyond it the figures are equal for all that one can tell."""

Wanted = tuple[str, int | None]
"""What there should be more of (``launch`` or ``image``), and how many; None: no number does."""


def needed(
    table: RunTable,
    entrants: Mapping[str, Entrant],
    constraints: tuple[Constraint, ...],
    decision: Decision,
    question: Question,
) -> Needed:
    """The launches and images that would decide, from the widths so far, and how to make them."""
    cells = [name for name, standing in sorted(decision.standings.items()) if standing == "open"]
    wanted: list[Wanted] = []
    for name in cells:
        wanted += _for_constraints(table, entrants[name], constraints)
        cost = decision.costs.get(name, Estimate())
        if name != decision.leader and not no_better(cost, question.indifference):
            wanted.append(_for_comparison(table, name, decision, question))
    counts = {
        kind: _most(count for what, count in wanted if what == kind) for kind in ("launch", "image")
    }
    at_bound = any(count is None for _, count in wanted)
    return Needed(
        cells=cells,
        reason=_reason(
            counts["launch"],
            counts["image"],
            at_bound=at_bound,
            of_energy=question.objective in OF_ENERGY
            or any(constraint.figure in OF_ENERGY for constraint in constraints),
        ),
        launches=counts["launch"],
        images=counts["image"],
        command=_command(table, [entrants[name] for name in cells], counts)
        if any(counts.values())
        else "",
    )


def _most(counts: Iterator[int | None]) -> int | None:
    return max((count for count in counts if count is not None), default=None)


def _for_constraints(
    table: RunTable, one: Entrant, constraints: tuple[Constraint, ...]
) -> Iterator[Wanted]:
    for constraint, held in zip(constraints, one.held, strict=True):
        if held.state == "undecided":
            kind = FIGURES[constraint.figure]
            have = _have(table, one.cell, constraint.figure)
            yield kind, _scaled(have, _reach(constraint, held), held, kind)


def _have(table: RunTable, cell: str, figure: str) -> int:
    if FIGURES[figure] == "image":
        row = table.cells[cell]
        told = (item.get("scored_images") for item in table.run.info.datasets)
        return row.map_images or next((int(count) for count in told if count), 1)
    return len(table.values(cell, figure)) or 1


def _reach(constraint: Constraint, held: Held) -> float:
    """How far the interval reaches towards the limit and beyond."""
    value, low, high = (held.judged.value, held.judged.low, held.judged.high)
    if value is None or low is None or high is None:
        return 0.0
    return high - value if value < constraint.limit else value - low


def _scaled(have: int, reach: float, held: Held, kind: str) -> int | None:
    """How many there must be for an interval that shrinks with their root to clear the limit."""
    gap = abs((held.judged.value or 0.0) - held.limit)
    if kind == "launch" and have == 1:
        return _FEW_LAUNCHES
    if not gap:
        return None
    count = math.ceil(have * (reach / gap) ** 2)
    return max(have + 1, count) if count <= _MOST[kind] else None


def _for_comparison(table: RunTable, name: str, decision: Decision, question: Question) -> Wanted:
    """What it takes for a cell to be clearly behind the leader, or surely within indifference."""
    figure, leader = question.objective, decision.leader or name
    kind, band = FIGURES[figure], math.log1p(question.indifference)
    if kind == "launch":
        logs = table.log_ratios(name, leader, figure)
        if not logs:
            return kind, _FEW_LAUNCHES
        centre = abs(statistics.fmean(logs))
        error, prior = decision.errors[name], table.prior(name, leader, figure)
        return kind, rounds_needed(logs, error, max(centre, band - centre), prior)
    cost = decision.costs[name]
    if not cost.value or not cost.low or not cost.high:
        return kind, None
    centre = abs(math.log(cost.value))
    reach, gap = math.log(cost.high / cost.low) / 2, max(centre, band - centre)
    count = math.ceil(_have(table, name, figure) * (reach / gap) ** 2)
    return kind, count if count <= _MOST.get(kind, 0) else None


def _reason(launches: int | None, images: int | None, *, at_bound: bool, of_energy: bool) -> str:
    parts = []
    if launches is not None:
        sections = [f"measure: {{launches: {launches}, max_launches: {launches}}}"]
        if of_energy:
            sections.append(f"energy: {{launches: {launches}}}")
        parts.append(f"about {launches} launches of each ({', '.join(sections)})")
    if images is not None:
        parts.append(f"about {images} images to score on (scoring: {{max_images: {images}}})")
    told = f"{' and '.join(parts)} would decide" if parts else ""
    if at_bound:
        told += "; " if told else ""
        told += "where a figure lies at its bound, no number decides: choose another bound"
    return told


def _command(table: RunTable, cells: Sequence[Entrant], counts: Mapping[str, int | None]) -> str:
    """What measures the open cells again, and the FP32 cells that they are held against."""
    names = dict.fromkeys(one.cell for one in cells)
    names |= dict.fromkeys(
        held.reference for one in cells for held in one.held if held.reference is not None
    )
    info = table.run.info
    more = more_of(counts["launch"], counts["image"])
    cells_by_name = ("-k", " or ".join(names))
    command = "fleet" if info.machines else "run"
    words = ["deploymark", command, info.matrix_file, *info.options, *more, *cells_by_name]
    return shlex.join(words)

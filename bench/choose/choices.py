"""The table of a run as ``choices.json`` has it: what the rule looks at, without its code."""

from __future__ import annotations

from collections.abc import Sequence

from deploymark.bench.choose.question import stopped_cells
from deploymark.bench.choose.rule import ERROR
from deploymark.bench.choose.table import ASSUMED, RunTable
from deploymark.bench.matrix.constraints import parse_constraints
from deploymark.bench.matrix.figures import FIGURES, MORE_IS_BETTER
from deploymark.bench.records.answer import Estimate, Question
from deploymark.bench.records.choices import Asked, Choices, Ends, FigureChoice, packed_draws

OFFERED = (
    "latency_p50_ms",
    "latency_p95_ms",
    "e2e_p50_ms",
    "cold_ms",
    "load_ms",
    "peak_rss_bytes",
    "device_memory_bytes",
    "min_memory_mb",
    "energy_j_per_image",
    "battery_hours",
    "artifact_bytes",
    "map50_95",
    "agreement",
)
"""Figures that a reader may ask for in the page, where the run has them, besides its question's."""

_OF_MANY = ("latency_p50_ms", "latency_p95_ms", "peak_rss_bytes", "artifact_bytes", "map50_95")
_MANY_CELLS = 300
"""Cells beyond which only those are offered, with six digits: a page is no data base."""

MOST_DRAWN_CELLS = 45
"""Cells whose resamples are in the page: 4 kB each. With more, mAP is a limit there and no goal."""


def choices_of(table: RunTable, question: Question) -> Choices:
    """What the page of a run needs to answer other questions about it by the same rule."""
    names = list(table.cells)
    many = len(names) > _MANY_CELLS
    constraints = parse_constraints(question.where)
    wanted = dict.fromkeys(
        (
            question.objective,
            *(item.figure for item in constraints),
            *([question.then] if question.then else []),
            *(_OF_MANY if many else OFFERED),
        )
    )
    digits = 6 if many else 17
    measured = {name: [table.figure(cell, name) for cell in names] for name in wanted}
    found = {
        name: _figure(table, name, some, digits)
        for name, some in measured.items()
        if any(item.measured for item in some)
    }
    return Choices(
        question=question,
        constraints=[
            Asked(item.text, item.figure, item.upper, item.strict, item.kind, item.limit)
            for item in constraints
        ],
        cells=names,
        failed={
            name: f"{row.status}: {row.reason or 'no reason was recorded'}"
            for name, row in table.cells.items()
            if row.status != "ok"
        },
        stopped=stopped_cells(table.run, question),
        disturbed=[name for name, row in table.cells.items() if row.disturbed],
        sizes=[
            None if row.artifact_bytes is None else float(row.artifact_bytes)
            for row in table.cells.values()
        ],
        figures=found,
        error=ERROR,
        assumed=[(prior.variance, prior.freedom) for prior in ASSUMED],
    )


def _figure(table: RunTable, name: str, measured: Sequence[Estimate], digits: int) -> FigureChoice:
    names, scatters = list(table.cells), FIGURES[name]
    return FigureChoice(
        scatters=scatters,
        more=name in MORE_IS_BETTER,
        estimates=[_ends(item, digits) for item in measured],
        beside=[_ends(_beside(table, cell, name), digits) for cell in names],
        values=[_values(table, cell, name, digits) for cell in names]
        if scatters == "launch"
        else [],
        draws=_draws(table, names, name),
    )


def _beside(table: RunTable, cell: str, name: str) -> Estimate:
    """What a limit beside FP32 is held against."""
    reference = table.reference(cell)
    if reference is None or not table.figure(cell, name).measured:
        return Estimate()
    if FIGURES[name] == "image":
        return table.difference(cell, reference, name)
    return table.ratio(cell, reference, name)


def _draws(table: RunTable, names: Sequence[str], name: str) -> list[str | None]:
    if FIGURES[name] != "image" or name == "agreement" or len(names) > MOST_DRAWN_CELLS:
        return []
    drawn = [
        table.drawn(cell, name) if table.figure(cell, name).measured else None for cell in names
    ]
    return [None if item is None else packed_draws(item) for item in drawn]


def _values(
    table: RunTable, cell: str, name: str, digits: int
) -> tuple[list[int], list[float]] | None:
    values = table.values(cell, name)
    return (list(values), [_rounded(v, digits) for v in values.values()]) if values else None


def _ends(estimate: Estimate, digits: int) -> Ends:
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return None
    value, low, high = (
        _rounded(end, digits) for end in (estimate.value, estimate.low, estimate.high)
    )
    return [value] if value == low == high else [value, low, high]


def _rounded(value: float, digits: int) -> float:
    return float(f"{value:.{digits}g}")

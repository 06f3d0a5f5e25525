"""The columns of a run's table: which carry the decision, which are chosen, and derived ones."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from deploymark.bench.records.reference import reference_cell
from deploymark.bench.records.run import CellResult
from deploymark.reports.page import figures, tables
from deploymark.reports.page.tables import Column, Field, no_figure

LOSS = Column(
    "map50_95_loss",
    "mAP loss",
    "change",
    "mAP50-95 of the FP32 cell of the same unchanged model and size, less the cell's own.",
)
EXECUTED = Column(
    "executed_short",
    "executed",
    "text",
    "Share of the layers by the data type that the runtime says it ran them in.",
)
WARNINGS = Column("warnings", "warnings", "count", "Warnings about the cell's figures.")

_DECIDING = (
    "cell",
    "status",
    "latency_p50_ms",
    "latency_p95_ms",
    "map50_95",
    "map50_95_loss",
    "agreement",
    "peak_rss_bytes",
    "device_memory_bytes",
    "energy_j_per_image",
    "artifact_bytes",
    "executed_short",
    "warnings",
)


def _columns() -> tuple[Column, ...]:
    """Those that carry the decision, in order; then the others."""
    by_key = {column.key: column for column in (*tables.COLUMNS, LOSS, EXECUTED, WARNINGS)}
    return (
        *(by_key[key] for key in _DECIDING),
        *(c for c in by_key.values() if c.key not in _DECIDING),
    )


COLUMNS = _columns()

_GROUPS = {
    "Cell": ("cell", "status", "warnings", "notes"),
    "Launches": ("launches", "disturbed_launches", "iterations", "bursts", "quiet"),
    "Latency": ("latency", "cold", "warmup", "load_ms", "e2e", "throughput"),
    "Accuracy": ("map50", "agreement", "score_drift"),
    "Memory": (
        "peak_rss",
        "model_rss",
        "uss",
        "load_peak",
        "steady",
        "memory_per",
        "min_",
        "device_m",
    ),
    "Energy": ("energy", "images_per_wh", "battery"),
    "Artifact and model": ("artifact", "params", "macs", "nonzero", "executed", "licence"),
}


def group(column: Column) -> str:
    """Where the column chooser has a column."""
    return next((name for name, starts in _GROUPS.items() if column.key.startswith(starts)), "Axes")


def shown(cells: Sequence[CellResult], rows: Sequence[Sequence[Field]]) -> dict[str, bool]:
    """For each column's key, whether it is there before the reader chooses.

    Those that carry the decision, where any cell has a figure of it; agreement where no mAP is.
    """
    some = {
        column.key: any(not row[number].absent for row in rows)
        for number, column in enumerate(COLUMNS)
    }
    keep = {key for key in _DECIDING if some.get(key)}
    keep |= {"cell", "status", "latency_p50_ms", "map50_95"}
    if some["map50_95"]:
        keep -= {"agreement"}
    elif some["agreement"]:
        keep -= {"map50_95"}
    if not any(cell.warnings for cell in cells):
        keep -= {"warnings"}
    return {column.key: column.key in keep for column in COLUMNS}


def field_rows(cells: Sequence[CellResult]) -> list[list[Field]]:
    """The fields of each cell, in the order of ``COLUMNS``."""
    references: dict[tuple[object, ...], CellResult | None] = {}
    by_id = {cell.cell: cell for cell in cells}

    def reference(cell: CellResult) -> CellResult | None:
        key = (cell.model, str(cell.imgsz))
        if key not in references:
            references[key] = by_id.get(reference_cell(cells, cell) or "")
        return references[key]

    def field(cell: CellResult, column: Column) -> Field:
        if column is LOSS:
            return _loss(cell, reference(cell))
        if column is EXECUTED:
            return _executed(cell)
        if column is WARNINGS:
            return _warnings(cell)
        return tables.field(cell, column)

    return [[field(cell, column) for column in COLUMNS] for cell in cells]


def _warnings(cell: CellResult) -> Field:
    count = len(cell.warnings)
    if not count:
        return no_figure("no warnings")
    return Field(f"▲ {count}", value=float(count), title="\n".join(cell.warnings))


def _loss(cell: CellResult, reference: CellResult | None) -> Field:
    own = tables.field(cell, tables.BY_KEY["map50_95"])
    if own.absent:
        return no_figure(own.title)
    if reference is None:
        return no_figure("the run has no FP32 cell of this unchanged model that has an mAP")
    base = figures.measured(reference.map50_95)
    if base is None or own.value is None:
        return no_figure(f"not measured of {reference.cell}")
    if reference.cell == cell.cell:
        return Field("reference", value=0.0, title="the others' loss is told against this cell")
    loss = base - own.value
    return Field(
        figures.signed(loss, figures.DIGITS), value=loss, title=f"against {reference.cell}"
    )


_LAYERS = re.compile(r"(?:^|, )[^,:]+:([A-Za-z]\w*) ?×?(\d+)(?=,|$)")

_TYPES = {
    "int8": ("i8", "u8", "s8", "int8", "uint8", "qint8", "quint8"),
    "fp16": ("f16", "half", "float16", "fp16"),
    "bf16": ("bf16", "bfloat16"),
    "fp32": ("f32", "float", "float32", "fp32"),
    "fp64": ("f64", "double", "float64"),
}
_NAMES = {name: kind for kind, names in _TYPES.items() for name in names}


def precision_shares(executed: str) -> list[tuple[str, float]]:
    """(data type, share of the layers) of an ``executed_precision``, the largest first.

    Empty where the text is not of layers by data type.
    """
    counts: Counter[str] = Counter()
    for name, count in _LAYERS.findall(executed):
        counts[_NAMES.get(name.lower(), name)] += int(count)
    total = sum(counts.values())
    return [(kind, count / total) for kind, count in counts.most_common() if total]


def _executed(cell: CellResult) -> Field:
    whole = tables.field(cell, tables.BY_KEY["executed_precision"])
    if whole.absent:
        return no_figure(whole.title)
    shares = precision_shares(whole.text)
    if not shares:
        return Field(whole.text, title=whole.text)
    told = [f"{kind} {_percent(share)}" for kind, share in shares]
    return Field(", ".join(told[:3]), title=f"of the layers: {whole.text}")


def _percent(share: float) -> str:
    """A share in whole percent, of which something is never 0 and not all never 100."""
    if share < 0.01:  # noqa: PLR2004 - rounds to 0 or 1
        return "<1 %"
    if 0.99 < share < 1:  # noqa: PLR2004 - rounds to 100
        return ">99 %"
    return f"{share * 100:.0f} %"

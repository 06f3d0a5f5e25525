"""The cells of a run as the page's own data: every figure as it is shown, and each cell's page.

The table of the page is made of it, so that it sorts and filters thousands of cells at once.
"""

from __future__ import annotations

import dataclasses
import math
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from deploymark.bench.records.launches import Record
from deploymark.bench.records.run import CellResult, Run
from deploymark.reports.page import figures, tables
from deploymark.reports.page.tables import Column, Field

MOST_ROWS = 100
"""Rows that the page has without JavaScript; with it, how many are shown at a time."""

MOST_LAUNCHES = 3000
"""Launches whose distributions are in the page; a run of more has them in launches.jsonl alone."""

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
"""Of the latencies of a launch, as its page draws them."""

_NAME = Column("name", "cell", "text", "What tells the cell from the others; its id on pointing.")
_LOSS = Column(
    "map_loss",
    "mAP loss",
    "change",
    "mAP50-95 below that of the FP32 cell that it is compared with; above zero is worse.",
)
_EXECUTED = Column(
    "executed",
    "executed as",
    "text",
    "Data types that the runtime says its layers ran in, by their number; reshapes and copies "
    "aside.",
)

_DECIDING = (
    "latency_p50_ms",
    "latency_p95_ms",
    "map50_95",
    "agreement",
    "map_loss",
    "peak_rss_bytes",
    "device_memory_bytes",
    "energy_j_per_image",
    "artifact_bytes",
    "executed",
)
"""Columns that a choice is made by, in order: shown where any cell has them."""

_AXES = (
    "model",
    "variant",
    "precision",
    "backend",
    "device",
    "imgsz",
    "batch",
    "threads",
    "memory_limit_mb",
    "runtime_axes",
)

_GROUPS: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "Cell",
        re.compile(
            r"cell|name|status|precision|backend|variant|model|device|family|licence|imgsz|batch|"
            r"threads|memory_limit_mb|notes"
        ),
    ),
    ("Launches", re.compile(r"launches|disturbed_launches|iterations|.*bursts")),
    ("Memory", re.compile(r".*rss_bytes|uss.*|memory.*|min_memory.*|device_memory.*")),
    ("Latency", re.compile(r"(latency|cold|warmup|load|e2e|throughput).*")),
    ("Accuracy", re.compile(r"map.*|agreement|score_drift")),
    ("Energy", re.compile(r"energy.*|images_per_wh|battery.*")),
    ("Model and artifact", re.compile(r"artifact.*|params|macs|nonzero.*|executed.*|.*contract")),
)

_MOVES = re.compile(
    r"(?i)(reshape|reorder|transpose|permute|split|slice|concat|cast|convert|copy|memory|view|"
    r"squeeze|flatten|identity|pad)"
)
"""Operators that move or convert numbers and compute none."""


def short_names(cells: Sequence[CellResult]) -> dict[str, str]:
    """By id, what tells a cell from the others: its values on the axes that differ at all."""
    if len(cells) < 2:  # noqa: PLR2004 - one cell has no others
        return {cell.cell: cell.cell for cell in cells}
    differ = [axis for axis in _AXES if len({str(getattr(cell, axis)) for cell in cells}) > 1]
    names = {
        cell.cell: " ".join(str(v) for axis in differ if (v := getattr(cell, axis)) is not None)
        for cell in cells
    }
    counts = Counter(names.values())
    return {cell: name if name and counts[name] == 1 else cell for cell, name in names.items()}


def executed_shares(text: str | None) -> str:
    """``int8 94 %, f32 6 %``: layers that compute by their data type, of ``executed_precision``."""
    counts: Counter[str] = Counter()
    for kind, dtype, count in re.findall(r"([^,:]+):([\w-]+) ×(\d+)", text or ""):
        if not _MOVES.search(kind):
            counts[dtype] += int(count)
    total = counts.total()
    shares = ((dtype, 100 * count / total) for dtype, count in counts.most_common())
    return ", ".join(f"{dtype} {_share(share)} %" for dtype, share in shares)


def _share(percent: float) -> str:
    rounded = round(percent)
    return "<1" if percent < 1 else ">99" if rounded == 100 > percent else str(rounded)  # noqa: PLR2004


def map_losses(cells: Sequence[CellResult]) -> dict[str, float]:
    """By id, how far mAP50-95 lies below that of the FP32 cell that the cell is compared with."""
    scores = {
        cell.cell: score
        for cell in cells
        if cell.status == "ok" and (score := figures.measured(cell.map50_95)) is not None
    }
    references = {cell.agreement_reference for cell in cells}
    found = {}
    for cell in cells:
        beside = cell.agreement_reference or (cell.cell if cell.cell in references else None)
        if cell.cell in scores and beside in scores:
            found[cell.cell] = scores[beside] - scores[cell.cell]
    return found


def _columns() -> tuple[Column, ...]:
    """All columns: the name, how it ended, those that decide, the rest."""
    rest = [c for c in tables.COLUMNS if c.key not in {"cell", "status", *_DECIDING}]
    by_key = {**tables.BY_KEY, "map_loss": _LOSS, "executed": _EXECUTED}
    return (_NAME, tables.BY_KEY["status"], *(by_key[key] for key in _DECIDING), *rest)


COLUMNS = _columns()


@dataclasses.dataclass(frozen=True)
class CellTable:
    """All cells of a run, ready to be shown: a row of fields each, in the order of ``COLUMNS``.

    ``shown`` are the columns that are seen before the reader asks for others, ``known`` those with
    any figure.
    """

    cells: tuple[CellResult, ...]
    rows: list[list[Field]]
    shown: frozenset[str]
    known: frozenset[str]


def cell_table(cells: Sequence[CellResult]) -> CellTable:
    """The table of some cells."""
    names, losses = short_names(cells), map_losses(cells)
    rows = [[_field(cell, column, names, losses) for column in COLUMNS] for cell in cells]
    known = {
        column.key
        for place, column in enumerate(COLUMNS)
        if any(not row[place].absent and row[place].text for row in rows)
    }
    some = {"name", "status", *(key for key in _DECIDING if key in known)}
    if "map50_95" in some:
        some -= {"agreement"}
    if "device_memory_bytes" in some:
        some -= {"peak_rss_bytes"}
    return CellTable(tuple(cells), rows, frozenset(some), frozenset(known))


def _field(
    cell: CellResult, column: Column, names: Mapping[str, str], losses: Mapping[str, float]
) -> Field:
    if column.key == "name":
        return Field(names[cell.cell], title=cell.cell)
    if column.key == "map_loss":
        loss = losses.get(cell.cell)
        if loss is None:
            return tables.no_figure("not compared with an FP32 cell that has an mAP")
        beside = cell.agreement_reference
        title = f"below {beside}" if beside else "the others are compared with this cell"
        return Field(figures.signed(loss, figures.DIGITS), value=loss, title=title)
    if column.key == "executed":
        text = executed_shares(cell.executed_precision)
        title = cell.executed_precision or "the runtime does not tell"
        return Field(text, title=title) if text else tables.no_figure(title)
    return tables.field(cell, column)


def group_of(column: Column) -> str:
    """The heading that the chooser of columns has a column under."""
    return next((name for name, keys in _GROUPS if keys.fullmatch(column.key)), "Other")


def table_data(table: CellTable) -> dict[str, Any]:
    """The table as JSON: columns, and of each cell its fields: ``[text, number, title, extra]``."""
    return {
        "most": MOST_ROWS,
        "columns": [
            {
                "key": column.key,
                "title": column.title,
                "unit": column.unit,
                "meaning": column.meaning,
                "numeric": column.numeric,
                "high": column.high_first,
                "group": group_of(column),
                "long": column.key in tables.LONG_TEXTS,
                "shown": column.key in table.shown,
                "known": column.key in table.known,
            }
            for column in COLUMNS
        ],
        "cells": [
            {
                "id": cell.cell,
                "backend": cell.backend,
                "precision": cell.precision,
                "variant": cell.variant,
                "status": cell.status,
                "disturbed": cell.disturbed,
                "warnings": cell.warnings,
                "fields": [_packed(field) for field in row],
            }
            for cell, row in zip(table.cells, table.rows, strict=True)
        ],
    }


def _packed(field: Field) -> Any:
    """A field as the page reads it; a dash is ``[null, why]``."""
    if field.absent:
        return [None, field.title]
    values = [field.text, field.value, field.title, field.extra]
    while values[-1] in {None, ""} and len(values) > 1:
        values.pop()
    return values[0] if len(values) == 1 else values


def details_data(run: Run, launches: Sequence[Record]) -> dict[str, Any]:
    """What the pages of cells say besides the figures, as JSON."""
    by_cell: dict[str, list[Record]] = {}
    for record in launches:
        by_cell.setdefault(str(record.get("cell")), []).append(record)
    drawn = len(launches) <= MOST_LAUNCHES
    return {
        "drawn": drawn,
        "cells": {
            cell.cell: _details(run, cell, by_cell.get(cell.cell, []), drawn=drawn)
            for cell in run.cells
        },
    }


def _details(
    run: Run, cell: CellResult, records: Sequence[Record], *, drawn: bool
) -> dict[str, Any]:
    found: dict[str, Any] = {
        "reason": cell.reason,
        "remedy": cell.remedy,
        "notes": cell.notes,
        "stopped": cell.stopped,
        "settings": cell.runtime_settings,
        "sha256": cell.artifact_sha256,
        "again": again(run, cell.cell),
        "launches": [_launch(record) for record in records] if drawn else [],
    }
    return {key: value for key, value in found.items() if value}


def again(run: Run, cell: str) -> str:
    """The command that measures a cell again."""
    words = ["deploymark", "run", run.info.matrix_file, *run.info.options, "-k", cell]
    return shlex.join(words)


def _launch(record: Record) -> dict[str, Any]:
    """One launch: how it ended, and where its latencies lie (ms, at ``QUANTILES``)."""
    conditions = record.get("conditions")
    seen = conditions if isinstance(conditions, Mapping) else {}
    found = {
        "launch": record.get("launch"),
        "attempt": record.get("attempt"),
        "status": record.get("status"),
        "reason": record.get("reason"),
        "disturbed": list(_texts(record.get("disturbed"))),
        "started": record.get("started"),
        "ms": _quantiles(record.get("latency_ns")),
        "count": len(record.get("latency_ns") or ()),
        "warmup": _number(record.get("warmup"), "iterations"),
        "temperature_c": _plain(seen.get("temperature_c")),
        "mhz": _plain(seen.get("cpu_mhz_mean")),
        "foreign": _plain(seen.get("foreign_load_cores")),
    }
    return {key: value for key, value in found.items() if value not in (None, "", [], 0.0)}


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield str(item.get("reason", item)) if isinstance(item, Mapping) else str(item)


def _number(value: object, key: str) -> float | None:
    return _plain(value.get(key)) if isinstance(value, Mapping) else None


def _plain(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(f"{value:.4g}")


def _quantiles(times_ns: object) -> list[float]:
    """Of the latencies of a launch, milliseconds; nothing where there are none."""
    if not isinstance(times_ns, list) or not times_ns:
        return []
    ordered = sorted(times_ns)
    last = len(ordered) - 1
    return [float(f"{ordered[round(share * last)] / 1e6:.4g}") for share in QUANTILES]

"""All figures of all cells as the page's scripts read them: column by column, each text once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from deploymark.bench.records.run import LOGS_FOLDER, PREDICTIONS_FOLDER, Run
from deploymark.reports.page.tables import Field
from deploymark.reports.run import cell_columns
from deploymark.reports.run.cell_launches import (
    FEW_QUANTILES,
    QUANTILES,
    condition_titles,
    launches_by_cell,
)
from deploymark.reports.run.cell_names import rerun_commands, short_names

MANY = 150
"""Cells from which the page is kept small: rows beyond are made by the script alone."""

_TEXTS = (
    "reason",
    "remedy",
    "stopped",
    "tail_reason",
    "accuracy_doubt",
    "energy_reason",
    "memory_reason",
    "runtime_settings",
    "runtime_axes",
    "agreement_reference",
    "artifact_sha256",
    "energy_source",
    "warnings",
    "notes",
)
"""Of ``cells.json``: what a cell's page tells beside its figures."""


def cell_data(
    run: Run, rows: Sequence[Sequence[Field]], launches: Iterable[Mapping[str, Any]]
) -> dict[str, Any]:
    """What ``table.js`` and ``cell_page.js`` show, plain data.

    ``columns`` describe the columns; each has ``d``, its distinct fields [text, value, extra,
    title] (a text of None is an absent figure, and the title its reason), and ``r``, the index into
    them by cell. ``texts`` are by key the same, without the layers of a field.
    """
    cells = run.cells
    shown = cell_columns.shown(cells, rows)
    commands, many = rerun_commands(run.info, cells), len(cells) > MANY
    names = [cell.cell for cell in cells]
    by_cell = launches_by_cell(launches, few=many)
    return {
        "names": short_names(cells),
        "columns": [
            {
                "key": column.key,
                "title": column.title,
                "unit": column.unit,
                "meaning": column.meaning,
                "numeric": column.numeric,
                "high": column.high_first,
                "group": cell_columns.group(column),
                "shown": shown[column.key],
            }
            | _coded([_entry(row[number], 4 if many else 6) for row in rows])
            for number, column in enumerate(cell_columns.COLUMNS)
        ],
        "texts": {key: _coded([getattr(cell, key) for cell in cells]) for key in _TEXTS},
        "disturbed": [number for number, cell in enumerate(cells) if cell.disturbed],
        "commands": [commands[name] for name in names],
        "quantiles": FEW_QUANTILES if many else QUANTILES,
        "conditions": condition_titles(),
        "launches": [by_cell.get(name, []) for name in names],
        "folders": {"logs": LOGS_FOLDER, "predictions": PREDICTIONS_FOLDER},
    }


def _entry(field: Field, digits: int) -> list[Any]:
    """A field without what is empty at its end; its value with that many significant digits."""
    if field.absent:
        return [None, None, "", field.title]
    value = None if field.value is None else float(f"{field.value:.{digits}g}")
    entry = [field.text, value, field.extra, field.title]
    while entry[-1] in {"", None}:
        entry.pop()
    return entry


def _coded(values: Sequence[Any]) -> dict[str, Any]:
    """Each distinct value once, and by cell its number; no numbers where there is one value."""
    numbers: dict[str, int] = {}
    rows = [numbers.setdefault(json.dumps(value, default=str), len(numbers)) for value in values]
    coded: dict[str, Any] = {"d": [json.loads(text) for text in numbers]}
    return coded | ({"r": rows} if len(numbers) > 1 else {})

"""The figures of a chart as a table: what a reader sees who sees no chart, or no JavaScript."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from deploymark.reports.page import figures

MOST_ROWS = 300
"""Rows of a table behind a chart; a chart of more has its figures in the table of cells alone."""


@dataclasses.dataclass(frozen=True)
class ChartTable:
    """Titles of the columns, and rows of texts. ``left_out`` rows are beyond ``MOST_ROWS``."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left_out: int = 0


def chart_table(spec: Mapping[str, Any] | None) -> ChartTable | None:
    """What the marks of a Vega-Lite specification show on pointing, a row a mark.

    The columns are those of the mark that tells most. None where no mark tells anything.
    """
    if not spec:
        return None
    hints, name = max(_hints(spec, None), key=lambda item: len(item[0]), default=([], None))
    rows = spec.get("datasets", {}).get(name, [])
    if not hints or not rows:
        return None
    fields = [(hint["field"], hint.get("title", hint["field"])) for hint in hints]
    texts = dict.fromkeys(tuple(_text(row.get(field)) for field, _ in fields) for row in rows)
    kept = tuple(texts)[:MOST_ROWS]
    return ChartTable(tuple(title for _, title in fields), kept, len(texts) - len(kept))


def _hints(node: Any, name: str | None) -> Iterator[tuple[list[Mapping[str, Any]], str | None]]:
    """Each list of tooltips below a node, with the name of the data that its marks are of."""
    if isinstance(node, Mapping):
        data = node.get("data")
        name = data.get("name", name) if isinstance(data, Mapping) else name
        told = node.get("encoding", {}).get("tooltip")
        if isinstance(told, list):
            yield told, name
        for key in ("layer", "spec", "hconcat", "vconcat", "concat"):
            yield from _hints(node.get(key), name)
    elif isinstance(node, list):
        for item in node:
            yield from _hints(item, name)


def _text(value: Any) -> str:
    if value is None or value == "":
        return figures.ABSENT
    if isinstance(value, bool):
        return "yes" if value else "no"
    return figures.significant(value) if isinstance(value, float) else str(value)

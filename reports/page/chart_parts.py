"""Parts that several charts are made of: axes, whiskers, facets, and what pointing shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from deploymark.bench.records.run import CellResult
from deploymark.reports.page import figures
from deploymark.reports.page.chart_style import PLAIN_NUMBER, Row, log_ticks

BARE_AXIS: Row = {"title": None, "domain": False, "ticks": False}
"""Of an axis of names, which its labels alone explain."""

ROW_LABELS: Row = {**BARE_AXIS, "labelLimit": 420, "labelPadding": 8}
"""Of an axis with a cell a row; its labels are ids, of up to 420 pixels."""

_MARGIN = 1.06


def in_order(rows: Sequence[Row], key: str) -> list[str]:
    """The values of a field of the rows, each once, in order of appearance."""
    return list(dict.fromkeys(row[key] for row in rows))


def told(titles: Mapping[str, str]) -> list[Any]:
    """What a mark shows on pointing: the title of each field, given with its type (``cell:N``)."""
    import altair as alt

    return [alt.Tooltip(field, title=title) for field, title in titles.items()]


def facet(rows: Sequence[Row], key: str) -> Any:
    """A small chart for each value of a field, in order of appearance, titled by it."""
    import altair as alt

    return alt.Facet(f"{key}:N").sort(in_order(rows, key)).title(None)


def whiskers(base: Any, width: float, along: Literal["x", "y"], **channels: Any) -> Any:
    """Lines from ``low`` to ``high`` of the rows of a chart that have both, ``width`` px thick."""
    ends = {along: "low:Q", f"{along}2": "high:Q"}
    lines = base.mark_rule(strokeWidth=width).encode(**ends, **channels)
    return lines.transform_filter("isValid(datum.low) && isValid(datum.high)")


def drawn_latency(cell: CellResult) -> float | None:
    """The latency (ms) that a logarithmic scale has a place for, None where there is none."""
    latency = figures.measured(cell.latency_p50_ms) if cell.status == "ok" else None
    return latency if latency is not None and latency > 0 else None


def latency_ends(rows: Sequence[Row]) -> tuple[float, float]:
    """Ends of an axis (ms) that shows the ``p50`` of all rows, and ``low`` and ``high`` if any."""
    low = min(row["low"] or row["p50"] for row in rows)
    return low / _MARGIN, max(row["high"] or row["p50"] for row in rows) * _MARGIN


def log_latency(low: float, high: float) -> Any:
    """The horizontal axis of ``p50`` from ``low`` to ``high`` (ms, above zero), logarithmic."""
    import altair as alt

    return (
        alt.X("p50:Q")
        .scale(type="log", domain=[low, high], nice=False)
        .axis(
            title="latency p50, ms (log scale)",
            values=log_ticks(low, high),
            labelExpr=PLAIN_NUMBER,
        )
    )

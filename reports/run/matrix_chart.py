"""The chart of the matrix: a square for each cell, dark where it is slow."""

from __future__ import annotations

import math
from collections.abc import Sequence

from deploymark.bench.records.run import NOT_FAILURES, CellResult
from deploymark.reports.page import chart_parts, figures
from deploymark.reports.page.chart_style import PLAIN_NUMBER, Row, finished, log_ticks

LATENCY_COLOURS = ("#eaf1f6", "#b9d3e4", "#78a9cb", "#3d78a8", "#17456e")
"""Light to dark with rising latency; one hue, so that lightness alone carries the order."""

_DARK_FROM = 0.55
"""Share of the colour scale from which white text reads better than black."""

_MOST_LEGEND_TICKS = 6
_ROW_PX = 26
_COLUMN_PX, _NARROWEST_COLUMN_PX, _COLUMNS_PX = 112, 78, 1120
"""A column of the matrix; many share the width of the page, down to what a word needs."""

_ROW_LABEL = {
    "model": "{}",
    "variant": "{}",
    "precision": "{}",
    "device": "{}",
    "imgsz": "{} px",
    "batch": "batch {}",
    "threads": "{} thr.",
}
"""Parts of a row's label, in order. Variant and precision are always in it."""


def _row_labels(cells: Sequence[CellResult]) -> list[str]:
    """The label of each cell's row: what tells it from the others besides the backend.

    Cells that would still share a square (two interpreters of one backend) get rows of their own.
    """
    always = {"variant", "precision"}
    parts = {
        name: text
        for name, text in _ROW_LABEL.items()
        if name in always or len({getattr(cell, name) for cell in cells}) > 1
    }
    taken: dict[tuple[str, str], int] = {}
    labels = []
    for cell in cells:
        label = " · ".join(text.format(getattr(cell, name)) for name, text in parts.items())
        times = taken[label, cell.backend] = taken.get((label, cell.backend), 0) + 1
        labels.append(label if times == 1 else f"{label} ({times})")
    return labels


def matrix_rows(cells: Sequence[CellResult]) -> list[Row]:
    """One row for each cell: its place in the matrix and the text and ink of its square.

    ``p50`` is None where there is no latency to colour by; ``text`` is then the cell's status.
    """
    drawn = [chart_parts.drawn_latency(cell) for cell in cells]
    logs = [math.log(latency) for latency in drawn if latency is not None]
    low, span = (min(logs), max(logs) - min(logs)) if logs else (0.0, 0.0)
    rows: list[Row] = []
    for cell, label, latency in zip(cells, _row_labels(cells), drawn, strict=True):
        share = (math.log(latency) - low) / span if latency is not None and span else 0.0
        status = figures.ABSENT if cell.status == "ok" else cell.status.replace("_", " ")
        rows.append(
            {
                "row": label,
                "backend": cell.backend,
                "cell": cell.cell,
                "p50": latency,
                "text": status if latency is None else figures.significant(latency),
                "dark": share >= _DARK_FROM,
                "status": cell.status,
                "failed": cell.status not in NOT_FAILURES,
                "reason": cell.reason or "",
            }
        )
    return rows


def matrix_chart(cells: Sequence[CellResult]) -> Row | None:
    """Vega-Lite specification: a square for each cell, coloured by its median latency.

    None where there are no cells. The page's style sheet colours the texts of the layers
    ``failed`` and ``absent``, so that they follow its scheme.
    """
    if not cells:
        return None
    import altair as alt

    rows = matrix_rows(cells)
    known = [row["p50"] for row in rows if row["p50"] is not None]
    low, high = (min(known), max(known)) if known else (1.0, 1.0)
    if low == high:
        low, high = low / 1.1, high * 1.1
    backends = chart_parts.in_order(rows, "backend")
    x = alt.X("backend:N").sort(backends).scale(paddingInner=0.02)
    x = x.axis(orient="top", labelAngle=0, labelFontWeight=600, **chart_parts.BARE_AXIS)
    y = (
        alt.Y("row:N")
        .sort(chart_parts.in_order(rows, "row"))
        .scale(paddingInner=0.08)
        .axis(**chart_parts.ROW_LABELS)
    )
    ticks = log_ticks(low, high)
    colour = (
        alt.Color("p50:Q")
        .scale(type="log", domain=[low, high], range=list(LATENCY_COLOURS), nice=False)
        .legend(
            title="latency p50, ms",
            orient="bottom",
            gradientLength=260,
            values=ticks[:: math.ceil(len(ticks) / _MOST_LEGEND_TICKS)],
            labelExpr=PLAIN_NUMBER,
        )
    )
    ink = alt.condition("datum.dark", alt.value("#ffffff"), alt.value("#14212b"))
    which = {"cell:N": "cell", "status:N": "status"}
    how_long = chart_parts.told(which | {"text:N": "p50, ms"})
    why = chart_parts.told(which | {"reason:N": "reason"})

    base = alt.Chart(alt.NamedData(name="cells")).encode(x=x, y=y)
    measured = base.transform_filter("isValid(datum.p50)")
    other = base.transform_filter("!isValid(datum.p50)")
    text: Row = {"fontSize": 11, "fontStyle": "italic"}
    layers = [other.mark_rect(fill="#8b969e", fillOpacity=0.16).encode(tooltip=why)]
    for name, kept in (("failed", "datum.failed"), ("absent", "!datum.failed")):
        words = other.mark_text(**text).encode(text="text:N", tooltip=why)
        layers.append(words.transform_filter(kept).properties(name=name))
    if known:
        layers += [
            measured.mark_rect().encode(color=colour, tooltip=how_long),
            measured.mark_text(fontSize=12).encode(text="text:N", color=ink, tooltip=how_long),
        ]
    width = max(_NARROWEST_COLUMN_PX, min(_COLUMN_PX, _COLUMNS_PX // len(backends)))
    chart = alt.layer(*layers).properties(width=alt.Step(width), height=alt.Step(_ROW_PX))
    return finished(chart, {"cells": rows})

"""The charts of the report, as Vega-Lite specifications made with Altair.

Altair takes a second to import, so it is imported where a chart is made.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from deploymark.bench.records.run import NOT_FAILURES, CellResult
from deploymark.reports.page import figures
from deploymark.reports.page.chart_style import (
    PLAIN_NUMBER,
    Row,
    backend_colour,
    backend_order,
    finished,
    log_ticks,
    precision_shape,
)
from deploymark.reports.run.pareto import pareto_front

LATENCY_COLOURS = ("#eaf1f6", "#b9d3e4", "#78a9cb", "#3d78a8", "#17456e")
"""Light to dark with rising latency; one hue, so that lightness alone carries the order."""

_DARK_FROM = 0.55
"""Share of the colour scale from which white text reads better than black."""

_MOST_LEGEND_TICKS = 6
_WIDEST_ROW_LABEL_PX = 420
_ROW_PX = 26
_COLUMN_PX, _NARROWEST_COLUMN_PX, _COLUMNS_PX = 112, 78, 1120
"""A column of the matrix; many share the width of the page, down to what a word needs."""


def without_labels(cells: Sequence[CellResult]) -> bool:
    """Whether no cell has an mAP and some have an agreement, which then stands for it."""
    scored = any(figures.measured(cell.map50_95) is not None for cell in cells)
    return not scored and any(figures.measured(cell.agreement) is not None for cell in cells)


def _accuracies(cells: Sequence[CellResult]) -> list[float | None]:
    """The accuracy of each cell: its mAP, or its agreement where the run has no labels.

    A cell that others are compared with agrees with itself.
    """
    if not without_labels(cells):
        return [figures.measured(cell.map50_95) for cell in cells]
    references = {cell.agreement_reference for cell in cells}
    return [
        1.0
        if cell.agreement_reference is None and cell.cell in references
        else figures.measured(cell.agreement)
        for cell in cells
    ]


def scatter_rows(cells: Sequence[CellResult]) -> list[Row]:
    """One row for each ok cell that has both a latency above zero and an accuracy.

    That is its mAP, or its agreement where the run has no labels. A cell whose later launch failed
    may hold figures, but it is nothing to choose from.
    """
    known = [
        (cell, accuracy)
        for cell, accuracy in zip(cells, _accuracies(cells), strict=True)
        if _drawn_latency(cell) is not None and accuracy is not None
    ]
    plotted = [cell for cell, _ in known]
    points = [(float(cell.latency_p50_ms or 0), accuracy) for cell, accuracy in known]
    front = set(pareto_front(points))
    rows: list[Row] = []
    for index, (cell, (latency, accuracy)) in enumerate(zip(plotted, points, strict=True)):
        ends = figures.interval(cell.latency_ci_low_ms, cell.latency_ci_high_ms)
        low = cell.latency_ci_low_ms if ends else None
        rows.append(
            {
                "cell": cell.cell,
                "backend": cell.backend,
                "precision": cell.precision,
                "variant": cell.variant,
                "p50": latency,
                # A logarithmic axis has no place for an end at or below zero.
                "low": low if low is not None and low > 0 else None,
                "high": cell.latency_ci_high_ms if ends else None,
                "map": accuracy,
                "latency": f"{figures.milliseconds(latency)} {ends or ''}".rstrip(),
                "accuracy": figures.accuracy(accuracy),
                "front": "yes" if index in front else "no",
            }
        )
    return rows


def _accuracy_domain(rows: Sequence[Row]) -> list[float]:
    """Ends of the accuracy axis: around the values, within [0, 1], and never of no length."""
    low, high = min(row["map"] for row in rows), max(row["map"] for row in rows)
    margin = max(0.06 * (high - low), 0.005)
    return [max(0.0, low - margin), min(1.0, high + margin)]


def latency_accuracy_chart(cells: Sequence[CellResult]) -> Row | None:
    """Vega-Lite specification: latency (x, logarithmic) against accuracy (y), with the front.

    None where no cell has both. Rows are of ``scatter_rows``; whiskers are confidence intervals.
    """
    rows = scatter_rows(cells)
    if not rows:
        return None
    import altair as alt

    front = sorted((r for r in rows if r["front"] == "yes"), key=lambda r: (r["p50"], r["map"]))
    low = min(r["low"] or r["p50"] for r in rows) / 1.06
    high = max(r["high"] or r["p50"] for r in rows) * 1.06
    # What a latency budget buys does not end with the slowest cell of the front.
    steps = [{"p50": r["p50"], "map": r["map"]} for r in front]
    steps.append({"p50": high, "map": front[-1]["map"]})

    ticks = log_ticks(low, high)
    x = alt.X("p50:Q").scale(type="log", domain=[low, high], nice=False)
    x = x.axis(title="latency p50, ms (log scale)", values=ticks, labelExpr=PLAIN_NUMBER)
    accuracy = "agreement with the reference" if without_labels(cells) else "mAP50-95"
    y = alt.Y("map:Q").scale(domain=_accuracy_domain(rows), nice=True).title(accuracy)
    colour = backend_colour(rows, backend_order(cells))
    shape = precision_shape(rows)
    by_backend = alt.selection_point(name="by_backend", fields=["backend"], bind="legend")
    strength = alt.condition(by_backend, alt.value(0.95), alt.value(0.12))

    line = (
        alt.Chart(alt.NamedData(name="front"))
        .mark_line(interpolate="step-after", strokeWidth=1.5, strokeDash=[5, 3], color="#7d8a94")
        .encode(x=x, y=y)
    )
    named = alt.NamedData(name="cells")
    whiskers = (
        alt.Chart(named)
        .mark_rule(strokeWidth=1.5)
        .encode(x=alt.X("low:Q"), x2=alt.X2("high:Q"), y=y, color=colour, opacity=strength)
        .transform_filter("isValid(datum.low) && isValid(datum.high)")
    )
    points = (
        alt.Chart(named)
        .mark_point(filled=True, size=95)
        .encode(
            x=x,
            y=y,
            color=colour,
            shape=shape,
            opacity=strength,
            tooltip=[
                alt.Tooltip("cell:N", title="cell"),
                alt.Tooltip("latency:N", title="p50 [95 % CI]"),
                alt.Tooltip("accuracy:N", title=accuracy),
                alt.Tooltip("backend:N", title="backend"),
                alt.Tooltip("precision:N", title="precision"),
                alt.Tooltip("variant:N", title="variant"),
                alt.Tooltip("front:N", title="on the Pareto front"),
            ],
        )
        .add_params(by_backend)
    )
    chart = alt.layer(line, whiskers, points).properties(width="container", height=400)
    return finished(chart, {"cells": rows, "front": steps})


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
    drawn = [_drawn_latency(cell) for cell in cells]
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


def _drawn_latency(cell: CellResult) -> float | None:
    """The latency that a logarithmic scale can colour, None where there is none."""
    latency = figures.measured(cell.latency_p50_ms) if cell.status == "ok" else None
    return latency if latency is not None and latency > 0 else None


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
    bare: Row = {"title": None, "domain": False, "ticks": False}
    x = alt.X("backend:N").sort(list(dict.fromkeys(row["backend"] for row in rows)))
    x = x.scale(paddingInner=0.02).axis(orient="top", labelAngle=0, labelFontWeight=600, **bare)
    y = alt.Y("row:N").sort(list(dict.fromkeys(row["row"] for row in rows)))
    y = y.scale(paddingInner=0.08)
    y = y.axis(labelLimit=_WIDEST_ROW_LABEL_PX, labelPadding=8, **bare)
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
    which = [alt.Tooltip("cell:N", title="cell"), alt.Tooltip("status:N", title="status")]
    how_long = [*which, alt.Tooltip("text:N", title="p50, ms")]
    why = [*which, alt.Tooltip("reason:N", title="reason")]

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
    columns = len({row["backend"] for row in rows})
    width = max(_NARROWEST_COLUMN_PX, min(_COLUMN_PX, _COLUMNS_PX // columns))
    chart = alt.layer(*layers).properties(width=alt.Step(width), height=alt.Step(_ROW_PX))
    return finished(chart, {"cells": rows})

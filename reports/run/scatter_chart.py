"""The chart of latency against accuracy, with the front of what no other cell beats."""

from __future__ import annotations

from collections.abc import Sequence

from deploymark.bench.records.run import CellResult
from deploymark.reports.page import chart_parts, figures
from deploymark.reports.page.chart_style import GREY, Row, backend_colour, finished, precision_shape
from deploymark.reports.run.pareto import pareto_front


def without_labels(cells: Sequence[CellResult]) -> bool:
    """Whether no cell has an mAP and some have an agreement, which then stands for it."""
    scored = any(figures.measured(cell.map50_95) is not None for cell in cells)
    return not scored and any(figures.measured(cell.agreement) is not None for cell in cells)


def _accuracies(cells: Sequence[CellResult]) -> list[float | None]:
    """The accuracy of each cell: its mAP, or its agreement where the run has no labels.

    A cell that others are compared with agrees with itself. One whose accuracy is in doubt has none
    to be compared by.
    """
    if not without_labels(cells):
        return [None if cell.accuracy_doubt else figures.measured(cell.map50_95) for cell in cells]
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
        if chart_parts.drawn_latency(cell) is not None and accuracy is not None
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
    low, high = chart_parts.latency_ends(rows)
    # What a latency budget buys does not end with the slowest cell of the front.
    steps = [{"p50": r["p50"], "map": r["map"]} for r in front]
    steps.append({"p50": high, "map": front[-1]["map"]})

    x = chart_parts.log_latency(low, high)
    accuracy = "agreement with the reference" if without_labels(cells) else "mAP50-95"
    y = alt.Y("map:Q").scale(domain=_accuracy_domain(rows), nice=True).title(accuracy)
    colour = backend_colour(rows, cells)
    by_backend = alt.selection_point(name="by_backend", fields=["backend"], bind="legend")
    strength = alt.condition(by_backend, alt.value(0.95), alt.value(0.12))

    line = (
        alt.Chart(alt.NamedData(name="front"))
        .mark_line(interpolate="step-after", strokeWidth=1.5, strokeDash=[5, 3], color=GREY)
        .encode(x=x, y=y)
    )
    base = alt.Chart(alt.NamedData(name="cells"))
    seen = {"y": y, "color": colour, "opacity": strength}
    hints = {
        "cell:N": "cell",
        "latency:N": "p50 [95 % CI]",
        "accuracy:N": accuracy,
        "backend:N": "backend",
        "precision:N": "precision",
        "variant:N": "variant",
        "front:N": "on the Pareto front",
    }
    points = base.mark_point(filled=True, size=95).encode(
        x=x, **seen, shape=precision_shape(rows), tooltip=chart_parts.told(hints)
    )
    chart = alt.layer(
        line, chart_parts.whiskers(base, 1.5, "x", **seen), points.add_params(by_backend)
    )
    chart = chart.properties(width="container", height=400)
    return finished(chart, {"cells": rows, "front": steps})

"""The chart of latency against accuracy, with the front of what no other cell beats."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from deploymark.bench.records.choices import Choices
from deploymark.bench.records.run import CellResult
from deploymark.reports.page import chart_parts, figures
from deploymark.reports.page.chart_style import (
    GREY,
    MARK,
    Row,
    backend_colour,
    finished,
    precision_shape,
)
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


Ends = Mapping[str, tuple[float, float]]
"""By cell, the interval of its accuracy."""


def accuracy_ends(choices: Choices | None, *, by_agreement: bool) -> dict[str, tuple[float, float]]:
    """The intervals of the accuracies of a run's cells, over its images."""
    name = "agreement" if by_agreement else "map50_95"
    found = None if choices is None else choices.figures.get(name)
    if choices is None or found is None:
        return {}
    told = zip(choices.cells, found.estimates, strict=True)
    return {cell: (ends[1], ends[2]) for cell, ends in told if ends is not None and len(ends) == 3}  # noqa: PLR2004 - figure, low, high


def scatter_rows(cells: Sequence[CellResult], ends: Ends | None = None) -> list[Row]:
    """One row for each ok cell that has both a latency above zero and an accuracy.

    That is its mAP, or its agreement where the run has no labels, with its interval where ``ends``
    have one. A cell whose later launch failed may hold figures, but it is nothing to choose from.
    """
    known = [
        (cell, accuracy)
        for cell, accuracy in zip(cells, _accuracies(cells), strict=True)
        if chart_parts.drawn_latency(cell) is not None and accuracy is not None
    ]
    points = [(float(cell.latency_p50_ms or 0), accuracy) for cell, accuracy in known]
    front = set(pareto_front(points))
    return [
        _row(cell, point, (ends or {}).get(cell.cell), on_front=index in front)
        for index, ((cell, _), point) in enumerate(zip(known, points, strict=True))
    ]


def _row(
    cell: CellResult,
    point: tuple[float, float],
    ends: tuple[float, float] | None,
    *,
    on_front: bool,
) -> Row:
    latency, accuracy = point
    interval = figures.interval(cell.latency_ci_low_ms, cell.latency_ci_high_ms)
    low = cell.latency_ci_low_ms if interval else None
    around = f" [{', '.join(map(figures.accuracy, ends))}]" if ends else ""
    return {
        "cell": cell.cell,
        "backend": cell.backend,
        "precision": cell.precision,
        "variant": cell.variant,
        "p50": latency,
        # A logarithmic axis has no place for an end at or below zero.
        "low": low if low is not None and low > 0 else None,
        "high": cell.latency_ci_high_ms if interval else None,
        "map": accuracy,
        "map_low": ends[0] if ends else None,
        "map_high": ends[1] if ends else None,
        "latency": f"{figures.milliseconds(latency)} {interval or ''}".rstrip(),
        "accuracy": f"{figures.accuracy(accuracy)}{around}",
        "front": "yes" if on_front else "no",
        "disturbed": "yes" if cell.disturbed else "no",
    }


def unscored_rows(cells: Sequence[CellResult], rows: Sequence[Row]) -> list[Row]:
    """The ok cells that have a latency and no accuracy: ticks on the axis."""
    drawn = {row["cell"] for row in rows}
    return [
        {
            "cell": cell.cell,
            "backend": cell.backend,
            "p50": latency,
            "latency": figures.milliseconds(latency),
            "accuracy": cell.accuracy_doubt or "not measured",
        }
        for cell in cells
        if cell.cell not in drawn and (latency := chart_parts.drawn_latency(cell)) is not None
    ]


def not_drawn(cells: Sequence[CellResult]) -> int:
    """How many cells have no latency, so that the chart has no place for them."""
    return sum(chart_parts.drawn_latency(cell) is None for cell in cells)


def _accuracy_domain(rows: Sequence[Row]) -> list[float]:
    """Ends of the accuracy axis: around the values, within [0, 1], and never of no length.

    An interval that is much longer than all values lie apart is cut off rather than flatten them.
    """
    low, high = min(row["map"] for row in rows), max(row["map"] for row in rows)
    margin = max(0.06 * (high - low), 0.005)
    most = max(high - low, 0.04)
    lows = [row["map_low"] for row in rows if row["map_low"] is not None]
    highs = [row["map_high"] for row in rows if row["map_high"] is not None]
    low = max(min([low, *lows]), low - most)
    high = min(max([high, *highs]), high + most)
    return [max(0.0, low - margin), min(1.0, high + margin)]


def _steps(rows: Sequence[Row], high: float) -> list[Row]:
    """The front as steps, to the edge: what a budget buys does not end with the slowest cell."""
    front = sorted((r for r in rows if r["front"] == "yes"), key=lambda r: (r["p50"], r["map"]))
    steps = [{"p50": r["p50"], "map": r["map"]} for r in front]
    return [*steps, {"p50": high, "map": front[-1]["map"]}]


def latency_accuracy_chart(
    cells: Sequence[CellResult], ends: Ends | None = None, chosen: str | None = None
) -> Row | None:
    """Vega-Lite specification: latency (x, logarithmic) against accuracy (y), with the front.

    None where no cell has both. Rows are of ``scatter_rows``; whiskers are confidence intervals,
    hollow marks are of disturbed cells, a ring is around the ``chosen`` one. The page's script
    moves the ring, and puts limits into the data sets ``limits_x`` and ``limits_y``.
    """
    rows = scatter_rows(cells, ends)
    if not rows:
        return None
    import altair as alt

    unscored = unscored_rows(cells, rows)
    low, high = chart_parts.latency_ends(
        [*rows, *({**row, "low": None, "high": None} for row in unscored)]
    )
    domain = _accuracy_domain(rows)
    x = chart_parts.log_latency(low, high)
    accuracy = "agreement with the reference" if without_labels(cells) else "mAP50-95"
    y = alt.Y("map:Q").scale(domain=domain, nice=True).title(accuracy)
    by_backend = alt.selection_point(name="by_backend", fields=["backend"], bind="legend")
    strength = alt.condition(by_backend, alt.value(0.95), alt.value(0.12))
    faint = alt.condition(by_backend, alt.value(0.4), alt.value(0.06))
    seen = {"color": backend_colour(rows, cells), "opacity": strength}
    base = alt.Chart(alt.NamedData(name="cells"))
    hints = {
        "cell:N": "cell",
        "latency:N": "p50 [95 % CI]",
        "accuracy:N": f"{accuracy} [95 % CI]",
        "backend:N": "backend",
        "precision:N": "precision",
        "variant:N": "variant",
        "front:N": "on the Pareto front",
        "disturbed:N": "disturbed",
    }
    told = chart_parts.told(hints)
    marks = {"x": x, "y": y, **seen, "shape": precision_shape(rows), "tooltip": told}
    calm = base.mark_point(filled=True, size=95).encode(**marks)
    calm = calm.transform_filter("datum.disturbed == 'no'")
    hollow = base.mark_point(filled=False, size=85, strokeWidth=2).encode(**marks)
    hollow = hollow.transform_filter("datum.disturbed == 'yes'")
    layers = [
        alt.Chart(alt.NamedData(name="front"))
        .mark_line(interpolate="step-after", strokeWidth=1.5, strokeDash=[1, 3], color=GREY)
        .encode(x=x, y=y),
        *_limits(x, y),
        chart_parts.whiskers(base, 1.5, "x", y=y, **seen),
        base.mark_rule(strokeWidth=1, clip=True)
        .encode(x=x, y="map_low:Q", y2="map_high:Q", color=seen["color"], opacity=faint)
        .transform_filter("isValid(datum.map_low)"),
        hollow,
        calm.add_params(by_backend),
        _names(base, x, y),
        *_chosen(x, y),
    ]
    if unscored:
        layers.append(_rug(x, seen["color"], domain))
    chart = alt.layer(*layers).properties(width="container", height=420)
    ringed = [row for row in rows if row["cell"] == chosen]
    data = {
        "cells": rows,
        "front": _steps(rows, high),
        "limits_x": [],
        "limits_y": [],
        "chosen": ringed,
    }
    return finished(chart, data | ({"unscored": unscored} if unscored else {}))


def _limits(x: Any, y: Any) -> Iterator[Any]:
    """Dashed lines at the limits of a question, each with its words."""
    import altair as alt

    for name, place in (("limits_x", {"x": x}), ("limits_y", {"y": y})):
        base = alt.Chart(alt.NamedData(name=name))
        yield base.mark_rule(strokeDash=[7, 4], strokeWidth=1.5, color=MARK).encode(**place)
        upright = name == "limits_x"
        text = base.mark_text(
            align="left", dx=5, dy=0 if upright else -7, fontSize=12, fontWeight=600
        )
        where = {"y": alt.value(10)} if upright else {"x": alt.value(4)}
        yield text.encode(**place, **where, text="text:N").properties(name=name)


def _names(base: Any, x: Any, y: Any) -> Any:
    """The names of the front's cells beside their marks: colours alone are no names on paper."""
    words = base.mark_text(align="left", dx=9, dy=11, fontSize=11, fontStyle="italic")
    words = words.encode(x=x, y=y, text="label:N")
    words = words.transform_filter("datum.front == 'yes'")
    return words.transform_calculate(label="datum.precision + ' ' + datum.backend").properties(
        name="front_names"
    )


def _chosen(x: Any, y: Any) -> Iterator[Any]:
    """A ring around the cell to ship, and its name."""
    import altair as alt

    base = alt.Chart(alt.NamedData(name="chosen"))
    yield base.mark_point(
        filled=False, shape="circle", size=420, strokeWidth=2.5, color=MARK
    ).encode(x=x, y=y)
    yield (
        base.mark_text(align="left", dx=15, dy=-11, fontSize=12.5, fontWeight=600)
        .encode(x=x, y=y, text="label:N")
        .transform_calculate(label="'ship ' + datum.precision + ' ' + datum.backend")
        .properties(name="chosen")
    )


def _rug(x: Any, colour: Any, domain: Sequence[float]) -> Any:
    """Ticks below for what has a latency alone."""
    import altair as alt

    hints = {"cell:N": "cell", "latency:N": "p50", "accuracy:N": "accuracy"}
    return (
        alt.Chart(alt.NamedData(name="unscored"))
        .mark_tick(orient="vertical", thickness=2, size=12)
        .encode(x=x, y=alt.YDatum(domain[0]), color=colour, tooltip=chart_parts.told(hints))
    )

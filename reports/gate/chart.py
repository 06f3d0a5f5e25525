"""The forest plot of a gate: the change of each cell's latency, its interval and its pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import get_args

from deploymark.bench.records.verdicts import CellVerdict, Verdict
from deploymark.reports.gate import words as gate_words
from deploymark.reports.page import figures
from deploymark.reports.page.chart_parts import ROW_LABELS, told, whiskers
from deploymark.reports.page.chart_style import GREY, Row, finished

VERDICT_COLOURS: dict[Verdict, str] = {
    "regressed": "#d55e00",
    "inconclusive": "#b87a00",
    "unchanged": "#5b7f95",
    "improved": "#009e73",
}
"""Of the Okabe-Ito palette, two of them darker or greyer, so that all read on light and dark."""

SQUEEZED_FROM_PERCENT = 30.0
"""Change from which the axis is symmetrically logarithmic: linear would leave no room at zero."""

_LINEAR_WITHIN_PERCENT = 2.0
_TICKS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 5000.0)
_TICK = "datum.value == 0 ? '0' : datum.label"
_MARGIN = 1.06
_ROW_PX = 26
_PAIRS_BELOW_PX = 7


def _percent(log_ratio: float) -> float:
    return 100 * math.expm1(log_ratio)


def forest_rows(cells: Sequence[CellVerdict]) -> tuple[list[Row], list[Row]]:
    """Rows of the cells that have a change of latency, and one row for each of their pairs.

    Changes are in percent; ``band`` is half the width of the shade.
    """
    rows: list[Row] = []
    pairs: list[Row] = []
    for cell in cells:
        check = gate_words.change_of(cell, gate_words.LATENCY)
        change = figures.measured(check.change) if check else None
        if check is None or change is None:
            continue
        low, high = figures.measured(check.change_low), figures.measured(check.change_high)
        band = 100 * (check.threshold or 0.0)
        rows.append(
            {
                "cell": cell.cell,
                "change": 100 * change,
                "low": None if low is None else 100 * low,
                "high": None if high is None else 100 * high,
                "band": band,
                "band_low": -band,
                "verdict": check.verdict,
                "text": gate_words.change_words(check),
                "values": gate_words.from_to(check),
                "pairs": cell.pairs,
            }
        )
        pairs += [
            {"cell": cell.cell, "pair": _percent(ratio), "verdict": check.verdict}
            for ratio in cell.log_ratios
            if math.isfinite(ratio)
        ]
    return rows, pairs


def extent(rows: Sequence[Row], pairs: Sequence[Row]) -> tuple[float, float]:
    """Ends of the axis, percent: all that is drawn and a little more, with zero inside."""
    keys = ("change", "low", "high", "band", "band_low")
    ends = [row[key] for row in rows for key in keys if row[key] is not None]
    ends += [pair["pair"] for pair in pairs]
    low, high = min([*ends, -0.1]), max([*ends, 0.1])
    return low * _MARGIN, high * _MARGIN


def forest_chart(cells: Sequence[CellVerdict]) -> Row | None:
    """Vega-Lite specification; rows keep the order of ``cells``. None where nothing is to plot."""
    rows, pairs = forest_rows(cells)
    if not rows:
        return None
    import altair as alt

    low, high = extent(rows, pairs)
    x = alt.X("change:Q").title("change of latency p50, %")
    if max(-low, high) > SQUEEZED_FROM_PERCENT:
        ticks = [sign * tick for tick in _TICKS for sign in (-1, 1) if low <= sign * tick <= high]
        x = x.scale(
            type="symlog", constant=_LINEAR_WITHIN_PERCENT, domain=[low, high], nice=False
        ).axis(values=[0.0, *sorted(ticks)], format="+~r", labelExpr=_TICK)
    else:
        x = x.scale(domain=[low, high], nice=False).axis(tickCount=9, format="+~r", labelExpr=_TICK)
    y = alt.Y("cell:N").sort([row["cell"] for row in rows]).scale(paddingInner=0.0)
    y = y.axis(**ROW_LABELS, grid=True)
    present = {row["verdict"] for row in rows}
    shown = [verdict for verdict in get_args(Verdict) if verdict in present]
    colour = alt.Color("verdict:N").scale(
        domain=shown, range=[VERDICT_COLOURS[verdict] for verdict in shown]
    )
    colour = colour.legend(
        title="latency", orient="top", offset=8, symbolType="diamond", symbolOpacity=1.0
    )

    base = alt.Chart(alt.NamedData(name="cells"))
    band = base.mark_rect(color=GREY, opacity=0.18).encode(
        x=alt.X("band_low:Q"), x2=alt.X2("band:Q"), y=y
    )
    zero = (
        base.transform_aggregate(cells="count()")
        .mark_rule(color=GREY, strokeWidth=1)
        .encode(x=alt.datum(0.0))
    )
    dots = (
        alt.Chart(alt.NamedData(name="pairs"))
        .mark_point(filled=True, size=18, opacity=0.5, yOffset=_PAIRS_BELOW_PX)
        .encode(x=alt.X("pair:Q"), y=y, color=colour)
    )
    intervals = whiskers(base, 2.5, "x", y=y, color=colour)
    hints = {
        "cell:N": "cell",
        "values:N": "p50",
        "text:N": "change",
        "verdict:N": "latency",
        "pairs:Q": "pairs",
    }
    points = base.mark_point(filled=True, size=80, opacity=1.0, shape="diamond").encode(
        x=x, y=y, color=colour, tooltip=told(hints)
    )
    chart = alt.layer(band, zero, dots, intervals, points)
    chart = chart.properties(width="container", height=alt.Step(_ROW_PX))
    return finished(chart, {"cells": rows, "pairs": pairs}, rows=len(rows))

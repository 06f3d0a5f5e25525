"""The chart of runs side by side: the latency of each cell in each run, with its interval."""

from __future__ import annotations

from deploymark.bench.records.comparison import LATENCY, Comparison
from deploymark.reports.compare.compare import relation
from deploymark.reports.page import figure_words, figures
from deploymark.reports.page.chart_style import (
    BACKEND_COLOURS,
    PLAIN_NUMBER,
    Row,
    finished,
    log_ticks,
)

LOGARITHMIC_FROM = 4.0
"""Largest over smallest latency from which a linear axis would crowd the small ones."""

_RUN_PX = 12
_WIDEST_LABEL_PX = 420
_MARGIN = 1.06


def latency_rows(comparison: Comparison) -> list[Row]:
    """One row for each cell and run with a latency above zero, in milliseconds."""
    rows: list[Row] = []
    for cell in comparison.cells:
        for run, value in zip(comparison.runs, cell.figures.get(LATENCY, ()), strict=False):
            known = figures.measured(value.value)
            if known is None or known <= 0:
                continue
            ends = figures.interval(value.low, value.high)
            low = value.low if ends and value.low is not None and value.low > 0 else None
            rows.append(
                {
                    "cell": cell.cell,
                    "run": run.label,
                    "p50": known,
                    "low": low,
                    "high": value.high if low is not None else None,
                    "text": f"{figure_words.amount(LATENCY, known)} {ends or ''}".rstrip(),
                    "relation": relation(value) or figures.ABSENT,
                }
            )
    return rows


def compare_chart(comparison: Comparison) -> Row | None:
    """Vega-Lite specification; None where no run has a latency. Logarithmic where they spread."""
    rows = latency_rows(comparison)
    if not rows:
        return None
    import altair as alt

    low = min(row["low"] or row["p50"] for row in rows) / _MARGIN
    high = max(row["high"] or row["p50"] for row in rows) * _MARGIN
    x = alt.X("p50:Q")
    if high / low > LOGARITHMIC_FROM:
        x = x.scale(type="log", domain=[low, high], nice=False).axis(
            title="latency p50, ms (log scale)",
            values=log_ticks(low, high),
            labelExpr=PLAIN_NUMBER,
        )
    else:
        x = x.scale(domain=[low, high], nice=True, zero=False).title("latency p50, ms")
    labels = [run.label for run in comparison.runs]
    y = alt.Y("cell:N").sort(list(dict.fromkeys(row["cell"] for row in rows)))
    y = y.scale(paddingInner=0.25).axis(
        title=None, domain=False, ticks=False, labelLimit=_WIDEST_LABEL_PX, labelPadding=8
    )
    offset = alt.YOffset("run:N").sort(labels)
    palette = [BACKEND_COLOURS[index % len(BACKEND_COLOURS)] for index in range(len(labels))]
    kind = "machine" if comparison.several_machines else "run"
    colour = alt.Color("run:N").scale(domain=labels, range=palette)
    colour = colour.legend(title=kind, orient="top", offset=8, labelLimit=_WIDEST_LABEL_PX)

    base = alt.Chart(alt.NamedData(name="latencies"))
    whiskers = (
        base.mark_rule(strokeWidth=2)
        .encode(x=alt.X("low:Q"), x2=alt.X2("high:Q"), y=y, yOffset=offset, color=colour)
        .transform_filter("isValid(datum.low) && isValid(datum.high)")
    )
    points = base.mark_point(filled=True, size=70, opacity=1.0).encode(
        x=x,
        y=y,
        yOffset=offset,
        color=colour,
        tooltip=[
            alt.Tooltip("cell:N", title="cell"),
            alt.Tooltip("run:N", title=kind),
            alt.Tooltip("text:N", title="p50 [95 % CI]"),
            alt.Tooltip("relation:N", title=f"to {labels[0]}"),
        ],
    )
    chart = alt.layer(whiskers, points)
    chart = chart.properties(width="container", height=alt.Step(_RUN_PX))
    return finished(chart, {"latencies": rows})

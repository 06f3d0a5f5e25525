"""The chart of runs side by side: the latency of each cell in each run, with its interval."""

from __future__ import annotations

from deploymark.bench.records.comparison import LATENCY, Comparison
from deploymark.reports.compare.compare import relation
from deploymark.reports.page import chart_parts, figure_words, figures
from deploymark.reports.page.chart_style import BACKEND_COLOURS, Row, finished

LOGARITHMIC_FROM = 4.0
"""Largest over smallest latency from which a linear axis would crowd the small ones."""

_RUN_PX = 12


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

    low, high = chart_parts.latency_ends(rows)
    if high / low > LOGARITHMIC_FROM:
        x = chart_parts.log_latency(low, high)
    else:
        x = alt.X("p50:Q").scale(domain=[low, high], nice=True, zero=False)
        x = x.title("latency p50, ms")
    labels = [run.label for run in comparison.runs]
    y = (
        alt.Y("cell:N")
        .sort(chart_parts.in_order(rows, "cell"))
        .scale(paddingInner=0.25)
        .axis(**chart_parts.ROW_LABELS)
    )
    offset = alt.YOffset("run:N").sort(labels)
    palette = [BACKEND_COLOURS[index % len(BACKEND_COLOURS)] for index in range(len(labels))]
    kind = "machine" if comparison.several_machines else "run"
    colour = alt.Color("run:N").scale(domain=labels, range=palette)
    colour = colour.legend(
        title=kind, orient="top", offset=8, labelLimit=chart_parts.ROW_LABELS["labelLimit"]
    )

    base = alt.Chart(alt.NamedData(name="latencies"))
    place = {"y": y, "yOffset": offset, "color": colour}
    hints = {
        "cell:N": "cell",
        "run:N": kind,
        "text:N": "p50 [95 % CI]",
        "relation:N": "beside the first",
    }
    points = base.mark_point(filled=True, size=70, opacity=1.0).encode(
        x=x, **place, tooltip=chart_parts.told(hints)
    )
    chart = alt.layer(chart_parts.whiskers(base, 2, "x", **place), points)
    chart = chart.properties(width="container", height=alt.Step(_RUN_PX))
    # A step for each run, and one between the cells.
    steps = len(chart_parts.in_order(rows, "cell")) * (len(chart_parts.in_order(rows, "run")) + 1)
    return finished(chart, {"latencies": rows}, rows=steps)

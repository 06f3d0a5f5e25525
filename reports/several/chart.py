"""The chart of several runs: a line a cell, a colour and a shape a run."""

from __future__ import annotations

from collections.abc import Sequence

from deploymark.reports.page import chart_parts, figures
from deploymark.reports.page.chart_style import BACKEND_COLOURS, PRECISION_SHAPES, Row, finished
from deploymark.reports.several.columns import RunColumn

FOLDED_FROM = 60
"""Cells from which the chart is folded away."""

_CELL_PX, _RUN_PX = 10, 8
_SHAPES = tuple(PRECISION_SHAPES.values())


def latency_rows(columns: Sequence[RunColumn]) -> list[Row]:
    """One row for each ok cell and run with a latency above zero, in milliseconds."""
    rows: list[Row] = []
    names = dict.fromkeys(cell.cell for column in columns for cell in column.run.cells)
    for name in names:
        for column in columns:
            cell = column.cells.get(name)
            p50 = None if cell is None else chart_parts.drawn_latency(cell)
            if cell is None or p50 is None:
                continue
            ends = figures.interval(cell.latency_ci_low_ms, cell.latency_ci_high_ms)
            low = cell.latency_ci_low_ms if ends else None
            drawn = low is not None and low > 0
            rows.append(
                {
                    "cell": name,
                    "run": column.title,
                    "p50": p50,
                    "low": low if drawn else None,
                    "high": cell.latency_ci_high_ms if drawn else None,
                    "text": f"{figures.milliseconds(p50)} {ends or ''}".rstrip(),
                    "marks": ", ".join(
                        word
                        for word, held in (
                            ("the answer", name == column.chosen),
                            ("disturbed", cell.disturbed),
                        )
                        if held
                    )
                    or figures.ABSENT,
                }
            )
    return rows


def several_chart(columns: Sequence[RunColumn], kind: str) -> Row | None:
    """Vega-Lite specification; None where no run has a latency. ``kind`` is run or machine."""
    rows = latency_rows(columns)
    if not rows:
        return None
    import altair as alt

    titles = [column.title for column in columns]
    palette = [BACKEND_COLOURS[index % len(BACKEND_COLOURS)] for index in range(len(titles))]
    shapes = [_SHAPES[index % len(_SHAPES)] for index in range(len(titles))]
    limit = chart_parts.ROW_LABELS["labelLimit"]
    legend: Row = {"title": kind, "orient": "top", "offset": 8, "labelLimit": limit}
    colour = alt.Color("run:N").scale(domain=titles, range=palette)
    shape = alt.Shape("run:N").scale(domain=titles, range=shapes)
    y = (
        alt.Y("cell:N")
        .sort(chart_parts.in_order(rows, "cell"))
        .scale(paddingInner=0.3)
        .axis(**chart_parts.ROW_LABELS, grid=True)
    )
    base = alt.Chart(alt.NamedData(name="latencies"))
    place = {
        "y": y,
        "yOffset": alt.YOffset("run:N").sort(titles),
        "color": colour.legend(**legend),
    }
    hints = {"cell:N": "cell", "run:N": kind, "text:N": "p50 [95 % CI]", "marks:N": "marks"}
    points = base.mark_point(filled=True, size=70, opacity=1.0).encode(
        x=chart_parts.log_latency(*chart_parts.latency_ends(rows)),
        **place,
        shape=shape.legend(**legend),
        tooltip=chart_parts.told(hints),
    )
    chart = alt.layer(chart_parts.whiskers(base, 2, "x", **place), points)
    # A step in place of a number makes Vega-Lite warn where the width is that of the box.
    height = (_CELL_PX + _RUN_PX * len(titles)) * len(chart_parts.in_order(rows, "cell"))
    chart = chart.properties(width="container", height=height)
    return finished(chart, {"latencies": rows})

"""The chart of MLPerf's scenarios: throughput against the number of streams, one line a cell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from deploymark.bench.records.run import CellResult
from deploymark.bench.records.scenarios import ScenarioResult
from deploymark.reports.page import figures
from deploymark.reports.page.chart_parts import facet, told
from deploymark.reports.page.chart_style import Row, backend_colour, finished, precision_shape

_WIDTH_PX, _HEIGHT_PX = 330, 210
_COLUMNS = 3

_DASHES = ([1, 0], [6, 4], [2, 3], [8, 3, 2, 3], [12, 4])
"""Of lines by the number of threads, the fewest first."""


def stream_rows(results: Sequence[ScenarioResult]) -> list[Row]:
    """One row for each run of LoadGen that has a throughput, of scenarios with several streams.

    A line needs two points: a scenario of a cell with one number of streams has none.
    """
    measured = [
        result
        for result in results
        if result.status == "ok" and figures.measured(result.samples_per_second) is not None
    ]
    points = Counter((result.cell, result.name) for result in measured)
    return [
        {
            "facet": result.name,
            "cell": result.cell,
            "backend": result.backend,
            "precision": result.precision,
            "streams": result.streams,
            "threads": str(result.threads),
            "ips": result.samples_per_second,
            "ips_text": figures.significant(float(result.samples_per_second or 0)),
            "verdict": "valid" if result.valid else f"INVALID: {result.invalid_reason}",
        }
        for result in measured
        if points[result.cell, result.name] > 1
    ]


def stream_chart(results: Sequence[ScenarioResult], cells: Sequence[CellResult]) -> Row | None:
    """Vega-Lite specification: images per second (y) against streams (x), a chart a scenario.

    ``cells`` are all of the run, for their colours. None where no scenario of a cell was run with
    several numbers of streams.
    """
    rows = stream_rows(results)
    if not rows:
        return None
    import altair as alt

    threads = sorted({row["threads"] for row in rows}, key=int)
    dashes = [_DASHES[index % len(_DASHES)] for index in range(len(threads))]
    ticks = sorted({row["streams"] for row in rows})
    x = alt.X("streams:Q").scale(nice=False, zero=False, padding=14)
    x = x.axis(values=ticks, format="d", title="streams")
    y = alt.Y("ips:Q").scale(zero=True, nice=True).axis(tickCount=5).title("images/s")
    dash = alt.StrokeDash("threads:N").scale(domain=threads, range=dashes)
    dash = (
        dash.legend(title="threads a stream", symbolSize=700, symbolStrokeWidth=2)
        if len(threads) > 1
        else dash.legend(None)
    )
    colour = backend_colour(rows, cells)
    base = alt.Chart()
    lines = base.mark_line(strokeWidth=1.8).encode(
        x=x, y=y, color=colour, strokeDash=dash, detail="cell:N"
    )
    hints = {
        "cell:N": "cell",
        "streams:Q": "streams",
        "threads:N": "threads a stream",
        "ips_text:N": "images/s",
        "verdict:N": "LoadGen",
    }
    points = base.mark_point(filled=True, size=70, opacity=0.95).encode(
        x=x, y=y, color=colour, shape=precision_shape(rows), tooltip=told(hints)
    )
    chart = (
        alt.layer(lines, points, data=alt.NamedData(name="streams"))
        .properties(width=_WIDTH_PX, height=_HEIGHT_PX)
        .facet(facet=facet(rows, "facet"), columns=_COLUMNS)
        .resolve_scale(y="independent")
    )
    return finished(chart, {"streams": rows})

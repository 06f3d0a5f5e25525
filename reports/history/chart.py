"""Trends of a figure: a small chart a cell, with intervals and the runs where it changed."""

from __future__ import annotations

from collections.abc import Sequence

from deploymark.bench.records.trends import MachineHistory, Series
from deploymark.reports.history import words as trend_words
from deploymark.reports.page import figure_words, figures
from deploymark.reports.page.chart_parts import facet, told
from deploymark.reports.page.chart_style import LINE, MARK, Row, finished
from deploymark.reports.page.tables import BY_KEY, DISTURBED

_CHART_PX = (300, 96)
_COLUMNS = 4

_LEAST_SPAN = 0.04
"""Share of its median that a chart's axis spans at least, so that noise looks as small as it is."""


def trend_rows(series: Sequence[Series]) -> list[Row]:
    """One row for each run of each series, in the unit shown; more fields where it changed."""
    rows: list[Row] = []
    for item in series:
        column = BY_KEY.get(item.figure)
        scale = column.scale if column else 1.0
        changes = {change.run: change for change in item.changes}
        ends = [p.low or p.value for p in item.points] + [p.high or p.value for p in item.points]
        middle = (min(ends) + max(ends)) / 2
        reach = max((max(ends) - min(ends)) / 2, abs(middle) * _LEAST_SPAN / 2)
        for place, point in enumerate(item.points):
            row: Row = {"cell": item.cell, "run": point.run, "value": point.value * scale}
            if point.low is not None and point.high is not None:
                row |= {"low": point.low * scale, "high": point.high * scale}
            interval = figures.interval(row.get("low"), row.get("high"))
            amount = figure_words.amount(item.figure, point.value)
            told = (amount, interval, DISTURBED if point.disturbed else None)
            row["text"] = " ".join(part for part in told if part)
            if place == 0:
                row |= {"least": (middle - reach) * scale, "most": (middle + reach) * scale}
            change = changes.get(point.run)
            if change is not None:
                row |= {
                    "change": trend_words.change_text(item, change),
                    "ends": trend_words.from_to(item, change),
                    "chance": trend_words.chance_text(change),
                    "found": "; ".join(change.found),
                }
            rows.append(row)
    return rows


def _run_rows(machine: MachineHistory) -> list[Row]:
    return [
        {
            "number": number,
            "name": run.run,
            "started": figures.moment(run.started),
            "commit": (run.git_commit or figures.ABSENT)[:12],
            "host": run.host or figures.ABSENT,
        }
        for number, run in enumerate(machine.runs)
    ]


def trend_chart(machine: MachineHistory, series: Sequence[Series]) -> Row | None:
    """Vega-Lite specification of the trends of one figure; None where there are no series.

    A rule stands at the first run of each change. The horizontal axis counts the machine's runs.
    """
    rows = trend_rows(series)
    if not rows:
        return None
    import altair as alt

    known = ["name", "started", "commit", "host"]
    runs = alt.LookupData(alt.NamedData(name="runs"), "number", known)
    base = alt.Chart()
    x = alt.X("run:Q").scale(domain=[-0.5, len(machine.runs) - 0.5], nice=False)
    x = x.axis(format="d", tickMinStep=1, tickCount=6, title=None)
    scale = alt.Scale(zero=False, nice=False)
    y = alt.Y("value:Q", scale=scale).axis(tickCount=3, format="~g", title=None)
    where = {
        "cell:N": "cell",
        "name:N": "run",
        "started:N": "started",
        "commit:N": "commit",
        "host:N": "host",
    }
    span = (
        base.mark_rule(opacity=0)
        .encode(y=alt.Y("least:Q", scale=scale), y2=alt.Y2("most:Q"))
        .transform_filter("isValid(datum.least)")
    )
    band = (
        base.mark_area(opacity=0.22, color=LINE)
        .encode(x=x, y=alt.Y("low:Q", scale=scale), y2=alt.Y2("high:Q"))
        .transform_filter("isValid(datum.low)")
    )
    line = base.mark_line(strokeWidth=1.3, color=LINE, point={"size": 16, "color": LINE}).encode(
        x=x, y=y, tooltip=told(where | {"text:N": figure_words.title(series[0].figure)})
    )
    what = {
        "change:N": "change",
        "ends:N": "from, to",
        "chance:N": "chance",
        "found:N": "changed there",
    }
    changed = (
        base.mark_rule(strokeWidth=2, color=MARK)
        .encode(x=x, tooltip=told(where | what))
        .transform_filter("isValid(datum.change)")
    )
    by_cell = facet(rows, "cell").header(labelLimit=_CHART_PX[0] + 30)
    chart = (
        alt.layer(span, band, changed, line, data=alt.NamedData(name="trends"))
        .properties(width=_CHART_PX[0], height=_CHART_PX[1])
        .facet(facet=by_cell, columns=_COLUMNS, spacing={"row": 34, "column": 46}, bounds="flush")
        .resolve_scale(y="independent")
        .resolve_axis(x="independent")
        # of the whole: inside a facet Vega-Lite does not find the second data set
        .transform_lookup(lookup="run", from_=runs)
    )
    return finished(chart, {"trends": rows, "runs": _run_rows(machine)})

"""The chart of what variants bring: realised speed-up against the change of mAP, one a variant."""

from __future__ import annotations

from collections.abc import Sequence

from deploymark.bench.records.run import CellResult
from deploymark.reports.page import figures
from deploymark.reports.page.chart_parts import facet, told, whiskers
from deploymark.reports.page.chart_style import GREY, Row, backend_colour, finished, precision_shape
from deploymark.reports.run.effectiveness import VariantEffects

_COLUMNS = 3
_WIDTH_PX, _HEIGHT_PX = 300, 190


def effect_rows(groups: Sequence[VariantEffects], *, by_agreement: bool) -> list[Row]:
    """One row for each cell that has a speed-up and a change of mAP, or an agreement."""
    several = len({group.model for group in groups}) > 1
    rows: list[Row] = []
    for group in groups:
        for effect in group.effects:
            speed, cell = effect.speed_up, effect.cell
            lost = figures.measured(cell.agreement) if by_agreement else effect.map_points
            if speed is None or lost is None:
                continue
            ends = figures.interval(speed.low, speed.high)
            rows.append(
                {
                    "facet": f"{group.model} {group.variant}" if several else group.variant,
                    "cell": cell.cell,
                    "backend": cell.backend,
                    "precision": cell.precision,
                    "speed": speed.ratio,
                    "low": speed.low,
                    "high": speed.high,
                    "lost": lost,
                    "speed_text": f"{speed.ratio:.2f}× {ends or ''}".rstrip(),
                    "lost_text": f"{lost:.3f}" if by_agreement else figures.signed(lost, 1),
                    "words": effect.words,
                }
            )
    return rows


def effect_chart(
    groups: Sequence[VariantEffects], cells: Sequence[CellResult], *, by_agreement: bool = False
) -> Row | None:
    """Vega-Lite specification: for each variant, mAP change (x, points) against speed-up (y).

    ``cells`` are all of the run, for their colours. With ``by_agreement`` x is the agreement with
    the reference. None where no cell has both. Whiskers are the intervals of the speed-ups.
    """
    rows = effect_rows(groups, by_agreement=by_agreement)
    if not rows:
        return None
    import altair as alt

    title = "agreement with the reference" if by_agreement else "mAP50-95 less dense, points"
    unchanged = 1.0 if by_agreement else 0.0
    ends = [row["lost"] for row in rows] + [unchanged]
    margin = max(0.06 * (max(ends) - min(ends)), 0.002 if by_agreement else 0.2)
    x = alt.X("lost:Q").title(title)
    x = x.scale(domain=[min(ends) - margin, max(ends) + margin], zero=False)
    x = x.axis(grid=True, tickCount=6)
    y = alt.Y("speed:Q").title("speed-up").scale(zero=False, nice=True)
    y = y.axis(grid=True, tickCount=5, labelExpr="datum.label + '×'")
    colour = backend_colour(rows, cells)

    base = alt.Chart()
    # One row each, so that a line is drawn once and not once for each cell.
    single = base.transform_aggregate(cells="count()")
    line: Row = {"strokeWidth": 1.2, "strokeDash": [4, 3], "color": GREY}
    as_fast = single.mark_rule(**line).encode(y=alt.datum(1.0))
    as_good = single.mark_rule(**line).encode(x=alt.datum(unchanged))
    intervals = whiskers(base, 1.5, "y", x=x, color=colour)
    hints = {
        "cell:N": "cell",
        "speed_text:N": "speed-up",
        "lost_text:N": title,
        "words:N": "in words",
    }
    points = base.mark_point(filled=True, size=85, opacity=0.95).encode(
        x=x, y=y, color=colour, shape=precision_shape(rows), tooltip=told(hints)
    )
    chart = (
        alt.layer(as_fast, as_good, intervals, points, data=alt.NamedData(name="effects"))
        .properties(width=_WIDTH_PX, height=_HEIGHT_PX)
        .facet(facet=facet(rows, "facet"), columns=_COLUMNS)
    )
    return finished(chart, {"effects": rows})

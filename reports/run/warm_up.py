"""From cold to steady: the chart of the first inferences of each cell."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from deploymark.bench.records.launches import Record, counted
from deploymark.bench.records.run import PRECISION_ORDER, CellResult
from deploymark.reports.page.chart_style import (
    BACKEND_COLOURS,
    PLAIN_NUMBER,
    Row,
    backend_order,
    finished,
    log_ticks,
)

_NUMBERS = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 32, 40, 50, 63, 79, 100, 126, 158, 200)
"""Inferences that are drawn, even on a logarithmic axis: ten a decade, as the R10 series of
preferred numbers (ISO 3)."""

_DIGITS = 4
_CHART_PX = (300, 190)
_COLUMNS = 3
_MOST_OPEN = 60
"""Cells up to which the chart is drawn at once; with more it is folded away."""


def folded(rows: Sequence[Row]) -> bool:
    """Whether the chart is drawn when it is asked for, and not before."""
    return len(rows) > _MOST_OPEN


def _times_ms(launch: Record) -> list[float | None]:
    """The times of a launch's inferences in order: cold, warm-up, timed; None where not kept."""
    warm_up = launch["warmup"]
    first = [time / 1e6 for time in warm_up["first_ns"]]
    missing = [None] * (warm_up["iterations"] - len(first))
    return [launch["cold_ms"], *first, *missing, *(time / 1e6 for time in launch["latency_ns"])]


def _is_whole(launch: Record) -> bool:
    """Whether a launch tells its first times; those of another program may tell less."""
    warm_up = launch.get("warmup") or {}
    told = bool(warm_up.get("first_ns")) and isinstance(warm_up.get("iterations"), int)
    return told and {"cold_ms", "latency_ns"} <= launch.keys()


def _at(times: Sequence[float | None], place: int) -> float | None:
    """The median of the inferences from one that is drawn up to the next."""
    ends = [*_NUMBERS[1:], _NUMBERS[-1] + 1]
    known = [time for time in times[_NUMBERS[place] - 1 : ends[place] - 1] if time is not None]
    return statistics.median(known) if known else None


def _curve(launches: Sequence[Record]) -> tuple[list[int], list[float]]:
    """Inference numbers and milliseconds, medians over launches.

    As far as half of the launches go: beyond, a line would change as slow ones drop out.
    """
    times = [_times_ms(launch) for launch in launches]
    numbers, medians = [], []
    for place, number in enumerate(_NUMBERS):
        known = [time for one in times if (time := _at(one, place)) is not None]
        if 2 * len(known) >= len(times):
            numbers.append(number)
            medians.append(float(f"{statistics.median(known):.{_DIGITS}g}"))
    return numbers, medians


def warm_up_rows(cells: Sequence[CellResult], launches: Iterable[Record]) -> list[Row]:
    """One row for each ok cell whose launches kept the times of their warm-up.

    ``n`` are numbers of inferences since loading and ``ms`` their times; ``steady`` is the first
    timed one and ``p50`` the cell's latency.
    """
    measured = {cell.cell: cell for cell in cells if cell.status == "ok"}
    made: dict[str, list[Record]] = {}
    for launch in launches:
        made.setdefault(launch["cell"], []).append(launch)
    rows: list[Row] = []
    for name, cell in measured.items():
        used = counted(made.get(name, []), disturbed=cell.disturbed)
        kept = [launch for launch in used if _is_whole(launch)]
        if not kept or cell.latency_p50_ms is None or cell.warmup_iterations is None:
            continue
        numbers, medians = _curve(kept)
        rows.append(
            {
                "cell": name,
                "backend": cell.backend,
                "precision": cell.precision,
                "n": numbers,
                "ms": medians,
                # after the cold one and those of the warm-up
                "steady": round(cell.warmup_iterations) + 2,
                "p50": cell.latency_p50_ms,
            }
        )
    return rows


def warm_up_chart(rows: Sequence[Row], cells: Sequence[CellResult]) -> Row | None:
    """Vega-Lite specification: milliseconds against the number of the inference, both logarithmic.

    A small chart for each backend, a line for each cell, a point where its warm-up ended. None
    without rows (of ``warm_up_rows``).
    """
    if not rows:
        return None
    import altair as alt

    low = min(min(*row["ms"], row["p50"]) for row in rows) / 1.1
    high = max(max(*row["ms"], row["p50"]) for row in rows) * 1.1
    last = max(max(*row["n"], row["steady"]) for row in rows)
    present = {row["precision"] for row in rows}
    precisions = [name for name in PRECISION_ORDER if name in present]
    palette = [BACKEND_COLOURS[PRECISION_ORDER.index(name)] for name in precisions]
    backends = [name for name in backend_order(cells) if name in {r["backend"] for r in rows}]

    x_scale = alt.Scale(type="log", domain=[1, last], nice=False)
    x_axis = alt.Axis(values=[1, 2, 5, 10, 20, 50, 100, 200], labelExpr=PLAIN_NUMBER, grid=False)
    y_scale = alt.Scale(type="log", domain=[low, high], nice=False)
    y_axis = alt.Axis(values=log_ticks(low, high), labelExpr=PLAIN_NUMBER)
    colour = alt.Color("precision:N").scale(domain=precisions, range=palette).title("precision")
    which = [
        alt.Tooltip("cell:N", title="cell"),
        alt.Tooltip("steady:Q", title="first timed inference"),
        alt.Tooltip("p50:Q", title="p50, ms", format=".4~g"),
    ]
    base = alt.Chart()
    lines = (
        base.transform_flatten(["n", "ms"])
        .mark_line(strokeWidth=1.5, strokeOpacity=0.75, strokeJoin="round")
        .encode(
            x=alt.X("n:Q", scale=x_scale, axis=x_axis, title="inference since loading"),
            y=alt.Y("ms:Q", scale=y_scale, axis=y_axis, title="ms"),
            color=colour,
            detail="cell:N",
            tooltip=which,
        )
    )
    steady = base.mark_point(filled=True, size=42, opacity=1).encode(
        x=alt.X("steady:Q", scale=x_scale),
        y=alt.Y("p50:Q", scale=y_scale),
        color=colour,
        tooltip=which,
    )
    chart = (
        alt.layer(lines, steady, data=alt.NamedData(name="cells"))
        .properties(width=_CHART_PX[0], height=_CHART_PX[1])
        .facet(
            facet=alt.Facet("backend:N").sort(backends).title(None),
            columns=_COLUMNS,
            spacing={"row": 40, "column": 28},
        )
    )
    return finished(chart, {"cells": list(rows)})

"""What the charts have in common: type, lines, colours, shapes, ticks of logarithmic axes.

Altair takes a second to import, so it is imported where a chart is made.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from deploymark.bench.records.run import PRECISION_ORDER, CellResult
from deploymark.reports.page.plain_text import all_seen

Row = dict[str, Any]

BACKEND_COLOURS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#7e3be3",
    "#816131",
    "#bb81aa",
    "#e755e7",
    "#9c9554",
    "#b42d7e",
    "#9c5916",
    "#df20b9",
    "#e12d63",
    "#3e744f",
    "#963fcf",
)
"""For backends in order of appearance: three of the Okabe-Ito palette, then each the one that is
farthest from those before it (CIE 1976 L*a*b*) to the eye that is least able to tell, of normal
sight and full protanopia, deuteranopia and tritanopia (Machado et al., A Physiologically-based
Model for Simulation of Color Vision Deficiency, 2009), among the colours that have a contrast of
3:1 to a light page and to a dark one (WCAG 2.2, 1.4.11)."""

PRECISION_SHAPES = dict(
    zip(
        PRECISION_ORDER,
        (
            "circle",
            "square",
            "diamond",
            "triangle-up",
            "triangle-down",
            "cross",
            "triangle-right",
            "triangle-left",
        ),
        strict=True,
    )
)

GREY = "#7d8a94"
"""Of lines beside the data, readable on a light and on a dark page."""

LINE, MARK = "#0072b2", "#d55e00"
"""Of a line that is alone, and of what stands out: Okabe and Ito's blue and vermilion."""

PLAIN_NUMBER = "format(datum.value, '.6~r')"
"""A Vega expression for tick labels: 0.05, 2, 1500, never 2k or 5e-2."""


def log_ticks(low: float, high: float) -> list[float]:
    """Tick values between ``low`` and ``high`` (0 < low < high) for a logarithmic axis.

    The coarsest of 1, 1-3, 1-2-5 and finer series of each decade that has four ticks; where none
    has, as on a linear axis: steps of 1, 2 or 5.
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for series in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9)):
        ticks = [step * 10.0**decade for decade in decades for step in series]
        inside = [float(f"{tick:.3g}") for tick in ticks if low <= tick <= high]
        if len(inside) >= 4:  # noqa: PLR2004 - fewer do not show that the axis is logarithmic
            return inside
    quarter = (high - low) / 4
    base = 10.0 ** math.floor(math.log10(quarter))
    step = max(factor * base for factor in (1, 2, 5) if factor * base <= quarter)
    first, last = math.ceil(low / step), math.floor(high / step)
    return [float(f"{number * step:.12g}") for number in range(first, last + 1)]


def backend_order(cells: Sequence[CellResult]) -> list[str]:
    """The backends of a run in order of appearance: one keeps its colour through all charts."""
    return list(dict.fromkeys(cell.backend for cell in cells))


def backend_colour(rows: Sequence[Row], cells: Sequence[CellResult]) -> Any:
    """The colour of ``rows`` by backend; ``cells`` are all of the run."""
    import altair as alt

    order = backend_order(cells)
    present = {row["backend"] for row in rows}
    shown = [backend for backend in order if backend in present]
    palette = [BACKEND_COLOURS[order.index(name) % len(BACKEND_COLOURS)] for name in shown]
    return alt.Color("backend:N").scale(domain=shown, range=palette).title("backend")


def precision_shape(rows: Sequence[Row]) -> Any:
    """The shape of ``rows`` by precision."""
    import altair as alt

    def rank(precision: str) -> tuple[int, str]:
        known = precision in PRECISION_ORDER
        return PRECISION_ORDER.index(precision) if known else len(PRECISION_ORDER), precision

    shown = sorted({row["precision"] for row in rows}, key=rank)
    shapes = [PRECISION_SHAPES.get(precision, "circle") for precision in shown]
    shape = alt.Shape("precision:N").scale(domain=shown, range=shapes)
    return shape.legend(title="precision", symbolFillColor=GREY)


def _styled(chart: Any) -> Any:
    """Type and lines; text colours are the page's style sheet's, so that they follow its scheme."""
    font = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif"
    return (
        chart.configure(background="transparent", font=font)
        .configure_view(stroke=None)
        .configure_axis(
            labelFontSize=12,
            titleFontSize=12,
            titleFontWeight=600,
            titlePadding=10,
            tickColor="#9aa5ae",
            domainColor="#9aa5ae",
            gridColor="#9aa5ae",
            gridOpacity=0.25,
        )
        .configure_header(labelFontSize=12.5, labelFontWeight=600, labelPadding=6)
        .configure_legend(
            labelFontSize=12,
            titleFontSize=12,
            titleFontWeight=600,
            rowPadding=4,
            offset=24,
            symbolStrokeWidth=1,
        )
    )


def finished(
    chart: Any, datasets: Mapping[str, list[Row]], *, rows: int | None = None
) -> dict[str, Any]:
    """The Vega-Lite specification of an Altair chart, with the rows of the data sets it names.

    The rows join a finished specification: Altair would check each of them against its schema. The
    address of the schema is left out, as the page is to name no place outside itself. ``rows`` is
    how many steps high a chart is that fills its container.
    """
    spec: dict[str, Any] = _styled(chart).to_dict()
    del spec["$schema"]
    height = spec.get("height")
    if spec.get("width") == "container" and isinstance(height, dict) and rows:
        # Vega-Lite warns of heights by step in a chart that is fitted to its container.
        spec["height"] = height["step"] * rows
        spec["autosize"] = {"type": "fit-x", "contains": "padding"}
    spec["datasets"] = dict(datasets)
    found: dict[str, Any] = all_seen(spec)
    return found

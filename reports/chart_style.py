"""What the charts have in common: their type, their lines, and the ticks of logarithmic axes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

Row = dict[str, Any]


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
        .configure_legend(
            labelFontSize=12,
            titleFontSize=12,
            titleFontWeight=600,
            rowPadding=4,
            offset=24,
            symbolStrokeWidth=1,
        )
    )


def finished(chart: Any, datasets: Mapping[str, list[Row]]) -> dict[str, Any]:
    """The Vega-Lite specification of an Altair chart, with the rows of the data sets it names.

    The rows join a finished specification: Altair would check each of them against its schema. The
    address of the schema is left out, as the page is to name no place outside itself.
    """
    spec: dict[str, Any] = _styled(chart).to_dict()
    del spec["$schema"]
    spec["datasets"] = dict(datasets)
    return spec

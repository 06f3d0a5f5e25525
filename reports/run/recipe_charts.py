"""The charts of a recipe's steps: training curves, sensitivity of blocks, cycles of pruning."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from deploymark.reports.page import figures
from deploymark.reports.page.chart_parts import facet
from deploymark.reports.page.chart_style import GREY, LINE, MARK, Row, finished

_NO_LOSS = frozenset({"epoch", "cycle", "seconds"})
"""Columns of a training's history that are no curve."""

_CURVE_PX = (200, 130)
_MOST_EPOCH_TICKS = 7
_BLOCK_PX = (118, 80)
_CYCLES_PX = (420, 220)

Record = Mapping[str, Any]


def _entries(record: Record, key: str) -> list[Mapping[str, Any]]:
    found = record.get(key)
    items = found if isinstance(found, list) else []
    return [item for item in items if isinstance(item, Mapping)]


def curve_rows(record: Record) -> list[Row]:
    """One row for each epoch and curve; epochs are counted through all cycles."""
    rows: list[Row] = []
    for index, entry in enumerate(_entries(record, "history"), 1):
        for name, raw in entry.items():
            value = figures.number(raw)
            if name in _NO_LOSS or value is None:
                continue
            rows.append(
                {
                    "epoch": index,
                    "curve": "learning rate" if name == "lr" else name.replace("_", " "),
                    "value": value,
                    "cycle": str(entry.get("cycle") or ""),
                }
            )
    return rows


def curves_chart(record: Record) -> Row | None:
    """Vega-Lite specification: each loss and the learning rate by epoch, on axes of their own.

    None where there are fewer than two epochs: a curve of one point tells nothing.
    """
    rows = curve_rows(record)
    if len({row["epoch"] for row in rows}) <= 1:
        return None
    import altair as alt

    last = max(row["epoch"] for row in rows)
    ticks = list(range(1, last + 1, math.ceil(last / _MOST_EPOCH_TICKS)))
    x = alt.X("epoch:Q").scale(zero=False, nice=False).axis(values=ticks, format="d", title="epoch")
    y = alt.Y("value:Q").scale(zero=False).axis(tickCount=4, format="~g", title=None)
    chart = (
        alt.Chart(alt.NamedData(name="curves"))
        .mark_line(point={"size": 22, "color": LINE}, strokeWidth=1.6, color=LINE)
        .encode(
            x=x,
            y=y,
            detail="cycle:N",
            tooltip=[
                alt.Tooltip("curve:N", title="curve"),
                alt.Tooltip("epoch:Q", title="epoch"),
                alt.Tooltip("value:Q", title="value", format=".4~g"),
            ],
        )
        .properties(width=_CURVE_PX[0], height=_CURVE_PX[1])
        .facet(
            facet=facet(rows, "curve"),
            columns=4,
            # The axes between the charts are as wide as their labels: room for all of them.
            bounds="flush",
            spacing={"row": 76, "column": 62},
        )
        .resolve_scale(y="independent")
        .resolve_axis(x="independent")
    )
    return finished(chart, {"curves": rows})


def sensitivity_rows(record: Record) -> list[Row]:
    """One row for each block and amount tried, with the amount that was chosen for the block."""
    amounts = record.get("amounts")
    chosen = amounts if isinstance(amounts, Mapping) else {}
    # The blocks may be tried on fewer images than the rest of the step is scored on.
    own = record.get("sensitivity_dense_map50_95")
    dense = figures.number(record.get("dense_map50_95") if own is None else own)
    rows: list[Row] = []
    for entry in _entries(record, "sensitivity"):
        amount, score = figures.number(entry.get("amount")), figures.number(entry.get("map50_95"))
        if amount is None or score is None:
            continue
        block = str(entry.get("layer", ""))
        kept = figures.number(chosen.get(block))
        rows.append(
            {"block": block, "amount": amount, "map": score, "chosen": kept, "dense": dense}
        )
    if dense is not None:
        # Nothing pruned, nothing lost: where every line begins.
        first = {row["block"]: row for row in reversed(rows) if row["amount"] > 0}
        measured = {row["block"] for row in rows if row["amount"] == 0}
        begins = [{**row, "amount": 0.0, "map": dense} for row in first.values()]
        rows += [row for row in begins if row["block"] not in measured]
    return rows


def sensitivity_chart(record: Record) -> Row | None:
    """Vega-Lite specification: mAP against the amount pruned, a small chart for each block.

    All have the same axes, in the order of the model; the chosen amount is a vertical line and
    the mAP of dense a horizontal one. None where no block was tried.
    """
    rows = sensitivity_rows(record)
    if not rows:
        return None
    import altair as alt

    order = [str(entry.get("layer", "")) for entry in _entries(record, "sensitivity")]
    percent: Row = {"format": ".0%", "values": [0, 0.25, 0.5, 0.75, 1]}
    base = alt.Chart()
    single = base.transform_aggregate(chosen="max(chosen)", dense="max(dense)")
    x = alt.X("amount:Q").scale(domain=[0, 1]).axis(**percent).title("amount")
    y = alt.Y("map:Q").axis(tickCount=3).title("mAP50-95")
    dense = single.mark_rule(strokeDash=[3, 3], color=GREY).encode(y=alt.Y("dense:Q"))
    chosen = (
        single.mark_rule(strokeWidth=2, color=MARK)
        .encode(x=alt.X("chosen:Q"), tooltip=alt.Tooltip("chosen:Q", title="chosen", format=".0%"))
        .transform_filter("isValid(datum.chosen)")
    )
    line = base.mark_line(point={"size": 20, "color": LINE}, strokeWidth=1.6, color=LINE).encode(
        x=x,
        y=y,
        tooltip=[
            alt.Tooltip("block:N", title="block"),
            alt.Tooltip("amount:Q", title="amount", format=".0%"),
            alt.Tooltip("map:Q", title="mAP50-95", format=".3f"),
            alt.Tooltip("chosen:Q", title="chosen", format=".0%"),
        ],
    )
    by_block = alt.Facet("block:N").sort(list(dict.fromkeys(order))).title(None)
    chart = (
        alt.layer(dense, chosen, line, data=alt.NamedData(name="blocks"))
        .properties(width=_BLOCK_PX[0], height=_BLOCK_PX[1])
        .facet(facet=by_block, columns=7, spacing=14)
    )
    return finished(chart, {"blocks": rows})


_CYCLE_STAGES = {"map50_95_pruned": "pruned", "map50_95": "fine-tuned"}


def cycle_rows(record: Record) -> list[Row]:
    """Two rows for each cycle, after pruning and after fine-tuning, as far as they were scored."""
    rows: list[Row] = []
    for entry in _entries(record, "cycles"):
        amount = figures.number(entry.get("amount"))
        for key, stage in _CYCLE_STAGES.items():
            score = figures.number(entry.get(key))
            if amount is not None and score is not None:
                rows.append(
                    {
                        "cycle": str(entry.get("cycle", "")),
                        "amount": amount,
                        "map": score,
                        "stage": stage,
                        "kept": "kept" if entry.get("kept") else "not kept",
                    }
                )
    return rows


def cycles_chart(record: Record) -> Row | None:
    """Vega-Lite specification: mAP after pruning and after fine-tuning, against the amount.

    The last cycle that was kept is ringed. None where there were no cycles.
    """
    rows = cycle_rows(record)
    if not rows:
        return None
    import altair as alt

    kept = [row for row in rows if row["kept"] == "kept" and row["stage"] == "fine-tuned"]
    stages = list(_CYCLE_STAGES.values())
    base = alt.Chart(alt.NamedData(name="cycles"))
    x = alt.X("amount:Q").scale(zero=False).axis(format=".0%").title("amount pruned")
    y = alt.Y("map:Q").scale(zero=False).title("mAP50-95")
    colour = alt.Color("stage:N").scale(domain=stages, range=[MARK, LINE]).title("after")
    lines = base.mark_line(point={"size": 40}, strokeWidth=1.8).encode(
        x=x,
        y=y,
        color=colour,
        tooltip=[
            alt.Tooltip("cycle:N", title="cycle"),
            alt.Tooltip("amount:Q", title="amount", format=".0%"),
            alt.Tooltip("stage:N", title="after"),
            alt.Tooltip("map:Q", title="mAP50-95", format=".3f"),
            alt.Tooltip("kept:N", title="outcome"),
        ],
    )
    last = (
        alt.Chart(alt.NamedData(name="kept"))
        .mark_point(size=220, strokeWidth=2, filled=False, color=GREY)
        .encode(x=x, y=y)
    )
    layers = [lines, last] if kept else [lines]
    chart = alt.layer(*layers).properties(width=_CYCLES_PX[0], height=_CYCLES_PX[1])
    datasets: dict[str, list[Row]] = {"cycles": rows}
    if kept:
        datasets["kept"] = kept[-1:]
    return finished(chart, datasets)


CHARTS: Sequence[tuple[str, Callable[[Record], Row | None]]] = (
    ("Training curves", curves_chart),
    ("Sensitivity of the blocks", sensitivity_chart),
    ("Cycles", cycles_chart),
)
"""Title and maker of each chart of a step; a maker gives None where there is nothing to draw."""

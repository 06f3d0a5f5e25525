"""A figure by the name of its column in ``cells.json``: title, unit, and amount in words."""

from __future__ import annotations

from deploymark.reports.page import figures
from deploymark.reports.page.tables import BY_KEY

_TITLES = {"latency_p50_ms": "latency p50", "cold_ms": "cold start", "load_ms": "loading"}


def title(figure: str) -> str:
    """``latency p95`` for ``latency_p95_ms``; the column's own name where there is no other."""
    column = BY_KEY.get(figure)
    if figure in _TITLES:
        return _TITLES[figure]
    if column is None:
        return figure
    return f"latency {column.title}" if figure.startswith("latency_") else column.title


def unit(figure: str) -> str:
    """The unit that a figure is shown in, empty for a score."""
    column = BY_KEY.get(figure)
    return column.unit if column else ""


def amount(
    figure: str, value: float | None, *, with_unit: bool = True, digits: int = figures.DIGITS
) -> str:
    """A figure in the unit it is shown in (``12.3 ms``), or the dash."""
    known = figures.measured(value)
    if known is None:
        return figures.ABSENT
    column = BY_KEY.get(figure)
    shown = known * column.scale if column else known
    kind = column.kind if column else "figure"
    if kind == "change":
        text = figures.signed(shown, digits)
    elif kind == "score":
        text = f"{shown:.{digits}f}"
    else:
        text = f"{shown:.0f}" if kind == "count" else figures.significant(shown, digits)
    return f"{text} {unit(figure)}".rstrip() if with_unit else text


def as_given(figure: str, value: float | None) -> str:
    """A limit in the unit of its figure, without digits that nobody gave: ``20 ms``."""
    if value is None:
        return figures.ABSENT
    column = BY_KEY.get(figure)
    return f"{value * (column.scale if column else 1.0):.6g} {unit(figure)}".rstrip()

"""What changed against the run before, where ``history.json`` has one.

Separate runs cannot prove a change below what a machine drifts by between them (1 to 9 % of
latency, ``docs/compare.md``): a latency is told only where both intervals lie apart and the change
is beyond that.
"""

from __future__ import annotations

import dataclasses

from deploymark.bench.records.comparison import DIFFERENCES, LATENCY
from deploymark.bench.records.trends import History, MachineHistory, Point, Series
from deploymark.reports.history import words as trend_words
from deploymark.reports.page import figure_words, figures
from deploymark.reports.page.tables import BY_KEY

DRIFT = 0.09
"""Relative change of a latency that a machine may make by itself from run to run."""

_NOTED = {LATENCY: DRIFT, "map50_95": 0.01, "artifact_bytes": 0.01, "min_memory_mb": 0.01}
"""Figures that are held against the run before, and from which change on one is told."""

_CELLS_NAMED = 3


@dataclasses.dataclass(frozen=True)
class Since:
    """Sentences on the run before, and cells by what changed: (cell, change)."""

    previous: str
    sentences: list[str]


def _apart(before: Point, after: Point) -> bool:
    ends = (before.low, before.high, after.low, after.high)
    if any(end is None for end in ends):
        return False
    low, high, new_low, new_high = (float(end or 0.0) for end in ends)
    return new_low > high or new_high < low


def _change(series: Series, last: int) -> float | None:
    """How a figure changed from the run before to the last, None where that is nothing to tell."""
    limit = _NOTED.get(series.figure)
    points = {point.run: point for point in series.points}
    before, after = points.get(last - 1), points.get(last)
    if limit is None or before is None or after is None:
        return None
    if series.figure in DIFFERENCES:
        change = after.value - before.value
    else:
        change = after.value / before.value - 1 if before.value else 0.0
    if series.figure == LATENCY and not _apart(before, after):
        return None
    return change if abs(change) >= limit * (1 - 1e-9) else None


def _worded(figure: str, change: float) -> str:
    if figure in DIFFERENCES:
        return figures.signed(change, figures.DIGITS)
    return f"{figures.signed(100 * change, 1)} %"


def _sentence(figure: str, changes: list[tuple[str, float]]) -> str:
    """``latency p50 worse in 1 cell (c +20.0 %), better in 2 cells (a …, b …)``."""
    column = BY_KEY[figure]
    sides = []
    for word, good in (("worse", False), ("better", True)):
        those = [(cell, x) for cell, x in changes if ((x > 0) == column.high_first) == good]
        those.sort(key=lambda pair: -abs(pair[1]))
        if those:
            named = ", ".join(f"{cell} {_worded(figure, x)}" for cell, x in those[:_CELLS_NAMED])
            more = f" and {len(those) - _CELLS_NAMED} more" if len(those) > _CELLS_NAMED else ""
            sides.append(f"{word} in {figures.plural(len(those), 'cell')} ({named}{more})")
    return f"{figure_words.title(figure)} {', '.join(sides)}"


def _trends(machine: MachineHistory, last: int) -> list[str]:
    """What the history calls a change that begins with the last run."""
    return [
        f"{series.cell}: {figure_words.title(series.figure)} "
        f"{trend_words.change_text(series, change)}: {'; '.join(change.found)}"
        for series in machine.series
        for change in series.changes
        if change.run == last
    ]


def since_previous(history: History | None) -> Since | None:
    """What the last run of a history changed; None where there is no run before it."""
    machine = history.machines[0] if history is not None and history.machines else None
    if machine is None or len(machine.runs) < 2:  # noqa: PLR2004 - a run and the one before
        return None
    last = len(machine.runs) - 1
    before = machine.runs[last - 1]
    found: dict[str, list[tuple[str, float]]] = {}
    for series in machine.series:
        change = _change(series, last)
        if change is not None:
            found.setdefault(series.figure, []).append((series.cell, change))
    sentences = [_sentence(figure, found[figure]) for figure in _NOTED if figure in found]
    told = "; ".join(sentences) or (
        f"no latency changed beyond its interval and the {100 * DRIFT:.0f} % that a machine may "
        "drift by, no mAP and no size by 1 % or more"
    )
    when = f"{before.run}, {figures.moment(before.started)}"
    return Since(before.run, [f"Since the run before ({when}): {told}.", *_trends(machine, last)])

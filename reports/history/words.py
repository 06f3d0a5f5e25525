"""A history in words and in one line: what changed, where, and how a figure went."""

from __future__ import annotations

from deploymark.bench.records.trends import Change, MachineHistory, Series
from deploymark.reports.page import figure_words, figures
from deploymark.reports.page.tables import BY_KEY

_BLOCKS = "▁▂▃▄▅▆▇█"
_MARK = "│"
_COMMIT_LENGTH = 8
_FLAT = 0.005
"""Share of the largest value below which a trend is drawn as flat, not as noise writ large."""


def sparkline(series: Series, longest: int = 30) -> str:
    """The last values as blocks from low to high, with a line before each change."""
    points = series.points[-longest:]
    starts = {change.run for change in series.changes}
    values = [point.value for point in points]
    low, high = min(values), max(values)
    flat = high - low <= _FLAT * max(abs(low), abs(high))
    text = ""
    for place, point in enumerate(points):
        share = 0.5 if flat else (point.value - low) / (high - low)
        mark = _MARK if point.run in starts and place else ""
        text += mark + _BLOCKS[min(int(share * len(_BLOCKS)), len(_BLOCKS) - 1)]
    return text


def change_text(series: Series, change: Change) -> str:
    """``+5.1 %``, or ``-0.012`` for a score."""
    if series.relative:
        return f"{figures.signed(100 * change.change, 1)} %"
    return figures.signed(change.change, 3)


def is_worse(series: Series, change: Change) -> bool:
    """Whether a change is for the worse: up, but for figures where high is good."""
    column = BY_KEY.get(series.figure)
    return (change.change > 0) != bool(column and column.high_first)


def chance_text(change: Change) -> str:
    """``p 0.0005``, or that there is nothing to test."""
    return "no noise" if change.p_value is None else f"p {change.p_value:.2g}"


def place_text(machine: MachineHistory, change: Change) -> str:
    """The run that a change begins with, its commit, and what else changed there."""
    run = machine.runs[change.run]
    commit = f"commit {run.git_commit[:_COMMIT_LENGTH]}" if run.git_commit else "no commit"
    return f"{run.run}, {commit}: {'; '.join(change.found)}"


def changes_by_place(
    machine: MachineHistory,
) -> list[tuple[str, list[tuple[Series, Change]]]]:
    """All changes under their place, newest first: one cause may change many cells."""
    found: dict[tuple[int, str], list[tuple[Series, Change]]] = {}
    for series in machine.series:
        for change in series.changes:
            place = (change.run, place_text(machine, change))
            found.setdefault(place, []).append((series, change))
    return [(text, found[run, text]) for run, text in sorted(found, key=lambda key: -key[0])]


def from_to(series: Series, change: Change) -> str:
    """``12.3 → 13.0 ms``."""
    before = figure_words.amount(series.figure, change.before, with_unit=False)
    return f"{before} → {figure_words.amount(series.figure, change.after)}"


def runs_text(machine: MachineHistory) -> str:
    """``12 runs from 2026-11-01 to 2026-11-24``."""
    days = [run.started[:10] for run in machine.runs]
    count = figures.plural(len(days), "run")
    if not days:
        return count
    return f"{count} of {days[0]}" if days[0] == days[-1] else f"{count}, {days[0]} to {days[-1]}"

"""The history of cells over runs: a page of its own, and the section of a run's report."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from deploymark.bench.records.trends import History, MachineHistory, Series
from deploymark.reports.history import words as trend_words
from deploymark.reports.history.chart import trend_chart
from deploymark.reports.page import figure_words, figures
from deploymark.reports.page.facts import Fact, nested_facts
from deploymark.reports.page.page import PageChart, page_environment
from deploymark.reports.page.vega import VegaBundle

CELLS_OF_A_CHART = 24
_STILL_SERIES = 48
"""Series without a change that a run's report draws: with more, it draws those that changed."""


@dataclasses.dataclass(frozen=True)
class ChangeRow:
    """A line of the table of changes."""

    cell: str
    figure: str
    change: str
    worse: bool
    ends: str
    run: str
    started: str
    commit: str
    chance: str
    found: list[str]


@dataclasses.dataclass(frozen=True)
class TrendRow:
    """A line of the table of trends."""

    cell: str
    figure: str
    runs: int
    first: str
    latest: str
    trend: str
    change: str


@dataclasses.dataclass(frozen=True)
class TrendPlot(PageChart):
    """Small charts of one figure of some cells: how many, and whether one of them changed."""

    cells: str
    changed: bool


@dataclasses.dataclass(frozen=True)
class MachineView:
    """A machine's history, ready for the template."""

    name: str
    machine: str
    runs: str
    sentence: str
    changes: list[ChangeRow]
    trends: list[TrendRow]
    plots: list[TrendPlot]
    facts: list[Fact]


def _change_rows(machine: MachineHistory) -> list[ChangeRow]:
    """All changes of a machine, those of the newest run first."""
    found = [(change, series) for series in machine.series for change in series.changes]
    found.sort(key=lambda pair: -pair[0].run)
    rows = []
    for change, series in found:
        run = machine.runs[change.run]
        rows.append(
            ChangeRow(
                cell=series.cell,
                figure=figure_words.title(series.figure),
                change=trend_words.change_text(series, change),
                worse=trend_words.is_worse(series, change),
                ends=trend_words.from_to(series, change),
                run=run.run,
                started=figures.moment(run.started),
                commit=(run.git_commit or figures.ABSENT)[:12],
                chance=trend_words.chance_text(change),
                found=change.found,
            )
        )
    return rows


def _trend_rows(series: Iterable[Series]) -> list[TrendRow]:
    return [
        TrendRow(
            cell=item.cell,
            figure=figure_words.title(item.figure),
            runs=len(item.points),
            first=figure_words.amount(item.figure, item.points[0].value),
            latest=figure_words.amount(item.figure, item.points[-1].value),
            trend=trend_words.sparkline(item),
            change=trend_words.change_text(item, item.changes[-1]) if item.changes else "",
        )
        for item in series
    ]


def _sentence(machine: MachineHistory) -> str:
    cells = {series.cell for series in machine.series}
    changed = {series.cell for series in machine.series if series.changes}
    count = sum(len(series.changes) for series in machine.series)
    if not changed:
        return f"No change in {figures.plural(len(cells), 'cell')}."
    return (
        f"{figures.plural(count, 'change')} in {len(changed)} of "
        f"{figures.plural(len(cells), 'cell')}."
    )


def _plots(machine: MachineHistory, series: Sequence[Series], key: str) -> Iterator[TrendPlot]:
    """Charts by figure and backend, a bounded number of cells in each."""

    def group(item: Series) -> tuple[str, str]:
        return item.figure, item.backend

    figure_order = list(dict.fromkeys(item.figure for item in series))
    ordered = sorted(series, key=lambda item: (figure_order.index(item.figure), item.backend))
    number = 0
    for (figure, backend), alike in groupby(ordered, group):
        drawn = list(alike)
        for first in range(0, len(drawn), CELLS_OF_A_CHART):
            some = drawn[first : first + CELLS_OF_A_CHART]
            spec = trend_chart(machine, some)
            if spec is None:
                continue
            unit = figure_words.unit(figure)
            title = f"{figure_words.title(figure)}{f', {unit}' if unit else ''}: {backend}"
            changed = any(item.changes for item in some)
            cells = figures.plural(len(some), "cell")
            yield TrendPlot(f"{key}-{number}", title, spec, cells, changed)
            number += 1


def machine_views(history: History, *, everything: bool = True) -> list[MachineView]:
    """The machines of a history that have series.

    ``everything`` draws all series; without it a series that never changed is drawn only where they
    are few.
    """
    views = []
    for place, machine in enumerate(history.machines):
        series = machine.series
        still = [item for item in series if not item.changes]
        if not everything and len(still) > _STILL_SERIES:
            series = [item for item in series if item.changes]
        if not machine.series:
            continue
        views.append(
            MachineView(
                name=machine.name,
                machine=machine.machine,
                runs=trend_words.runs_text(machine),
                sentence=_sentence(machine),
                changes=_change_rows(machine),
                trends=_trend_rows(machine.series) if everything else [],
                plots=list(_plots(machine, series, f"history-{place}")),
                facts=[Fact("hosts", ", ".join(machine.hosts)), *nested_facts(machine.settings)],
            )
        )
    return views


def history_values(history: History, machine: MachineView | None = None) -> dict[str, Any]:
    """What the template of a machine's section needs."""
    return {
        "machine": machine,
        "significance": f"{history.significance:g}",
        "level": history.significance,
        "min_change": f"{100 * history.min_change:g} %",
        "min_segment": history.min_segment,
    }


def charts_of(views: Iterable[MachineView]) -> dict[str, Any]:
    """The specifications by the names that the template uses."""
    return {plot.key: plot.spec for view in views for plot in view.plots}


def render_history_page(history: History) -> str:
    """The whole page as HTML. It holds all it needs, and forbids itself to load anything.

    Raises DeploymarkError where vl-convert cannot bundle the charts' libraries.
    """
    page = page_environment().get_template("history_page.html")
    with VegaBundle() as bundle:
        views = machine_views(history)
        charts = charts_of(views)
        library = bundle.script() if charts else ""
    found = {"machines": views, "skipped": history.skipped}
    return page.render(history_values(history), **found, charts=charts, library=library)

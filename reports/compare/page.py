"""The page of runs side by side: one HTML file that loads nothing."""

from __future__ import annotations

import dataclasses

from deploymark.bench.records.comparison import LATENCY, ComparedCell, ComparedRun, Comparison
from deploymark.reports.compare import compare
from deploymark.reports.compare.chart import compare_chart, latency_rows
from deploymark.reports.page import figure_words, figures
from deploymark.reports.page.facts import Fact, machine_line, nested_facts
from deploymark.reports.page.page import page_environment
from deploymark.reports.page.tables import Field
from deploymark.reports.page.vega import VegaBundle


@dataclasses.dataclass(frozen=True)
class FigureField(Field):
    """One figure of one run in the table. ``first`` begins the block of a figure."""

    best: bool = False
    first: bool = False


@dataclasses.dataclass(frozen=True)
class CellRow:
    """A row of the table: a field for each figure and run, figures outermost."""

    cell: str
    fields: tuple[FigureField, ...]


@dataclasses.dataclass(frozen=True)
class DescribedRun:
    """A run in the section that describes them."""

    label: str
    facts: list[Fact]
    machine: list[Fact]


def _field(cell: ComparedCell, figure: str, index: int) -> FigureField:
    value = cell.figures[figure][index]
    absent = value.value is None
    status = cell.statuses[index]
    text = compare.amount(figure, value)
    if absent and status not in {None, "ok"}:
        text = str(status).replace("_", " ")
    own = compare.own_interval(figure, value)
    related = compare.relation(value)
    mark = compare.mark(figure, cell, index)
    told = (value.reason, f"95 % CI {own}" if own else "", "disturbed" if mark else "")
    title = "; ".join(part for part in told if part)
    return FigureField(
        f"{text}{mark}",
        title=title,
        extra=related or own,
        absent=absent,
        best=figure == LATENCY and cell.fastest == index,
        first=index == 0,
    )


def cell_rows(comparison: Comparison) -> list[CellRow]:
    """The rows of the table, in the order of the cells."""
    every = range(len(comparison.runs))
    return [
        CellRow(
            cell.cell,
            tuple(_field(cell, figure, index) for figure in comparison.figures for index in every),
        )
        for cell in comparison.cells
    ]


def _described(run: ComparedRun) -> DescribedRun:
    told = [
        Fact("run", run.folder),
        Fact("started", figures.moment(run.started)),
        Fact("machine", machine_line(run.machine)),
    ]
    return DescribedRun(run.label, told, nested_facts(run.machine))


def render_compare_page(comparison: Comparison) -> str:
    """The whole page as HTML. It holds all it needs, and forbids itself to load anything.

    Raises DeploymarkError where vl-convert cannot bundle the chart's libraries.
    """
    page = page_environment().get_template("compare.html")
    context = {
        "heading": compare.heading(comparison),
        "notes": comparison.notes,
        "several_machines": comparison.several_machines,
        "runs": comparison.runs,
        "columns": [
            (figure_words.title(figure), figure_words.unit(figure)) for figure in comparison.figures
        ],
        "rows": cell_rows(comparison),
        "legend": compare.legend(comparison),
        "differences": comparison.differences,
        "artifacts": compare.other_artifacts(comparison),
        "alone": compare.alone(comparison),
        "described": [_described(run) for run in comparison.runs],
    }
    if not latency_rows(comparison):
        return page.render(context, charts={"latency": None}, library="")
    with VegaBundle() as bundle:
        charts = {"latency": compare_chart(comparison)}
        library = bundle.script()
    return page.render(context, charts=charts, library=library)

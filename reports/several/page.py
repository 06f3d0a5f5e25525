"""The page of several runs: machines as columns, each with its own answer on top.

It shows and does not judge: what runs can and cannot prove of each other is told by ``compare``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from deploymark.bench.records.comparison import Difference
from deploymark.bench.records.machines import title
from deploymark.reports.page import facts, figures
from deploymark.reports.page.facts import Fact
from deploymark.reports.page.page import page_environment
from deploymark.reports.page.plain_text import LONGEST
from deploymark.reports.page.vega import VegaBundle
from deploymark.reports.run.answer import AnswerView, answer_view
from deploymark.reports.run.outcomes import count_statuses
from deploymark.reports.several.chart import FOLDED_FROM, latency_rows, several_chart
from deploymark.reports.several.columns import RunColumn, side_by_side

MARK = 'content="Deploymark side by side"'
"""Stands in the head of the page: by it a page of ours is known."""

_KINDS = {
    "machine": "the machine",
    "package": "packages",
    "setting": "settings",
    "input": "models, images and commits",
}


@dataclasses.dataclass(frozen=True)
class RunCard:
    """What is told of a run above the table: its answer, and what it was made of."""

    title: str
    detail: str
    answer: AnswerView | None
    outcome: str
    statuses: list[tuple[str, int]]
    facts: list[Fact]
    state: str


def _card(column: RunColumn) -> RunCard:
    run, answer = column.run, column.answer
    told = [
        Fact("machine", facts.machine_line(run.info.machine)),
        Fact("run", title(run.folder)),
        Fact("started", figures.moment(run.info.started)),
    ]
    return RunCard(
        title=column.title,
        detail=column.detail,
        answer=None if answer is None else answer_view(answer),
        outcome="" if answer is None else answer.outcome,
        statuses=[(str(status), count) for status, count in count_statuses(run.cells)],
        facts=told,
        state=facts.state(run) or "",
    )


def _strip(differences: Sequence[Difference]) -> list[tuple[str, list[Difference]]]:
    """(kind, what differs in it) of every kind, empty where nothing does."""
    return [
        (title, [difference for difference in differences if difference.kind == kind])
        for kind, title in _KINDS.items()
    ]


def render_several(
    columns: Sequence[RunColumn], differences: Sequence[Difference], *, of_machines: bool
) -> str:
    """The whole page as HTML. It holds all it needs, and forbids itself to load anything.

    Raises DeploymarkError where vl-convert cannot bundle the chart's libraries.
    """
    kind = "machine" if of_machines else "run"
    page = page_environment().get_template("several.html")
    table = side_by_side(columns)
    context = {
        "heading": f"{figures.plural(len(columns), kind)} side by side",
        "kind": kind,
        "cards": [_card(column) for column in columns],
        "columns": columns,
        "rows": table.rows,
        "one_accuracy": table.one_accuracy,
        "strip": _strip(differences),
        "longest": LONGEST,
        "folded": len(table.rows) >= FOLDED_FROM,
    }
    if not latency_rows(columns):
        return page.render(context, charts={"several": None}, library="")
    with VegaBundle() as bundle:
        charts = {"several": several_chart(columns, kind)}
        library = bundle.script()
    return page.render(context, charts=charts, library=library)

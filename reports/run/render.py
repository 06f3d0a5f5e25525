"""``report.html``: everything about a run on one page that loads nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from deploymark.bench.records.answer import read_answer
from deploymark.bench.records.choices import read_choices
from deploymark.bench.records.files import write_text_atomically
from deploymark.bench.records.launches import read_launches
from deploymark.bench.records.machines import title
from deploymark.bench.records.profiles import read_explanations
from deploymark.bench.records.run import (
    REPORT_FILE,
    CellResult,
    Run,
    load_run,
    read_fidelity,
    read_variants,
)
from deploymark.bench.records.scenarios import read_scenarios
from deploymark.bench.records.trends import read_history
from deploymark.reports.history.history import charts_of, history_values, machine_views
from deploymark.reports.page import facts, tables
from deploymark.reports.page.chart_style import Row
from deploymark.reports.page.embedded import embedded
from deploymark.reports.page.page import page_environment
from deploymark.reports.page.vega import VegaBundle
from deploymark.reports.run import cell_columns, outcomes
from deploymark.reports.run.answer import answer_view
from deploymark.reports.run.cell_data import MANY, cell_data
from deploymark.reports.run.census import census_views
from deploymark.reports.run.effect_chart import effect_chart
from deploymark.reports.run.effect_table import effect_table
from deploymark.reports.run.effect_words import sentence
from deploymark.reports.run.effectiveness import effects_of
from deploymark.reports.run.explain import explain_views
from deploymark.reports.run.fidelity import fidelity_views
from deploymark.reports.run.matrix_chart import matrix_chart
from deploymark.reports.run.question import question_data
from deploymark.reports.run.recipes import recipe_views
from deploymark.reports.run.scatter_chart import (
    accuracy_ends,
    latency_accuracy_chart,
    not_drawn,
    without_labels,
)
from deploymark.reports.run.scenario_chart import stream_chart
from deploymark.reports.run.scenarios import NOT_A_SUBMISSION, scenario_views
from deploymark.reports.run.warm_up import folded, warm_up_chart, warm_up_rows

MOST_PLAIN_ROWS = 40
"""Rows that a page with many cells has without JavaScript."""

MOST_WARM_UPS = 200
"""Cells whose first inferences are drawn: more lines are none."""


def _choices(cells: tuple[CellResult, ...]) -> list[tuple[str, list[str]]]:
    """(column, its values in order of appearance) for each select of the table."""
    keys = ("backend", "precision", "variant", "status")
    return [(key, list(dict.fromkeys(str(getattr(c, key)) for c in cells))) for key in keys]


def _cell_table(run: Run, environment: Environment) -> str:
    cells = run.cells
    rows = cell_columns.field_rows(cells)
    shown = cell_columns.shown(cells, rows)
    many = len(cells) > MANY
    # Of many cells the page has the first ones and what carries the decision; its script has all.
    numbers = [n for n, c in enumerate(cell_columns.COLUMNS) if shown[c.key] or not many]
    columns = [cell_columns.COLUMNS[number] for number in numbers]
    classes = [
        "n" * column.numeric
        + "long" * (column.key in tables.LONG_TEXTS)
        + " more" * (not shown[column.key])
        for column in columns
    ]
    held = cells[: MOST_PLAIN_ROWS if many else None]
    data = cell_data(run, rows, read_launches(run.folder))
    answer = read_answer(run.folder)
    return environment.get_template("cells.html").render(
        cells=held,
        rows=[(c, [row[n] for n in numbers]) for c, row in zip(held, rows, strict=False)],
        columns=list(zip(columns, classes, strict=True)),
        classes=classes,
        left_out=len(cells) - len(held),
        common_axes=tables.common_axes(cells),
        choices=_choices(cells),
        answer={"winner": answer.winner, "leader": answer.leader} if answer else None,
        data=embedded("cell-data", data),
    )


def _scatter(run: Run) -> Row | None:
    """The chart of the front, with what the run's answer chose."""
    answer = read_answer(run.folder)
    ends = accuracy_ends(read_choices(run.folder), by_agreement=without_labels(run.cells))
    return latency_accuracy_chart(run.cells, ends, answer.winner if answer else None)


def _question(run: Run, environment: Environment) -> Markup:
    """The form that asks other questions, where the run has what answers them."""
    choices = read_choices(run.folder)
    if choices is None:
        return Markup()
    data = embedded("choices-data", question_data(choices, str(run.folder)))
    html = environment.get_template("question.html").render(data=data)
    return Markup(html)  # noqa: S704 - of a template of ours


def _sections(run: Run, environment: Environment) -> tuple[dict[str, Markup], dict[str, Any]]:
    """The sections that not every run has, as HTML (empty where it has not), and their charts."""
    cells, by_agreement = run.cells, without_labels(run.cells)

    def section(name: str, **values: Any) -> Markup:
        html = environment.get_template(f"{name}.html").render(by_agreement=by_agreement, **values)
        return Markup(html)  # noqa: S704 - of a template of ours

    names = ("answer", "slow", "effects", "recipes", "fidelity", "scenarios", "warm_up", "history")
    sections = dict.fromkeys(names, Markup())
    charts: dict[str, Any] = {}
    if answer := read_answer(run.folder):
        sections["answer"] = section(
            "answer", answer=answer_view(answer), question=_question(run, environment)
        )
    if groups := effects_of(cells):
        several = len({group.model for group in groups}) > 1
        charts["effects"] = effect_chart(groups, cells, by_agreement=by_agreement)
        sections["effects"] = section(
            "effects",
            sentences=[sentence(group, with_model=several) for group in groups],
            table=effect_table(groups),
            chart=charts["effects"],
        )
    if recipes := recipe_views(read_variants(run.folder), with_charts=True):
        sections["recipes"] = section("recipes", recipes=recipes)
        charts |= {chart.key: chart.spec for view in recipes for chart in view.charts}
    if views := fidelity_views(cells, read_fidelity(run.folder), run.folder):
        sections["fidelity"] = section("fidelity", fidelity=views)
    if explained := read_explanations(run.folder):
        shown = explain_views(explained)
        sections["slow"] = Markup(  # noqa: S704 - of a template of ours
            environment.get_template("explain.html").render(
                explanations=shown, left_out=len(explained) - len(shown)
            )
        )
    if results := read_scenarios(run.folder):
        charts["scenarios"] = stream_chart(results, cells)
        sections["scenarios"] = section(
            "scenarios",
            scenarios=scenario_views(results),
            note=NOT_A_SUBMISSION,
            chart=charts["scenarios"],
        )
    if rows := warm_up_rows(cells, read_launches(run.folder)):
        left_out = len(rows[MOST_WARM_UPS:])
        rows = rows[:MOST_WARM_UPS]
        charts["warm_up"] = warm_up_chart(rows, cells)
        sections["warm_up"] = section(
            "warm_up",
            count=len(rows),
            left_out=left_out,
            folded=folded(rows),
            chart=charts["warm_up"],
        )
    past = read_history(run.folder)
    if past is not None and (machines := machine_views(past, everything=False)):
        sections["history"] = section("history", **history_values(past, machines[0]))
        charts |= charts_of(machines)
    return sections, charts


def _context(run: Run, environment: Environment) -> dict[str, Any]:
    cells, info = run.cells, run.info
    by_agreement = without_labels(cells)
    return {
        "by_agreement": by_agreement,
        "accuracy": "agreement with the reference" if by_agreement else "mAP50-95",
        "run_id": title(run.folder),
        "state": facts.state(run),
        "marked": facts.disturbed(run),
        "facts": facts.headline(run),
        "machine_line": facts.machine_line(info.machine),
        "statuses": outcomes.count_statuses(cells),
        "table": Markup(_cell_table(run, environment)),  # noqa: S704 - of a template of ours
        "not_drawn": not_drawn(cells),
        "several_batches": len({cell.batch for cell in cells}) > 1,
        "failures": outcomes.kinds(outcomes.failures(cells), cells),
        "disturbed": outcomes.kinds(outcomes.disturbed(cells), cells),
        "not_served": outcomes.kinds(outcomes.not_served(cells), cells),
        "left_out": outcomes.kinds(outcomes.left_out(info.left_out), cells),
        "warnings": outcomes.kinds(outcomes.warnings(cells), cells),
        "held_out": facts.held_out(info.datasets),
        "models": [facts.nested_facts(model) for model in info.models],
        "datasets": census_views(info.datasets),
        "notes": info.notes,
        "machine": facts.nested_facts(info.machine),
        "packages": sorted(info.packages.items()),
        "matrix_json": json.dumps(info.matrix, indent=2, ensure_ascii=False, default=str),
    }


def render_report(run: Run) -> str:
    """The whole page as HTML: facts of the run, a table of all cells, charts, causes of failure.

    Scripts, styles and data are inside, and the page's own policy forbids it to load anything.
    Raises DeploymarkError where vl-convert cannot bundle the charts' libraries.
    """
    environment = page_environment()
    page = environment.get_template("report.html")
    charts: dict[str, Any] = {"scatter": None, "matrix": None}
    if not run.cells:
        sections, _ = _sections(run, environment)
        return page.render(_context(run, environment), **sections, charts=charts, library="")
    with VegaBundle() as bundle:
        sections, more_charts = _sections(run, environment)
        charts = {"scatter": _scatter(run), "matrix": matrix_chart(run.cells)}
        context = _context(run, environment)
        library = bundle.script()
    return page.render(context, **sections, charts=charts | more_charts, library=library)


def write_report(folder: Path) -> Path:
    """Read the run in ``folder`` and write its ``report.html``; returns the file's path.

    Raises BadInputError where ``folder`` is no run directory.
    """
    path = folder / REPORT_FILE
    write_text_atomically(path, render_report(load_run(folder)))
    return path

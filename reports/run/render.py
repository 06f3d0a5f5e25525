"""``report.html``: everything about a run on one page that loads nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from deploymark.bench.records.answer import read_answer
from deploymark.bench.records.files import write_text_atomically
from deploymark.bench.records.launches import read_launches
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
from deploymark.reports.page.page import page_environment
from deploymark.reports.page.vega import VegaBundle
from deploymark.reports.run import outcomes
from deploymark.reports.run.answer import answer_view
from deploymark.reports.run.census import census_views
from deploymark.reports.run.effect_chart import effect_chart
from deploymark.reports.run.effect_table import effect_table
from deploymark.reports.run.effect_words import sentence
from deploymark.reports.run.effectiveness import effects_of
from deploymark.reports.run.explain import explain_views
from deploymark.reports.run.fidelity import fidelity_views
from deploymark.reports.run.matrix_chart import matrix_chart
from deploymark.reports.run.recipes import recipe_views
from deploymark.reports.run.scatter_chart import latency_accuracy_chart, without_labels
from deploymark.reports.run.scenario_chart import stream_chart
from deploymark.reports.run.scenarios import NOT_A_SUBMISSION, scenario_views
from deploymark.reports.run.warm_up import folded, warm_up_chart, warm_up_rows


def _choices(cells: tuple[CellResult, ...]) -> list[tuple[str, list[str]]]:
    """(column, its values in order of appearance) for each select of the table."""
    keys = ("backend", "precision", "variant", "status")
    return [(key, list(dict.fromkeys(str(getattr(c, key)) for c in cells))) for key in keys]


def _cell_table(cells: tuple[CellResult, ...], environment: Environment) -> str:
    shown = tables.shown_columns(cells)
    classes = [
        "n" * column.numeric
        + "long" * (column.key in tables.LONG_TEXTS)
        + " more" * (not shown[column.key])
        for column in tables.COLUMNS
    ]
    return environment.get_template("cells.html").render(
        cells=cells,
        rows=zip(cells, tables.field_rows(cells), strict=True),
        columns=list(zip(tables.COLUMNS, classes, strict=True)),
        classes=classes,
        hidden_count=sum(not visible for visible in shown.values()),
        common_axes=tables.common_axes(cells),
        choices=_choices(cells),
    )


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
        sections["answer"] = section("answer", answer=answer_view(answer))
    if groups := effects_of(cells):
        several = len({group.model for group in groups}) > 1
        charts["effects"] = effect_chart(groups, cells, by_agreement=by_agreement)
        sections["effects"] = section(
            "effects",
            sentences=[sentence(group, with_model=several) for group in groups],
            table=effect_table(groups),
            chart=charts["effects"] is not None,
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
            chart=charts["scenarios"] is not None,
        )
    if rows := warm_up_rows(cells, read_launches(run.folder)):
        charts["warm_up"] = warm_up_chart(rows, cells)
        sections["warm_up"] = section("warm_up", count=len(rows), folded=folded(rows))
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
        "run_id": run.folder.resolve().name,
        "state": facts.state(run),
        "marked": facts.disturbed(run),
        "facts": facts.headline(run),
        "machine_line": facts.machine_line(info.machine),
        "statuses": outcomes.count_statuses(cells),
        "table": Markup(_cell_table(cells, environment)),  # noqa: S704 - of a template of ours
        "several_batches": len({cell.batch for cell in cells}) > 1,
        "failures": outcomes.failures(cells),
        "disturbed": outcomes.disturbed(cells),
        "not_served": outcomes.not_served(cells),
        "left_out": outcomes.left_out(info.left_out),
        "warnings": outcomes.warnings(cells),
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
        charts = {"scatter": latency_accuracy_chart(run.cells), "matrix": matrix_chart(run.cells)}
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

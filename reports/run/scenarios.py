"""MLPerf's scenarios: what each run of LoadGen came to, for the report and for ``summary.md``."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from deploymark.bench.records.run import Run
from deploymark.bench.records.scenarios import ScenarioResult, read_scenarios
from deploymark.reports.page import figures
from deploymark.reports.page.markdown import code, escape, table
from deploymark.reports.page.tables import Field, no_figure

NOT_A_SUBMISSION = (
    "Measured with MLPerf's LoadGen, and no MLPerf result: shorter than its rules ask for unless "
    "the matrix says official, on another model and data set, and reviewed by nobody."
)

_HEADINGS = (
    "cell",
    "scenario",
    "streams",
    "threads",
    "p50, ms",
    "p90, ms",
    "p99, ms",
    "images/s",
    "LoadGen's verdict",
)
_NUMERIC = (False, False, True, True, True, True, True, True, False)


@dataclasses.dataclass(frozen=True)
class ScenarioView:
    """One run of LoadGen. ``traffic`` is what it asked for, ``verdict`` a status or LoadGen's own.

    ``latencies`` are p50, p90 and p99 in milliseconds; ``disturbed`` says what else went on.
    """

    cell: str
    name: str
    traffic: str
    streams: int
    threads: int
    latencies: tuple[Field, Field, Field]
    throughput: Field
    verdict: str
    reason: str
    remedy: str
    disturbed: str
    logs: str


def _number(value: float) -> str:
    return f"{value:g}" if value == round(value) else figures.significant(value)


def traffic(result: ScenarioResult) -> str:
    """What LoadGen asked for: ``20 queries/s, 99 % within 50 ms``, ``8 images a query``."""
    if result.scenario == "server" and result.target_latency_ms and result.target_percentile:
        bound = f"{_number(result.target_percentile)} % within {_number(result.target_latency_ms)}"
        pace = f"{_number(result.target_qps)} queries/s, " if result.target_qps else ""
        return f"{pace}{bound} ms"
    if result.scenario == "multi-stream" and result.samples_per_query:
        return f"{figures.plural(result.samples_per_query, 'image')} a query"
    return ""


def _figure(value: float | None, absence: str) -> Field:
    if figures.measured(value) is None or value is None:
        return no_figure(absence)
    return Field(figures.significant(value), value=value)


def _absence(result: ScenarioResult) -> str:
    if result.status != "ok":
        return f"not measured: {result.status}"
    if result.scenario == "offline":
        return "one query has all images: its latency is the length of the test"
    return f"not given: {result.queries} queries are too few for it"


def _view(result: ScenarioResult) -> ScenarioView:
    absence = _absence(result)
    verdict: str = result.status
    if result.status == "ok":
        verdict = "valid" if result.valid else "INVALID"
    return ScenarioView(
        cell=result.cell,
        name=result.name,
        traffic=traffic(result),
        streams=result.streams,
        threads=result.threads,
        latencies=(
            _figure(result.latency_p50_ms, absence),
            _figure(result.latency_p90_ms, absence),
            _figure(result.latency_p99_ms, absence),
        ),
        throughput=_figure(result.samples_per_second, absence),
        verdict=verdict,
        reason=result.reason or result.invalid_reason or "",
        remedy=result.remedy or "",
        disturbed="; ".join(result.disturbed),
        logs=result.logs or "",
    )


def scenario_views(results: Sequence[ScenarioResult]) -> list[ScenarioView]:
    """The runs of LoadGen as they are shown, in their order."""
    return [_view(result) for result in results]


def _judged(view: ScenarioView) -> str:
    said = f"{view.verdict}: {view.reason}" if view.reason else view.verdict
    return f"{said} (disturbed: {view.disturbed})" if view.disturbed else said


def scenario_lines(run: Run) -> list[str]:
    """The part of ``summary.md``: empty where the run has no scenario."""
    views = scenario_views(read_scenarios(run.folder))
    if not views:
        return []
    rows = [
        [
            code(view.cell),
            escape(f"{view.name} ({view.traffic})" if view.traffic else view.name),
            str(view.streams),
            str(view.threads),
            *(escape(field.text) for field in (*view.latencies, view.throughput)),
            escape(_judged(view)),
        ]
        for view in views
    ]
    return [
        "",
        "## Scenarios",
        "",
        *table(_HEADINGS, rows, numeric=_NUMERIC),
        "",
        escape(NOT_A_SUBMISSION),
    ]

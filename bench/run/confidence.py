"""How sure the figures of a cell are: when it has enough launches, and what they came to."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from deploymark.bench.matrix.cells import Cell
from deploymark.bench.matrix.schema import Matrix
from deploymark.bench.matrix.validity import Validity, remedy, told_together
from deploymark.bench.records.launches import Record, counted
from deploymark.bench.records.run import CellResult
from deploymark.bench.run.schedule import StoppingRule, counting, made, reached, spent_s

_FAR = 3
"""Times the target from which a width is worth a warning: nearer, the interval says it itself."""


def stopping_rule(cell: Cell, matrix: Matrix) -> StoppingRule:
    """When ``cell`` has enough launches."""
    return StoppingRule(
        least=cell.measure.launches,
        most=cell.measure.max_launches,
        target=cell.measure.target_interval,
        budget_s=cell.measure.budget_s,
        repeats=matrix.validity.repeats,
        marks=matrix.validity.on_disturbed == "mark",
    )


def percent(share: float) -> str:
    """A relative half-width for people: ``±2.1 %``."""
    value = 100 * share
    return f"±{value:.0f} %" if value >= 10 else f"±{value:.2g} %"  # noqa: PLR2004 - two digits


def is_marked(records: Sequence[Record], rule: StoppingRule) -> bool:
    """Whether disturbed launches are among those that make the figures of a cell."""
    return any(launch.disturbed for launch in counting(rule, [made(item) for item in records]))


def judge(
    result: CellResult, records: Sequence[Record], rule: StoppingRule, validity: Validity
) -> None:
    """Say by what an ok cell is disturbed, or warn of an interval that stayed wide.

    A cell stays disturbed where it has not its least number of undisturbed launches in spite of
    repeats. Where the rule vetoes that, the cell is ``invalid``. Further launches that stay
    disturbed spoil nothing.
    """
    if result.status != "ok":
        return
    if result.disturbed:
        used = counted(records, disturbed=True)
        traces = disturbed_traces(used)
        result.reason = (
            f"{len(traces)} of {len(used)} launches were disturbed: "
            f"{told_together(traces, validity)}"
        )
        result.remedy = remedy(traces, validity) or None
        return
    calm = sum(not record.get("disturbed") for record in records)
    if calm < rule.least and not rule.marks:
        _veto(result, records, validity)
        return
    launches = [made(record) for record in records]
    width = reached(rule, launches)
    if rule.target is not None and width is not None and width > _FAR * rule.target:
        result.warnings.append(
            f"{percent(width)} after {calm} launches and {spent_s(launches):.0f} s; "
            f"the target is {percent(rule.target)}"
        )


def disturbed_traces(records: Sequence[Record]) -> list[Mapping[str, Any]]:
    """The ``conditions`` of the launches that were disturbed."""
    return [record["conditions"] for record in records if record.get("disturbed")]


def _veto(result: CellResult, records: Sequence[Record], validity: Validity) -> None:
    last = records[-1]
    attempts = sum(record["launch"] == last["launch"] for record in records)
    times = "" if attempts == 1 else f" in each of {attempts} attempts"
    result.status = "invalid"
    result.reason = (
        f"launch {last['launch'] + 1} was disturbed{times}: {'; '.join(last['disturbed'])}"
    )
    result.remedy = remedy([last["conditions"]], validity) or None


def marked_cells(
    results: Collection[CellResult], launches: Mapping[str, Sequence[Record]], validity: Validity
) -> str:
    """How many cells of a run are marked, and by what they were disturbed; empty where none is."""
    marked = [result.cell for result in results if result.disturbed]
    if not marked:
        return ""
    traces = [
        trace
        for cell in marked
        for trace in disturbed_traces(counted(launches[cell], disturbed=True))
    ]
    return (
        f"{len(marked)} of {len(results)} cells are marked disturbed: "
        f"{told_together(traces, validity)}"
    )

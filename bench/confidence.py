"""How sure the figures of a cell are: when it has enough launches, and what they came to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.cells import Cell
from bench.matrix import Matrix
from bench.results import CellResult
from bench.schedule import StoppingRule, made, reached, spent_s
from bench.validity import Validity, remedy

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
    )


def percent(share: float) -> str:
    """A relative half-width for people: ``±2.1 %``."""
    value = 100 * share
    return f"±{value:.0f} %" if value >= 10 else f"±{value:.2g} %"  # noqa: PLR2004 - two digits


def judge(
    result: CellResult,
    records: Sequence[Mapping[str, Any]],
    rule: StoppingRule,
    validity: Validity,
) -> None:
    """Make an ok cell ``invalid`` that stayed disturbed, and warn of an interval that stayed wide.

    A cell stays disturbed where it has not its least number of undisturbed launches in spite of
    repeats. A further launch that stays disturbed ends its launches and no more.
    """
    if result.status != "ok":
        return
    calm = sum(not record.get("disturbed") for record in records)
    if calm < rule.least:
        last = records[-1]
        attempts = sum(record["launch"] == last["launch"] for record in records)
        times = "" if attempts == 1 else f" in each of {attempts} attempts"
        result.status = "invalid"
        result.reason = (
            f"launch {last['launch'] + 1} was disturbed{times}: {'; '.join(last['disturbed'])}"
        )
        result.remedy = remedy(last["conditions"], validity) or None
        return
    launches = [made(record) for record in records]
    width = reached(launches)
    if rule.target is not None and width is not None and width > _FAR * rule.target:
        result.warnings.append(
            f"{percent(width)} after {calm} launches and {spent_s(launches):.0f} s; "
            f"the target is {percent(rule.target)}"
        )

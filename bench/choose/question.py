"""The question: what a caller asks, checked, and what is asked where nobody asks anything."""

from __future__ import annotations

from collections.abc import Sequence

import pydantic

from deploymark.bench.errors import BadInputError
from deploymark.bench.matrix.cells import is_changed
from deploymark.bench.matrix.choose_settings import ChooseSettings
from deploymark.bench.matrix.constraints import known_figure, parse_constraints
from deploymark.bench.matrix.figures import MORE_IS_BETTER
from deploymark.bench.records.answer import Question
from deploymark.bench.records.run import CellResult, Run

DEFAULT_OBJECTIVE = "latency_p50_ms"
DEFAULT_INDIFFERENCE = 0.02
DEFAULT_MAP = "map50_95 >= fp32 - 0.01"
DEFAULT_AGREEMENT = "agreement >= 0.95"
"""INT8 exports of a YOLO11n whose mAP was within 0.01 of FP32's agreed by 0.93 to 0.97."""


def make_question(
    cells: Sequence[CellResult],
    where: Sequence[str] | None,
    *,
    minimize: str | None = None,
    maximize: str | None = None,
    then: str | None = None,
    indifference: float = DEFAULT_INDIFFERENCE,
) -> Question:
    """The question about the cells of a run; without ``where``, that of Deploymark.

    Raises BadInputError, telling of all faults at once.
    """
    faults: list[BadInputError] = []
    if minimize is not None and maximize is not None:
        faults.append(BadInputError("one figure is to be the best, not two: minimize and maximize"))
    if not 0 <= indifference < 1:
        faults.append(
            BadInputError(f"indifference {indifference:g} is not between 0 and 1 (0.02 is 2 %)")
        )
    objective = maximize or minimize or DEFAULT_OBJECTIVE
    for option, name in (("objective", objective), ("then", then)):
        try:
            if name is not None:
                known_figure(name, f"{option} {name}")
        except BadInputError as error:
            faults.append(error)
    try:
        parse_constraints(where or ())
    except BadInputError as error:
        faults.append(error)
    if faults:
        remedies = dict.fromkeys(error.remedy for error in faults if error.remedy)
        message = "\n".join(error.message for error in faults)
        raise BadInputError(message, remedy="\n  ".join(remedies))
    return Question(
        where=default_where(cells) if where is None else list(where),
        objective=objective,
        maximize=maximize is not None,
        then=then,
        indifference=indifference,
        default=where is None,
    )


def question_of(settings: ChooseSettings | None, cells: Sequence[CellResult]) -> Question:
    """The question of a matrix; Deploymark's own where it has none."""
    asked = settings or ChooseSettings()
    return make_question(
        cells,
        asked.where,
        minimize=asked.minimize,
        maximize=asked.maximize,
        then=asked.then,
        indifference=asked.indifference,
    )


def settings_of(run: Run) -> ChooseSettings | None:
    """The section ``choose:``; None where the matrix has none, or one of a later version."""
    section = run.info.matrix.get("choose")
    try:
        return None if section is None else ChooseSettings.model_validate(section)
    except pydantic.ValidationError:
        return None


def stopped_cells(run: Run, question: Question) -> dict[str, str]:
    """Why cells got no further launches, as they cannot be the answer to ``question``.

    Empty for another question than the one that the run asked while it launched.
    """
    if question != question_of(settings_of(run), run.cells):
        return {}
    return {cell.cell: cell.stopped for cell in run.cells if cell.stopped}


def default_where(cells: Sequence[CellResult]) -> list[str]:
    """As accurate as FP32, by what the run measured: mAP, else agreement, else nothing.

    Nothing, too, where the run has no FP32 cell to hold others against.
    """
    measured = [cell for cell in cells if cell.status == "ok" and cell.accuracy_doubt is None]
    unchanged = [
        cell for cell in measured if cell.precision == "fp32" and not is_changed(cell.variant)
    ]
    if any(cell.map50_95 is not None for cell in unchanged):
        return [DEFAULT_MAP]
    if unchanged and any(cell.agreement is not None for cell in measured):
        return [DEFAULT_AGREEMENT]
    return []


def better_low(figure: str, value: float | None) -> float | None:
    """A figure as a number that is better when it is lower."""
    return -value if value is not None and figure in MORE_IS_BETTER else value

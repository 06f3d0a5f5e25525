"""The section ``choose:`` of a matrix: the question that its runs end with the answer to."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from deploymark.bench.errors import BadInputError
from deploymark.bench.matrix.constraints import known_figure, parse_constraint
from deploymark.bench.matrix.strict import Strict


def _constraint(text: str) -> str:
    try:
        parse_constraint(text)
    except BadInputError as error:
        raise ValueError(error.message) from error
    return text


def _figure(name: str) -> str:
    try:
        return known_figure(name, name)
    except BadInputError as error:
        raise ValueError(error.message) from error


ConstraintText = Annotated[str, AfterValidator(_constraint)]
FigureName = Annotated[str, AfterValidator(_figure)]


class ChooseSettings(Strict):
    """What to ship: the cell that meets ``where`` and has the best objective."""

    where: tuple[ConstraintText, ...] | None = Field(
        None,
        description='Constraints: "latency_p95_ms <= 20", "map50_95 >= fp32 - 0.01", '
        '"artifact_bytes <= 8MB". As accurate as FP32 where none are given.',
    )
    minimize: FigureName | None = Field(
        None, description="Column of cells.json to have least of; latency_p50_ms by default."
    )
    maximize: FigureName | None = Field(
        None, description="Instead of `minimize`: the column to have most of."
    )
    then: FigureName | None = Field(
        None, description="Column that settles a tie; the smaller artifact by default."
    )
    indifference: float = Field(
        0.02, ge=0, lt=1, description="Relative difference of the objective that does not matter."
    )

    @model_validator(mode="after")
    def _one_objective(self) -> ChooseSettings:
        if self.minimize is not None and self.maximize is not None:
            raise ValueError("one figure is to be the best: give `minimize` or `maximize`")
        return self

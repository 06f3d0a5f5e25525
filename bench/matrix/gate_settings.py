"""The section ``gate:`` of a matrix: what decides a verdict, and the budgets that figures have."""

from __future__ import annotations

import dataclasses
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

GatedFigure = Literal[
    "latency_p50_ms", "map50_95", "artifact_bytes", "peak_rss_bytes", "energy_j_per_image"
]
"""Figures whose change is judged, columns of ``cells.json``."""

GATED_FIGURES: tuple[GatedFigure, ...] = get_args(GatedFigure)

DEFAULT_THRESHOLDS: dict[GatedFigure, float] = {
    "map50_95": 0.01,
    "artifact_bytes": 0.02,
    "peak_rss_bytes": 0.05,
    "energy_j_per_image": 0.05,
}
"""What a figure may change where the matrix does not say: mAP by a difference, the rest relative.

A latency has ``min_effect``. Memory and energy scatter more from process to process than the pairs
of a latency do, and a few per cent of them decide nothing.
"""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class _Budget(_Strict):
    """Limits of one figure: at least one is given."""

    @model_validator(mode="after")
    def _not_empty(self) -> _Budget:
        if all(getattr(self, name) is None for name in type(self).model_fields):
            raise ValueError(f"gives no limit, expected {' or '.join(type(self).model_fields)}")
        return self


class Ceiling(_Budget):
    """A figure of which less is better, held against a limit alone."""

    max: float | None = Field(None, gt=0, description="Most that the candidate may have.")


class Cost(Ceiling):
    """A figure of which less is better."""

    max_rise: float | None = Field(
        None, gt=0, lt=10, description="Rise over the baseline, relative: 0.02 is 2 %."
    )


class Floor(_Budget):
    """A figure of which more is better, held against a limit alone."""

    min: float | None = Field(None, gt=0, description="Least that the candidate may have.")


class Accuracy(_Budget):
    """An average precision."""

    min: float | None = Field(
        None, gt=0, le=1, description="Least that the candidate may have, in (0, 1]."
    )


class GatedAccuracy(Accuracy):
    """An average precision whose change is judged."""

    max_drop: float | None = Field(
        None, gt=0, lt=1, description="Drop below the baseline, a difference: 0.01 by default."
    )


@dataclasses.dataclass(frozen=True)
class Limit:
    """One budget: ``figure`` of a candidate is at most (``max``) or at least (``min``) ``value``.

    In the unit of the figure's column.
    """

    figure: str
    bound: Literal["max", "min"]
    value: float


class GateSettings(_Strict):
    """What a gate decides by. A figure is named as its column in ``cells.json``."""

    min_effect: float = Field(
        0.01, gt=0, lt=1, description="Change of latency that matters, relative: 0.01 is 1 %."
    )
    confidence: float = Field(0.95, gt=0.5, lt=1, description="Of the intervals.")
    max_pairs: int = Field(40, ge=2, le=1000, description="Pairs of fresh processes a cell.")
    budget_s: float = Field(120, gt=0, description="Seconds of measuring a cell, at most.")
    bursts: int = Field(60, ge=2, le=10_000, description="Bursts of a process in a pair.")
    burst_iterations: int = Field(3, ge=1, le=10_000, description="Timed inferences a burst.")
    copies: int = Field(
        4, ge=1, le=64, description="Copies of a model in a process, where loading is cheap."
    )
    figures: tuple[GatedFigure, ...] = Field(
        GATED_FIGURES,
        min_length=1,
        description="Figures whose change is judged; energy only where it was measured.",
    )
    allow_missing: bool = Field(
        default=False,
        description="Whether a cell of the baseline that the candidate lost decides nothing. By "
        "default the gate is inconclusive.",
    )

    latency_p50_ms: Cost | None = Field(None, description="`max_rise` is in place of `min_effect`.")
    latency_p90_ms: Ceiling | None = None
    latency_p95_ms: Ceiling | None = None
    latency_p99_ms: Ceiling | None = None
    latency_mean_ms: Ceiling | None = None
    e2e_p50_ms: Ceiling | None = None
    cold_ms: Ceiling | None = None
    load_ms: Ceiling | None = None
    throughput_ips: Floor | None = None
    artifact_bytes: Cost | None = Field(None, description="`max_rise` is 0.02 by default.")
    artifact_gzip_bytes: Ceiling | None = None
    peak_rss_bytes: Cost | None = Field(None, description="`max_rise` is 0.05 by default.")
    model_rss_bytes: Ceiling | None = None
    device_memory_bytes: Ceiling | None = None
    energy_j_per_image: Cost | None = Field(None, description="`max_rise` is 0.05 by default.")
    map50_95: GatedAccuracy | None = Field(None, description="`max_drop` is 0.01 by default.")
    map50: Accuracy | None = None

    @model_validator(mode="after")
    def _changes_are_judged(self) -> GateSettings:
        for figure in GATED_FIGURES:
            if figure not in self.figures and self._allowed_change(figure) is not None:
                raise ValueError(
                    f"`{figure}` has an allowed change, and `figures` leaves it out: name it there"
                )
        return self

    def threshold(self, figure: GatedFigure) -> float:
        """The change of ``figure`` that matters: relative, for mAP a difference."""
        given = self._allowed_change(figure)
        return DEFAULT_THRESHOLDS.get(figure, self.min_effect) if given is None else given

    def limits(self) -> list[Limit]:
        """The budgets of all figures, in the order of the fields."""
        found = []
        for figure in type(self).model_fields:
            budget = getattr(self, figure)
            if isinstance(budget, Ceiling) and budget.max is not None:
                found.append(Limit(figure, "max", budget.max))
            if isinstance(budget, (Floor, Accuracy)) and budget.min is not None:
                found.append(Limit(figure, "min", budget.min))
        return found

    def _allowed_change(self, figure: GatedFigure) -> float | None:
        budget = getattr(self, figure)
        if budget is None:
            return None
        change = budget.max_drop if isinstance(budget, GatedAccuracy) else budget.max_rise
        return None if change is None else float(change)

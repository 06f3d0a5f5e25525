"""The section ``energy:`` of a matrix: which meter is read, for how long, and the duty cycle."""

from __future__ import annotations

import shutil
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from deploymark.bench.errors import BadInputError
from deploymark.bench.yaml_source import YamlSource


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ExternalMeterSettings(_Strict):
    """A program that prints the readings of a meter, one a line."""

    command: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        min_length=1,
        description="Program and arguments, a list: no shell reads it. It prints a number a line "
        "and flushes each.",
    )
    unit: Literal["w", "j"] = Field(
        description="w: watts at this moment. j: joules since some time in the past, which add up."
    )
    scope: Literal["GPU", "package", "board", "wall"] = Field(
        "wall", description="What the meter sees."
    )
    name: str = Field("", max_length=80, description="What figures call it; the program's name.")
    period_s: float | None = Field(
        None,
        gt=0,
        le=3600,
        description="Seconds between its updates, as its maker says: how long a run looks for "
        "them. What counts is what is read.",
    )


class PowerModel(_Strict):
    """Watts from processor time, where there is no meter: a model, and called one everywhere."""

    idle_w: float = Field(ge=0, description="Watts of the board at rest.")
    busy_w: float = Field(gt=0, description="Watts with all processors at work.")

    @model_validator(mode="after")
    def _ordered(self) -> PowerModel:
        if self.busy_w <= self.idle_w:
            raise ValueError("busy_w must be above idle_w")
        return self


class EnergySettings(_Strict):
    """How energy is measured, where a meter is found or named. Without any it is null."""

    meter: ExternalMeterSettings | None = Field(
        None, description="A meter that a program reads, in place of those of the machine."
    )
    model: PowerModel | None = Field(
        None,
        description="Figures `modelled` from processor time where there is no meter; they gate "
        "nothing.",
    )
    launches: int = Field(3, ge=1, le=100, description="Fresh processes a cell.")
    window_s: float = Field(
        10,
        gt=0,
        le=3600,
        description="Seconds of a window of inferences, at least; it is as long as 20 updates of "
        "the meter where that is longer. Below 10 is for trying out.",
    )
    idle_s: float = Field(
        5,
        gt=0,
        le=3600,
        description="Seconds of rest before and after, at least; 20 updates where that is longer.",
    )
    budget_s: float = Field(
        40,
        gt=0,
        le=86_400,
        description="Seconds of windows a launch, after which no further one begins. A meter whose "
        "20 updates take longer has no figure.",
    )
    target_interval: float | None = Field(
        0.02,
        gt=0,
        lt=1,
        description="Half-width of the 95 % interval over windows that is narrow enough, relative; "
        "null asks for two windows and no more.",
    )
    frames_per_second: float | None = Field(
        None, gt=0, description="Images a second that are to be inferred: the duty cycle."
    )
    battery_wh: float | None = Field(
        None, gt=0, description="Watt-hours of the battery whose life is asked for."
    )

    @model_validator(mode="after")
    def _duty_cycle(self) -> EnergySettings:
        if (self.battery_wh is None) != (self.frames_per_second is None):
            raise ValueError("give frames_per_second and battery_wh together, or neither")
        return self


EnergyOption = EnergySettings | Literal["off"]


def asked(option: EnergyOption) -> EnergySettings | None:
    """The settings; None where energy is off."""
    return None if option == "off" else option


def fault_of_meter(option: EnergyOption, where: YamlSource) -> BadInputError | None:
    """What is wrong with the meter that a matrix names, before anything runs; None for nothing."""
    settings = asked(option)
    if settings is None or settings.meter is None:
        return None
    program = settings.meter.command[0]
    if shutil.which(program) is not None:
        return None
    return where.error(
        ("energy", "meter", "command"),
        f"no such program: {program}",
        remedy="Give the program that prints the meter's readings, by its name or its path.",
    )

"""The sections of a matrix file that say how to measure, and in which cells otherwise."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from deploymark.backends.base import PrecisionName
from deploymark.bench.matrix.axes import (
    BackendName,
    DeviceName,
    ImageSize,
    ImageSizes,
    MemoryLimit,
    Threads,
)
from deploymark.bench.matrix.scenario_settings import ScenarioOption
from deploymark.bench.matrix.strict import Strict


class Calibration(Strict):
    """How static quantization is calibrated."""

    images: int = Field(64, ge=1, le=4096, description="Number of images, chosen by the seed.")


class Scoring(Strict):
    """How mAP is measured."""

    max_images: int | None = Field(None, ge=1, description="Score on the first N images only.")
    score: Literal["decided", "all"] = Field(
        "decided",
        description="decided: where launches go where the decision is open (`measure.until`), "
        "cells that cannot be the answer are not scored. all: every cell is.",
    )


class Measure(Strict):
    """How long to measure. Defaults suit a run of a few minutes."""

    launches: int = Field(5, ge=1, le=1000, description="Fresh processes a cell, at least.")
    max_launches: int = Field(
        20,
        ge=1,
        le=1000,
        description="Fresh processes a cell, at most: further ones than `launches` while the "
        "interval of the median is wider than the target.",
    )
    target_interval: float | None = Field(
        0.01,
        gt=0,
        lt=1,
        description="Half-width of the median's 95 % interval that is narrow enough, relative: "
        "0.01 is ±1 %; null asks for `launches` and no more.",
    )
    budget_s: float = Field(
        30,
        gt=0,
        allow_inf_nan=False,
        description="Seconds of launches a cell, after which it gets no further ones.",
    )
    warmup_max_s: float = Field(3.0, gt=0, description="Give up waiting for a steady state then.")
    latency_s: float = Field(1.0, gt=0, description="Seconds of timed inferences a launch.")
    min_iterations: int = Field(20, ge=2, description="Timed inferences a launch, at least.")
    latency_max_s: float = Field(
        20,
        gt=0,
        description="Seconds after which a launch times no further inferences for the sake of "
        "`min_iterations` or `e2e_iterations`: of a model that slow, two are enough.",
    )
    max_iterations: int = Field(200, ge=2, description="Timed inferences a launch, at most.")
    e2e_iterations: int = Field(10, ge=0, description="End-to-end inferences a launch.")
    memory_launches: int | None = Field(
        None,
        ge=0,
        le=100,
        description="Launches of the memory pass: as many as `launches`, three at most, by "
        "default. 0: memory is what the timing launches read.",
    )
    until: Literal["decided", "all"] | None = Field(
        None,
        description="decided: cells that cannot be the answer to `choose` get no further launches. "
        "all: every cell gets all of its launches. By default decided where there is a `choose`.",
    )

    @model_validator(mode="after")
    def _ordered(self) -> Measure:
        if self.min_iterations > self.max_iterations:
            raise ValueError("min_iterations is above max_iterations")
        return self

    @property
    def weighings(self) -> int:
        """Launches of the memory pass."""
        return min(self.launches, 3) if self.memory_launches is None else self.memory_launches


class Limits(Strict):
    """What a child process may use before it is stopped."""

    build_timeout_s: float = Field(1200, gt=0)
    recipe_timeout_s: float = Field(21_600, gt=0, description="Of each step of a recipe.")
    launch_timeout_s: float = Field(300, gt=0)
    memory_mb: int | None = Field(
        None,
        ge=128,
        description="Private memory of any child in MiB (Linux), against runaway ones; no limit by "
        "default. Python, numpy and a runtime alone take some 120.",
    )
    memory_limit_mb: MemoryLimit | None = Field(
        None,
        description="MiB that launches really run within (Linux): a control group with memory.max, "
        "else RLIMIT_DATA. The axis of that name is part of ids, this is not.",
    )


class CellPattern(Strict):
    """A partial match of cells: every key given must match; a list matches any of its values."""

    model: str | tuple[str, ...] | None = None
    variant: str | tuple[str, ...] | None = None
    precision: PrecisionName | tuple[PrecisionName, ...] | None = None
    backend: BackendName | tuple[BackendName, ...] | None = None
    device: str | tuple[str, ...] | None = None
    imgsz: ImageSizes | None = Field(
        None, description="640 or 384x640; or a list of sizes: [640, [384, 640]]."
    )
    batch: int | tuple[int, ...] | None = None
    threads: Threads | tuple[Threads, ...] | None = None
    memory_limit_mb: MemoryLimit | tuple[MemoryLimit, ...] | None = None

    @model_validator(mode="after")
    def _not_empty(self) -> CellPattern:
        if not any(getattr(self, name) is not None for name in CellPattern.model_fields):
            raise ValueError("gives nothing to match")
        return self


class Exclude(CellPattern):
    """Cells to leave out, and why."""

    reason: Annotated[str, Field(min_length=1)]


class Include(Strict):
    """One more cell. What is not given is the first value of its axis."""

    backend: BackendName
    precision: PrecisionName
    model: str | None = None
    variant: str | None = None
    device: DeviceName | None = None
    imgsz: ImageSize | None = None
    batch: int | None = Field(None, ge=1)
    threads: Threads | None = None
    memory_limit_mb: MemoryLimit | None = None


class Settings(Strict):
    """Options that an override changes; a cell's id never depends on them."""

    options: dict[str, Any] | None = None
    runtime_options: dict[str, Any] | None = None
    measure: dict[str, Any] | None = Field(None, description="Keys of `measure` to change.")
    limits: dict[str, Any] | None = Field(None, description="Keys of `limits` to change.")
    scenario: ScenarioOption | None = Field(None, description="In place of the matrix's.")


class Override(Strict):
    """Change options of the cells that match."""

    when: CellPattern
    set: Settings

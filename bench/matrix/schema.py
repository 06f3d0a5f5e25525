"""Matrix files: their model, and reading them with errors that say file, line and column."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from deploymark.backends import registry
from deploymark.backends.base import PrecisionName, Size
from deploymark.bench.errors import BadInputError
from deploymark.bench.matrix.axes import BackendName, ImageSize, MemoryLimit, Name, Threads
from deploymark.bench.matrix.choose_settings import ChooseSettings
from deploymark.bench.matrix.energy_settings import EnergyOption, EnergySettings
from deploymark.bench.matrix.entries import BackendEntry, ModelEntry, VariantEntry
from deploymark.bench.matrix.gate_settings import GateSettings
from deploymark.bench.matrix.scenario_settings import ScenarioOption
from deploymark.bench.matrix.sections import (
    Calibration,
    Exclude,
    Include,
    Limits,
    Measure,
    Override,
    Scoring,
)
from deploymark.bench.matrix.strict import Strict
from deploymark.bench.matrix.validity import Validity
from deploymark.bench.yaml_source import (
    YamlSource,
    did_you_mean,
    dotted_path,
    load_yaml,
    sentence,
    validate,
)


class Matrix(Strict):
    """A matrix file. Axes multiply; ``exclude`` takes cells away and ``include`` adds some."""

    schema_version: Literal[1] = Field(1, description="Version of this format.")
    name: Name | None = Field(None, description="The file's stem by default.")
    seed: int = Field(0, ge=0, description="Order of launches, choice of calibration images.")
    models: tuple[ModelEntry, ...] = Field(min_length=1)
    variants: tuple[Literal["dense"] | VariantEntry, ...] = Field(("dense",), min_length=1)
    backends: tuple[BackendName | BackendEntry, ...] | None = Field(
        None,
        min_length=1,
        description="Who measures the checkpoints, and the artifacts that they can open.",
    )
    precisions: tuple[PrecisionName, ...] = Field(("fp32",), min_length=1)
    imgsz: tuple[ImageSize, ...] = Field(
        (Size(640, 640),),
        min_length=1,
        description="Sizes of the input in pixels: 640 is a square, [384, 640] or 384x640 a height "
        "and a width.",
    )
    batch: tuple[Annotated[int, Field(ge=1, le=1024)], ...] = Field((1,), min_length=1)
    threads: tuple[Threads, ...] = Field(
        ("auto",), min_length=1, description="`auto`: as many as there are physical cores."
    )
    memory_limit_mb: tuple[MemoryLimit | None, ...] = Field(
        (None,),
        min_length=1,
        description="MiB that launches run within, as an axis: `[null, 256, 128]`; null is no "
        "limit. Ids have it: `…-320-m128`.",
    )
    fit: bool = Field(
        default=False,
        description="Find the smallest limit of memory that each cell works within.",
    )
    native_only: tuple[PrecisionName, ...] = Field(
        (),
        description="Precisions to leave out, with a note, where the hardware would emulate them.",
    )
    calibration: Calibration = Calibration()
    scoring: Scoring = Scoring()
    measure: Measure = Measure()
    limits: Limits = Limits()
    validity: Validity = Validity()
    gate: GateSettings = GateSettings()
    energy: EnergyOption = Field(
        EnergySettings(),
        description="How energy is measured where there is a meter; `off` reads none.",
    )
    profile: bool = Field(
        default=False,
        description="Launch every measured cell once more with its runtime's own profiler, at the "
        "end: the report then tells why it is slow.",
    )
    choose: ChooseSettings | None = Field(
        None, description="What to ship: the question that a run ends with the answer to."
    )
    scenario: ScenarioOption = Field(
        (), description="Scenarios of MLPerf's LoadGen that every cell runs besides; none."
    )
    on_fault: Literal["refuse", "skip"] = Field(
        "refuse",
        description="What to do about faults of single rows or images of a data set: `skip` leaves "
        "them out and records them.",
    )
    exclude: tuple[Exclude, ...] = ()
    include: tuple[Include, ...] = ()
    overrides: tuple[Override, ...] = ()

    @model_validator(mode="after")
    def _checkpoints_have_backends(self) -> Matrix:
        if not self.backends and any(model.artifact is None for model in self.models):
            raise ValueError("a checkpoint needs `backends`")
        return self

    def backend_entries(self) -> tuple[BackendEntry, ...]:
        """Every backend as an entry."""
        return tuple(
            BackendEntry(name=item) if isinstance(item, str) else item
            for item in self.backends or ()
        )


def json_schema() -> str:
    """The JSON Schema of matrix files, as committed for editors."""
    schema = Matrix.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "Deploymark matrix"
    names = sorted(registry.BUILTIN)
    schema["description"] = f"Shipped backends: {', '.join(names)}."
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def packaged_matrices() -> dict[str, Path]:
    """The matrices that ship with the package, by name."""
    folder = Path(__file__).resolve().parents[2] / "matrices"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def find_matrix(reference: str) -> Path:
    """A matrix by path, or by the name of a shipped one. Raises BadInputError."""
    path = Path(reference)
    if path.is_file():
        return path
    packaged = packaged_matrices()
    if reference in packaged:
        return packaged[reference]
    raise BadInputError(
        f"{reference}: no such matrix file{did_you_mean(reference, list(packaged))}",
        remedy=f"Name a YAML file, or a shipped matrix: {', '.join(packaged)}.",
    )


def read_matrix(path: Path) -> tuple[Matrix, YamlSource]:
    """Read and validate a matrix file. Raises BadInputError with file, line and column."""
    source = load_yaml(path)
    if source.document is None:
        raise BadInputError(f"{source.file}:1:1: the matrix is empty")
    return validate(source, Matrix), source


def recorded_matrix(values: Mapping[str, Any], file: Path) -> Matrix:
    """The matrix that a run recorded in ``file``, whoever wrote it. Raises BadInputError."""
    try:
        return Matrix.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = dotted_path(("matrix", *first["loc"]))
        raise BadInputError(
            f"{file}: {place}: {sentence(first)}", remedy="Run its matrix again instead."
        ) from None


if __name__ == "__main__":  # python -m deploymark.bench.matrix.schema > matrices/matrix.schema.json
    sys.stdout.write(json_schema())

"""Matrix files: their models, and reading them with errors that say file, line and column."""

from __future__ import annotations

import itertools
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    model_validator,
)

from deploymark.backends import registry
from deploymark.backends.base import PRECISIONS
from deploymark.bench.errors import BadInputError
from deploymark.bench.matrix.gate_settings import GateSettings
from deploymark.bench.matrix.scenario_settings import ScenarioOption
from deploymark.bench.matrix.steps import Step
from deploymark.bench.matrix.validity import Validity
from deploymark.bench.yaml_source import YamlSource, did_you_mean, load_yaml, validate

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
"""Names of models and variants: they become parts of cell ids and of file names."""

BUILTIN = "builtin:"
"""Prefix of the models and data sets that ship with the package."""

CHECKPOINT_ENDING = ".pt"
"""What ``--model`` takes for a checkpoint; anything else is an exported file."""

PrecisionName = Literal[
    "fp32",
    "fp16",
    "bf16",
    "int8",
    "int8-dynamic",
    "int8-weights",
    "int8-qat",
    "palettized",
]


OPTION_PATTERN = r"^[A-Za-z][A-Za-z0-9_]{0,31}$"
"""Names of runtime options that are an axis, which become parts of cell ids."""

DEVICE_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.+-]{0,31}$"


_MAX_THREADS = 1024


def _known_backend(name: str) -> str:
    if name not in registry.specs():
        known = sorted(registry.specs())
        raise ValueError(
            f"unknown backend, expected one of {', '.join(known)}{did_you_mean(name, known)}"
        )
    return name


Name = Annotated[str, Field(pattern=NAME_PATTERN)]
BackendName = Annotated[str, Field(pattern=NAME_PATTERN), AfterValidator(_known_backend)]
DeviceName = Annotated[str, Field(pattern=DEVICE_PATTERN)]
OptionName = Annotated[str, Field(pattern=OPTION_PATTERN)]
OptionValue = StrictBool | StrictInt | Name


def _threads(value: object) -> object:
    if value == "auto" or (type(value) is int and 1 <= value <= _MAX_THREADS):
        return value
    raise ValueError(f"expected 'auto' or a whole number from 1 to {_MAX_THREADS}")


Threads = Annotated[Literal["auto"] | int, BeforeValidator(_threads)]
ImageSize = Annotated[int, Field(ge=32, le=4096)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


HeadName = Literal["auto", "one-to-one", "one-to-many"]


class DataEntry(_Strict):
    """A data set given piece by piece, instead of by one ``data.yaml`` or COCO JSON."""

    annotations: str = Field(description="COCO JSON with the boxes of the images to score on.")
    images: str | None = Field(None, description="Folder of those images; guessed where not given.")
    calibration: str | None = Field(
        None, description="Folder, or text file of paths, of the images to calibrate on."
    )
    training: str | None = Field(
        None,
        description="COCO JSON, data.yaml, or folder `images` beside `labels`, of the images that "
        "recipes train on.",
    )


class ModelEntry(_Strict):
    """A trained detector, or a file exported from one, and the data set it is scored on."""

    path: str | None = Field(
        None, description="A .pt checkpoint, relative to this file; or builtin:digits."
    )
    artifact: str | None = Field(
        None,
        description="Instead of `path`: an exported file or folder, to be measured as it is.",
    )
    data: str | DataEntry = Field(
        description="Ultralytics data.yaml or COCO JSON, relative to this file; builtin:digits; or "
        "a folder of images without labels, to judge by agreement with the dense FP32 model alone."
    )
    name: Name | None = Field(None, description="Its word in cell ids; the file's stem by default.")
    names: Literal["coco"] | tuple[str, ...] | None = Field(
        None, description="Class names where data.yaml has no `names`: `coco`, or a list."
    )
    head: HeadName = Field(
        "auto",
        description="Of a checkpoint with both heads (YOLOv10, YOLO26): `one-to-one` needs no "
        "suppression and is what `auto` takes, `one-to-many` is the classic one.",
    )
    backends: tuple[BackendName, ...] | None = Field(
        None, min_length=1, description="Of an artifact: who measures it, where several can."
    )
    precision: PrecisionName | None = Field(
        None, description="Of an artifact: its precision, where the file does not tell."
    )

    @model_validator(mode="after")
    def _one_source(self) -> ModelEntry:
        if (self.path is None) == (self.artifact is None):
            raise ValueError("give either `path` (a checkpoint) or `artifact` (an exported file)")
        if self.path is not None and (self.backends or self.precision):
            raise ValueError("`backends` and `precision` of a model belong to an `artifact`")
        if self.artifact is not None and self.head != "auto":
            raise ValueError("`head` belongs to a checkpoint: an artifact has the one it has")
        return self

    @property
    def source(self) -> str:
        """The checkpoint or the artifact, whichever is given."""
        return self.path or self.artifact or ""


class VariantEntry(_Strict):
    """A recipe: what is done to the model before it is exported."""

    name: Name
    steps: tuple[Step, ...] = Field(
        description="Carried out in order; none for the model as it is, under a name of its own."
    )


class BackendEntry(_Strict):
    """A backend with its own axes and options."""

    name: BackendName
    precisions: tuple[PrecisionName, ...] | None = Field(
        None, min_length=1, description="Instead of the matrix's precisions."
    )
    devices: tuple[DeviceName, ...] | None = Field(
        None, min_length=1, description="Devices to run on; the backend's first one by default."
    )
    options: dict[str, Any] = Field(default_factory=dict, description="Export options.")
    runtime_options: dict[str, Any] = Field(default_factory=dict, description="Options of load().")
    runtime_axes: dict[OptionName, Annotated[tuple[OptionValue, ...], Field(min_length=1)]] = Field(
        default_factory=dict,
        description="Options of load() to try with each of these values: axes, part of ids.",
    )
    python: str | None = Field(
        None, description="Interpreter that has the runtime, where it is not this one."
    )

    @model_validator(mode="after")
    def _one_value(self) -> BackendEntry:
        if both := sorted(set(self.runtime_options) & set(self.runtime_axes)):
            raise ValueError(f"{', '.join(both)}: give it in runtime_options or in runtime_axes")
        return self

    def axis_points(self) -> tuple[tuple[tuple[str, OptionValue], ...], ...]:
        """Every choice of a value for each runtime axis; one empty choice where there is none."""
        names = tuple(self.runtime_axes)
        values = itertools.product(*self.runtime_axes.values())
        return tuple(tuple(zip(names, chosen, strict=True)) for chosen in values)


class Calibration(_Strict):
    """How static quantization is calibrated."""

    images: int = Field(64, ge=1, le=4096, description="Number of images, chosen by the seed.")


class Scoring(_Strict):
    """How mAP is measured."""

    max_images: int | None = Field(None, ge=1, description="Score on the first N images only.")


class Measure(_Strict):
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

    @model_validator(mode="after")
    def _ordered(self) -> Measure:
        if self.min_iterations > self.max_iterations:
            raise ValueError("min_iterations is above max_iterations")
        return self


class Limits(_Strict):
    """What a child process may use before it is stopped."""

    build_timeout_s: float = Field(1200, gt=0)
    recipe_timeout_s: float = Field(21_600, gt=0, description="Of each step of a recipe.")
    launch_timeout_s: float = Field(300, gt=0)
    memory_mb: int | None = Field(
        None, ge=64, description="Private memory of a child (Linux); no limit by default."
    )


class CellPattern(_Strict):
    """A partial match of cells: every key given must match; a list matches any of its values."""

    model: str | tuple[str, ...] | None = None
    variant: str | tuple[str, ...] | None = None
    precision: PrecisionName | tuple[PrecisionName, ...] | None = None
    backend: BackendName | tuple[BackendName, ...] | None = None
    device: str | tuple[str, ...] | None = None
    imgsz: int | tuple[int, ...] | None = None
    batch: int | tuple[int, ...] | None = None
    threads: Threads | tuple[Threads, ...] | None = None

    @model_validator(mode="after")
    def _not_empty(self) -> CellPattern:
        if not any(getattr(self, name) is not None for name in CellPattern.model_fields):
            raise ValueError("gives nothing to match")
        return self


class Exclude(CellPattern):
    """Cells to leave out, and why."""

    reason: Annotated[str, Field(min_length=1)]


class Include(_Strict):
    """One more cell. What is not given is the first value of its axis."""

    backend: BackendName
    precision: PrecisionName
    model: str | None = None
    variant: str | None = None
    device: DeviceName | None = None
    imgsz: ImageSize | None = None
    batch: int | None = Field(None, ge=1)
    threads: Threads | None = None


class Settings(_Strict):
    """Options that an override changes; a cell's id never depends on them."""

    options: dict[str, Any] | None = None
    runtime_options: dict[str, Any] | None = None
    measure: dict[str, Any] | None = Field(None, description="Keys of `measure` to change.")
    limits: dict[str, Any] | None = Field(None, description="Keys of `limits` to change.")
    scenario: ScenarioOption | None = Field(None, description="In place of the matrix's.")


class Override(_Strict):
    """Change options of the cells that match."""

    when: CellPattern
    set: Settings


class Matrix(_Strict):
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
    imgsz: tuple[ImageSize, ...] = Field((640,), min_length=1)
    batch: tuple[Annotated[int, Field(ge=1, le=1024)], ...] = Field((1,), min_length=1)
    threads: tuple[Threads, ...] = Field(
        ("auto",), min_length=1, description="`auto`: as many as there are physical cores."
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
    scenario: ScenarioOption = Field(
        (), description="Scenarios of MLPerf's LoadGen that every cell runs besides; none."
    )
    exclude: tuple[Exclude, ...] = ()
    include: tuple[Include, ...] = ()
    overrides: tuple[Override, ...] = ()

    @model_validator(mode="after")
    def _checkpoints_have_backends(self) -> Matrix:
        if not self.backends and any(model.path is not None for model in self.models):
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


def model_name(entry: ModelEntry) -> str:
    """The name of a model in cell ids."""
    if entry.name is not None:
        return entry.name
    stem = Path(entry.source.removeprefix(BUILTIN)).stem
    cleaned = re.sub(r"[^A-Za-z0-9_.-]", "_", stem).lstrip("_.-")[:64]
    return cleaned or "model"


def with_overrides(
    matrix: Matrix,
    *,
    model: str | None = None,
    data: str | None = None,
    imgsz: Sequence[int] = (),
    backends: Sequence[str] = (),
    precisions: Sequence[str] = (),
) -> Matrix:
    """The matrix with what the command line gives in place of what the file says.

    ``backends`` keeps the file's entry of a backend where it has one; ``precisions`` replaces those
    of every backend. Raises BadInputError naming the option.
    """
    values = matrix.model_dump()
    if model is not None or data is not None:
        names = next(iter(matrix.models)).names
        values["models"] = [{**_given_model(model, data), "names": names}]
    if imgsz:
        values["imgsz"] = list(imgsz)
    if backends:
        entries = {entry.name: entry.model_dump() for entry in matrix.backend_entries()}
        values["backends"] = [entries.get(name, {"name": name}) for name in _checked(backends)]
    if precisions:
        values["precisions"] = list(_known_precisions(precisions))
        values["native_only"] = []
        values["backends"] = [
            {**(item if isinstance(item, dict) else {"name": item}), "precisions": None}
            for item in values["backends"] or ()
        ] or None
    try:
        return Matrix.model_validate(values)
    except ValueError as error:
        raise BadInputError(f"the command line gives an impossible matrix: {error}") from error


def _given_model(model: str | None, data: str | None) -> dict[str, str]:
    if model is None or data is None:
        raise BadInputError(
            "--model and --data belong together",
            remedy="Write: --model my.pt --data my.yaml [--imgsz 640]",
        )
    checkpoint = model.startswith(BUILTIN) or model.lower().endswith(CHECKPOINT_ENDING)
    return {"path" if checkpoint else "artifact": model, "data": data}


def _checked(backends: Sequence[str]) -> Sequence[str]:
    for name in backends:
        try:
            _known_backend(name)
        except ValueError as error:
            raise BadInputError(f"--backends {name}: {error}") from error
    return backends


def _known_precisions(precisions: Sequence[str]) -> Sequence[str]:
    for precision in precisions:
        if precision not in PRECISIONS:
            raise BadInputError(
                f"--precisions {precision}: unknown precision, expected one of "
                f"{', '.join(PRECISIONS)}{did_you_mean(precision, PRECISIONS)}"
            )
    return precisions


if __name__ == "__main__":  # python -m deploymark.bench.matrix.schema > matrices/matrix.schema.json
    sys.stdout.write(json_schema())

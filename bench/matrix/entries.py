"""What a matrix file lists: models with their data, recipes, backends."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from deploymark.backends.base import BoxUnit, FamilyName, PrecisionName
from deploymark.backends.inputs import (
    BYTE_RANGE,
    SIGNED_RANGE,
    UNIT_RANGE,
    Colours,
    Interpolation,
    Placement,
    Resize,
)
from deploymark.bench.matrix.axes import BackendName, DeviceName, Name, OptionName, OptionValue
from deploymark.bench.matrix.model_source import HUGGING_FACE, loader_spec
from deploymark.bench.matrix.steps import Step
from deploymark.bench.matrix.strict import Strict

BUILTIN = "builtin:"
"""Prefix of the models and data sets that ship with the package."""

_OF_ARTIFACTS = ("backends", "precision", "family", "boxes", "input")
"""Keys of a model that say of an exported file what a checkpoint tells itself."""

HeadName = Literal["auto", "one-to-one", "one-to-many"]


class DataEntry(Strict):
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


class InputEntry(Strict):
    """How an exported file takes its images, where neither the file nor its family tells."""

    resize: Resize | None = Field(
        None, description="`letterbox` keeps the sides' ratio, `stretch` fills the size."
    )
    placement: Placement | None = Field(None, description="Where a letterboxed picture lies.")
    pad: Annotated[int, Field(ge=0, le=255)] | None = Field(
        None, description="Grey level around a letterboxed picture, 0 to 255."
    )
    interpolation: Interpolation | None = Field(
        None, description="OpenCV's, or with `-antialias` Pillow's and torchvision's."
    )
    colours: Colours | None = Field(None, description="Order of the channels: `rgb` or `bgr`.")
    range: tuple[int, int] | None = Field(
        None, description="The values of black and white: [0, 1], [0, 255] or [-1, 1]."
    )
    mean: tuple[float, float, float] | None = Field(
        None, description="Subtracted from the channels, in their order and range."
    )
    deviation: tuple[float, float, float] | None = Field(
        None, description="What the channels are divided by after that."
    )
    order: Literal["wh", "hw"] | None = Field(
        None, description="Of the input `orig_target_sizes`: width and height, or the reverse."
    )

    @model_validator(mode="after")
    def _goes_together(self) -> InputEntry:
        if self.range not in (None, UNIT_RANGE, BYTE_RANGE, SIGNED_RANGE):
            raise ValueError("range: expected [0, 1], [0, 255] or [-1, 1]")
        if self.deviation is not None and not all(value > 0 for value in self.deviation):
            raise ValueError("deviation: expected three numbers above 0")
        if self.resize == "stretch" and (self.placement is not None or self.pad is not None):
            raise ValueError("`placement` and `pad` are a letterbox's, and `resize` is `stretch`")
        return self

    def said(self) -> dict[str, Any]:
        """The fields that are given, for ``ReadAs``."""
        return self.model_dump(mode="json", exclude_none=True)


class ModelEntry(Strict):
    """A trained detector, or a file exported from one, and the data set it is scored on."""

    path: str | None = Field(
        None,
        description="A checkpoint, relative to this file: Ultralytics' .pt; hf:FOLDER, a local "
        "Hugging Face folder; a state file of torchvision, with `architecture`; what `loader` is "
        "given; or builtin:digits.",
    )
    architecture: str | None = Field(
        None,
        description="torchvision's name of the detector whose state `path` is: "
        "ssdlite320_mobilenet_v3_large.",
    )
    loader: str | None = Field(
        None,
        description="What loads the model: my_package.my_module:function, or an entry point of the "
        "group deploymark.models. It is given `path`, where there is one.",
    )
    licence: str | None = Field(
        None,
        min_length=1,
        description="The model's licence, in any words (AGPL-3.0): shown beside its figures.",
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
    family: FamilyName | None = Field(
        None,
        description="Of an artifact: the family whose conventions of input and output it follows, "
        "where the file does not tell (docs/models.md).",
    )
    boxes: BoxUnit | None = Field(
        None,
        description="Of an artifact: its boxes in pixels, or normalised to the sides of the input.",
    )
    input: InputEntry | None = Field(None, description="Of an artifact: how it takes images.")

    @model_validator(mode="after")
    def _one_source(self) -> ModelEntry:
        made = self.path is not None or self.loader is not None
        if made == (self.artifact is not None):
            raise ValueError(
                "give either `path` (a checkpoint), or `loader`, or `artifact` (an exported file)"
            )
        if "://" in self.source:
            raise ValueError("that is an address: fetch the file, and name where it lies")
        named = [name for name in _OF_ARTIFACTS if getattr(self, name) is not None]
        if made and named:
            words = ", ".join(f"`{name}`" for name in named)
            raise ValueError(f"{words}: of an `artifact`, not of a checkpoint")
        if self.artifact is not None and self.head != "auto":
            raise ValueError("`head` belongs to a checkpoint: an artifact has the one it has")
        self._check_kind()
        return self

    def _check_kind(self) -> None:
        """Raise ValueError for keys that do not belong to the kind of checkpoint."""
        folder = (self.path or "").startswith(HUGGING_FACE)
        for key, value, wanted in (
            ("architecture", self.architecture, self.path and not folder and not self.loader),
            ("head", self.head != "auto", not folder and not self.loader and not self.architecture),
        ):
            if value and not wanted and self.artifact is None:
                whose = "a state file of torchvision" if key == "architecture" else "a YOLO's .pt"
                raise ValueError(f"`{key}` belongs to {whose}, in `path`")
        if self.architecture and self.artifact is not None:
            raise ValueError("`architecture` belongs to a state file of torchvision, in `path`")
        if folder and self.loader:
            raise ValueError(f"`loader` is given a plain path: leave out {HUGGING_FACE}")
        if self.loader is not None:
            loader_spec(self.loader)

    @property
    def source(self) -> str:
        """The checkpoint, the artifact or the loader, whichever is given."""
        return self.path or self.artifact or self.loader or ""


class VariantEntry(Strict):
    """A recipe: what is done to the model before it is exported."""

    name: Name
    steps: tuple[Step, ...] = Field(
        description="Carried out in order; none for the model as it is, under a name of its own."
    )


class BackendEntry(Strict):
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


def model_name(entry: ModelEntry) -> str:
    """The name of a model in cell ids."""
    if entry.name is not None:
        return entry.name
    plain = entry.source.removeprefix(BUILTIN).removeprefix(HUGGING_FACE)
    stem = Path(plain.rpartition(":")[2] if entry.source == entry.loader else plain).stem
    cleaned = re.sub(r"[^A-Za-z0-9_.-]", "_", stem).lstrip("_.-")[:64]
    return cleaned or "model"

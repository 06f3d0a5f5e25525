"""A matrix with what the command line gives in place of what its file says."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

import pydantic

from deploymark.backends.base import PRECISIONS, BoxUnit, FamilyName
from deploymark.bench.errors import BadInputError, together
from deploymark.bench.matrix.axes import image_size, known_backend
from deploymark.bench.matrix.entries import BUILTIN
from deploymark.bench.matrix.model_source import HUGGING_FACE
from deploymark.bench.matrix.schema import Matrix
from deploymark.bench.yaml_source import Place, did_you_mean, dotted_path, sentence

_RANGES = ("0,1", "0,255", "-1,1")
"""What ``--input-range`` takes."""

CHECKPOINT_ENDING = ".pt"
"""What ``--model`` takes for a checkpoint; anything else is an exported file."""


@dataclasses.dataclass(frozen=True)
class Overrides:
    """What the command line gives, in its words; empty where it gives nothing.

    ``launches`` is how many each cell gets, no fewer and no more; ``max_images`` are scored on.
    ``model_option`` is what the user typed before the model: a gate has two other names for it.
    """

    model: str | None = None
    data: str | None = None
    imgsz: Sequence[int | str] = ()
    backends: Sequence[str] = ()
    precisions: Sequence[str] = ()
    family: str = ""
    boxes: str = ""
    input_range: Sequence[str] = ()
    launches: int | None = None
    max_images: int | None = None
    model_option: str = "--model"

    def places(self) -> dict[Place, str]:
        """The places of a matrix that it fills, and the option that fills each."""
        lists = {key: getattr(self, key) for key in ("imgsz", "backends", "precisions")}
        found: dict[Place, str] = {
            (key,): f"--{key} {','.join(map(str, values))}"
            for key, values in lists.items()
            if values
        }
        if self.launches is not None:
            found["measure", "launches"] = found["measure", "max_launches"] = "--launches"
        if self.max_images is not None:
            found["scoring", "max_images"] = "--max-images"
        if self.model is not None:
            found["models",] = found["models", 0] = f"{self.model_option} {self.model}"
            found["models", 0, "data"] = f"--data {self.data}"
            found["models", 0, "family"] = f"--family {self.family}"
            found["models", 0, "boxes"] = f"--boxes {self.boxes}"
            found["models", 0, "input"] = f"--input-range {','.join(self.input_range)}"
        return found

    def words(self) -> Iterator[str]:
        """The options as they are typed, but for the model and its data."""
        lists = ("imgsz", "backends", "precisions", "input_range")
        said = {key: ",".join(map(str, getattr(self, key))) for key in lists}
        for key, text in {**said, "family": self.family, "boxes": self.boxes}.items():
            if text:
                yield from (f"--{key.replace('_', '-')}", text)
        yield from more_of(self.launches, self.max_images)

    def of_file(self) -> dict[str, Any]:
        """What it says of an exported file, by the keys of a model's entry."""
        said: dict[str, Any] = {}
        if self.family:
            said["family"] = self.family
        if self.boxes:
            said["boxes"] = self.boxes
        if self.input_range:
            said["input"] = {"range": [int(word) for word in self.input_range]}
        return said


def more_of(launches: int | None, images: int | None) -> Iterator[str]:
    """The options that ask for so many launches of each cell, and images to score on."""
    for option, count in (("--launches", launches), ("--max-images", images)):
        if count is not None:
            yield from (option, str(count))


def is_checkpoint(model: str) -> bool:
    """Whether a model is a checkpoint, by its name; an exported file otherwise."""
    return model.startswith((BUILTIN, HUGGING_FACE)) or model.lower().endswith(CHECKPOINT_ENDING)


def with_overrides(matrix: Matrix, given: Overrides) -> Matrix:
    """The matrix with what the command line gives in place of what the file says.

    ``backends`` keeps the file's entry of a backend where it has one; ``precisions`` replaces those
    of every backend. Raises BadInputError naming the options, all that are wrong at once.
    """
    if faults := list(_faults(given)):
        raise together(faults)
    values = matrix.model_dump()
    if given.model is not None:
        key = "path" if is_checkpoint(given.model) else "artifact"
        names = next(iter(matrix.models)).names
        entry = {key: given.model, "data": given.data, "names": names, **given.of_file()}
        values["models"] = [entry]
    if given.imgsz:
        values["imgsz"] = list(given.imgsz)
    if given.backends:
        entries = {entry.name: entry.model_dump() for entry in matrix.backend_entries()}
        values["backends"] = [entries.get(name, {"name": name}) for name in given.backends]
        for model in values["models"]:
            model["backends"] = None
    if given.precisions:
        values["precisions"] = list(given.precisions)
        values["native_only"] = []
        values["backends"] = [
            {**(item if isinstance(item, dict) else {"name": item}), "precisions": None}
            for item in values["backends"] or ()
        ] or None
    if given.launches is not None:
        counts = {"launches": given.launches, "max_launches": given.launches}
        values["measure"] = {**values["measure"], **counts}
    if given.max_images is not None:
        values["scoring"] = {**values["scoring"], "max_images": given.max_images}
    try:
        return Matrix.model_validate(values)
    except pydantic.ValidationError as error:
        details = error.errors(include_url=False)
        raise together([_impossible(item, given.places()) for item in details]) from error


def _impossible(details: Mapping[str, Any], places: Mapping[Place, str]) -> BadInputError:
    """What contradicts the rest of a matrix, told as the option that it came from."""
    place = tuple(details["loc"])
    option = next(
        (places[place[:n]] for n in range(len(place), 0, -1) if place[:n] in places),
        "with what the command line gives",
    )
    dotted = "" if place[:1] in places else f"{dotted_path(place)}: " if place else ""
    return BadInputError(f"{option}: {dotted}{sentence(details)}")


def _faults(given: Overrides) -> Iterator[BadInputError]:
    if (given.model is None) != (given.data is None):
        yield BadInputError(
            "--model and --data belong together",
            remedy="Write: --model my.pt --data my.yaml [--imgsz 640]",
        )
    for size in given.imgsz:
        try:
            image_size(size)
        except ValueError as error:
            yield BadInputError(
                f"--imgsz {size}: {error}", remedy="Write: --imgsz 640, or --imgsz 384x640"
            )
    for name in given.backends:
        try:
            known_backend(name)
        except ValueError as error:
            yield BadInputError(f"--backends {name}: {error}")
    for precision in given.precisions:
        if precision not in PRECISIONS:
            yield BadInputError(
                f"--precisions {precision}: unknown precision, expected one of "
                f"{', '.join(PRECISIONS)}{did_you_mean(precision, PRECISIONS)}"
            )
    yield from _faults_of_file(given)
    for key in ("imgsz", "backends", "precisions"):
        values = [str(value) for value in getattr(given, key)]
        for value in dict.fromkeys(value for value in values if values.count(value) > 1):
            yield BadInputError(f"--{key} {','.join(values)}: {value} is given twice")


def _faults_of_file(given: Overrides) -> Iterator[BadInputError]:
    """What is wrong with what is said of an exported file."""
    for option, value, known in (
        ("--family", given.family, get_args(FamilyName)),
        ("--boxes", given.boxes, get_args(BoxUnit)),
        ("--input-range", ",".join(given.input_range), _RANGES),
    ):
        if not value:
            continue
        if value not in known:
            words = f"{', '.join(known[:-1])} or {known[-1]}"
            yield BadInputError(f"{option} {value}: expected {words}{did_you_mean(value, known)}")
        elif given.model is None or is_checkpoint(given.model):
            key = "input" if option == "--input-range" else option[2:]
            yield BadInputError(
                f"{option} {value}: says how an exported file reads, and --model names none",
                remedy=f"Give the file: --model my.onnx. In a matrix write `{key}:` beside "
                "`artifact:`.",
            )

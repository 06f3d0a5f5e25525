"""Exported files that a matrix names to be measured as they are: who reads them, what they say."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from deploymark.backends.base import (
    AS_SEEN,
    PLAIN_INPUT,
    PLAIN_OUTPUT,
    Detector,
    InputSpec,
    OutputSpec,
    ReadAs,
    Size,
)
from deploymark.backends.file_kind import misfit, seen, way_out
from deploymark.bench.children.spawn import WORKER, run_child
from deploymark.bench.errors import BadInputError, together
from deploymark.bench.machine.probing import Found
from deploymark.bench.matrix.entries import ModelEntry, model_name
from deploymark.bench.matrix.given_names import class_order
from deploymark.bench.matrix.schema import Matrix
from deploymark.bench.records.outcomes import Outcome
from deploymark.bench.store import StoredArtifact, foreign_artifact
from deploymark.bench.yaml_source import YamlSource

_TIMEOUT_S = 120.0

_NORMALISED_OR_NOT: Mapping[str, str] = {
    "rtdetr": "read as RT-DETR's and D-FINE's, whose images are not normalised; those of DEIMv2 in "
    "S to X are, by ImageNet's mean and deviation: give them under `input:`, or say `family:`",
    "paddle": "read as PP-YOLOE+'s, whose images are not normalised; where the training's "
    "configuration has a mean and a deviation, give them under `input:`, or say `family:`",
}
"""Families that files are recognised to be of, and some of whose models take images of another
range, which no file tells."""


@dataclasses.dataclass(frozen=True)
class GivenArtifact:
    """A file or folder that a matrix names, as one backend reads it.

    ``outcome`` is there where the backend cannot tell anything here: the rest is then empty.
    ``imgsz`` and ``batch`` are None where the file leaves them open, ``classes`` and ``precision``
    where it does not tell. ``output``, ``spec``, ``told``, ``family`` and ``score_floor`` as in
    ``Detector``.
    """

    backend: str
    path: Path
    outcome: Outcome | None = None
    folder: Path = Path()
    entry: str = ""
    files: tuple[str, ...] = ()
    imgsz: Size | None = None
    batch: int | None = None
    output: OutputSpec = PLAIN_OUTPUT
    classes: int | None = None
    names: tuple[str, ...] = ()
    stride: int = 32
    precision: str | None = None
    spec: InputSpec = PLAIN_INPUT
    told: ReadAs = AS_SEEN
    family: str = ""
    score_floor: float | None = None

    def detector(self, dataset_names: Sequence[str]) -> Detector:
        """What is known of the detector in the file.

        A file without class names is taken to have those of its data set (``class_order``). Raises
        BadInputError where the number of names is another.
        """
        names = self.names or class_order(self.output.layout, self.classes, dataset_names).names
        if self.classes not in (None, len(names)):
            whose = "it names" if self.names else "does not name them; its data set has"
            raise BadInputError(
                f"{self.path} has {self.classes} classes and {whose} {len(names)}",
                remedy="Say how its output reads, with `family:` or --family."
                if self.names
                else "Give the data set that the model was trained for.",
            )
        return Detector(
            names=names,
            stride=self.stride,
            output=self.output,
            spec=self.spec,
            told=self.told,
            score_floor=self.score_floor,
            family=self.family,
        )

    def remarks(self, dataset_names: Sequence[str]) -> tuple[str, ...]:
        """What makes the file's figures others than those of its model, and what was taken so."""
        found = []
        if self.score_floor is not None:
            found.append(
                f"scores below {self.score_floor:g} are cut in the file, whose maker noted "
                "nms=True and no other `conf`: mAP integrates over all scores and is not "
                "comparable; export with nms=False, or with conf=0.001"
            )
        if not self.names:
            found.append(class_order(self.output.layout, self.classes, dataset_names).remark)
        if self.told.family is None and not {"mean", "deviation"} & set(self.told.input):
            found.append(_NORMALISED_OR_NOT.get(self.family, ""))
        return tuple(filter(None, found))

    def stored(self, detector: Detector) -> StoredArtifact:
        """The file as the launches take artifacts; it stays where it is.

        With the contracts of this backend: others may call the outputs of a file by other names.
        """
        mine = dataclasses.replace(detector, output=self.output, spec=self.spec)
        return foreign_artifact(
            self.folder, self.entry, self.files, dataclasses.asdict(mine), source=self.path
        )


def _reads(found: Found, path: Path) -> bool:
    return path.name.lower().endswith(found.artifact_endings)


def _ending(path: Path, found: Mapping[str, Found]) -> str:
    """What the names of such files end in, as backends know it; the suffix where none does."""
    name = path.name.lower()
    known = [end for item in found.values() for end in item.artifact_endings if name.endswith(end)]
    return known[0] if known else path.suffix or path.name


@dataclasses.dataclass(frozen=True)
class _Readers:
    """The backends to measure a file with, and those that were asked and cannot read it."""

    measure: tuple[str, ...]
    cannot: tuple[str, ...] = ()


def _readers(entry: ModelEntry, path: Path, matrix: Matrix, found: Mapping[str, Found]) -> _Readers:
    """Who measures a file.

    Those that the entry names; or those of the matrix that can read it; or, where there is none,
    the first of all that can, an installed one before others. Nobody where none can.
    """
    able = [name for name, item in found.items() if _reads(item, path)]
    asked = entry.backends or [item.name for item in matrix.backend_entries()]
    cannot = tuple(name for name in asked if name not in able)
    if measuring := tuple(name for name in asked if name in able):
        return _Readers(measuring, cannot)
    installed = [name for name in able if found[name].probe.installed]
    return _Readers(() if entry.backends else tuple((installed or able)[:1]), cannot)


def names_values(where: YamlSource, key: str) -> bool:
    """Whether an axis is named for the very models at hand.

    By an option; or by the file, as long as the models are the file's own: a shipped matrix says
    nothing of what ``--model`` gives.
    """
    if where.option_of((key,)):
        return True
    document = where.document if isinstance(where.document, dict) else {}
    return key in document and not where.option_of(("models",))


def describe_given(
    matrix: Matrix, found: Mapping[str, Found], where: YamlSource
) -> dict[str, tuple[GivenArtifact, ...]]:
    """Every artifact that the matrix names, by the model's name, once for each backend it gets.

    ``found`` has all backends. Raises BadInputError, naming the option or pointing into the matrix
    file, for a file that is no model, that no backend reads, or that its backend refuses; and for a
    backend that is named for files which it does not read.
    """
    faults: list[BadInputError] = []
    readers: dict[int, _Readers] = {}
    for index, entry in enumerate(matrix.models):
        if entry.artifact is None:
            continue
        path, place = Path(entry.artifact), ("models", index, "artifact")
        if path.exists() and (wrong := misfit(path)) is not None:
            faults.append(where.error(place, wrong[0], remedy=wrong[1]))
            continue
        readers[index] = _readers(entry, path, matrix, found)
        faults += _unread(readers[index], entry, index, found, where)
    faults += _of_no_use(matrix, readers.values(), found, where)
    if faults:
        raise together(faults)
    pythons = {item.name: item.python for item in matrix.backend_entries()}
    given: dict[str, tuple[GivenArtifact, ...]] = {}
    for index, who in readers.items():
        entry = matrix.models[index]
        given[model_name(entry)] = tuple(
            _described(name, entry, found[name], pythons.get(name), where, index)
            for name in who.measure
        )
    return given


def _unread(
    readers: _Readers,
    entry: ModelEntry,
    index: int,
    found: Mapping[str, Found],
    where: YamlSource,
) -> Iterator[BadInputError]:
    """What is wrong with the file of an entry, or with the backends that the entry itself names."""
    path = Path(entry.source)
    ending = _ending(path, found)
    able = [name for name, item in found.items() if _reads(item, path)]
    if not able:
        endings = sorted({end for item in found.values() for end in item.artifact_endings})
        remedy = f"Endings of files and folders that are read: {', '.join(endings)}."
        kind = seen(path) if path.exists() else None
        what = f"no backend reads {path.name}"
        if kind is not None:
            what, remedy = f"{path.name} is {kind.what}: no backend reads it", way_out(path, kind)
        yield where.error(("models", index, "artifact"), what, remedy=remedy)
    elif entry.backends:
        for name in readers.cannot:
            yield where.error(
                ("models", index, "backends"),
                f"{name} does not open {ending}",
                remedy=f"What opens {path.name}: {', '.join(able)}.",
            )


def _of_no_use(
    matrix: Matrix,
    readers: Iterable[_Readers],
    found: Mapping[str, Found],
    where: YamlSource,
) -> Iterator[BadInputError]:
    """Backends of the matrix, or of ``--backends``, that measure nothing of it."""
    everyone = list(readers)
    files = [entry for entry in matrix.models if entry.artifact is not None]
    if not everyone or len(files) < len(matrix.models) or not names_values(where, "backends"):
        return
    for index, item in enumerate(matrix.backend_entries()):
        if all(item.name in who.cannot for who in everyone):
            paths = [Path(entry.source) for entry in files]
            able = [name for name, it in found.items() if any(_reads(it, p) for p in paths)]
            endings = ", ".join(dict.fromkeys(_ending(path, found) for path in paths))
            yield where.error(
                ("backends", index),
                f"{item.name} does not open {endings}",
                remedy=f"What does: {', '.join(able)}." if able else "",
            )


def _described(
    name: str,
    entry: ModelEntry,
    found: Found,
    python: str | None,
    where: YamlSource,
    index: int,
) -> GivenArtifact:
    path = Path(entry.source)
    if not found.probe.installed and python is None:
        outcome = Outcome("unavailable", found.probe.reason, found.probe.remedy)
        return GivenArtifact(name, path, outcome)
    said = ReadAs(entry.family, entry.boxes, entry.input.said() if entry.input else {})
    job = {
        "kind": "describe",
        "spec": found.spec,
        "path": str(path),
        "told": dataclasses.asdict(said),
    }
    with tempfile.TemporaryDirectory(prefix="deploymark-") as folder:
        log = Path(folder) / "describe.log"
        end = run_child(WORKER, job, timeout_s=_TIMEOUT_S, log=log, python=python)
    if end.result is None:
        if end.outcome.status in ("unavailable", "unsupported"):
            return GivenArtifact(name, path, end.outcome)
        raise where.error(
            ("models", index, "artifact"),
            f"{name} cannot read it: {end.outcome.reason}",
            remedy=end.outcome.remedy,
        )
    told = end.result
    batch, _, height, width = told["input_shape"]
    spec = InputSpec.read(told["spec"])
    if said.input and (wrong := _not_followed(path, said, spec)) is not None:
        raise where.error(("models", index, "input"), wrong[0], remedy=wrong[1])
    return GivenArtifact(
        backend=name,
        path=path,
        folder=Path(told["folder"]),
        entry=told["entry"],
        files=tuple(told["files"]),
        imgsz=None if height is None or width is None else Size(height, width),
        batch=batch,
        output=OutputSpec.read(told["output"]),
        classes=told["classes"],
        names=tuple(told["names"]),
        stride=told["stride"],
        precision=told["precision"],
        spec=spec,
        told=said,
        family=told["family"],
        score_floor=told["score_floor"],
    )


def _not_followed(path: Path, said: ReadAs, spec: InputSpec) -> tuple[str, str] | None:
    """What of the input's fields a file cannot follow, and the remedy; None where it can all."""
    if spec.dtype == "uint8":
        if tuple(said.input.get("range", spec.range)) != spec.range:
            return f"{path.name} takes bytes: its range is 0 to 255", "Leave `range` out."
        if {"mean", "deviation"} & set(said.input):
            return (
                f"{path.name} takes bytes: a mean and a deviation are its own affair",
                "Leave `mean` and `deviation` out.",
            )
    if "order" in said.input and not any(item.kind == "orig_target_sizes" for item in spec.extra):
        return f"{path.name} has no input orig_target_sizes", "Leave `order` out."
    return None

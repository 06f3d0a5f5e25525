"""Exported files that a matrix names to be measured as they are: who reads them, what they say."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from deploymark.backends.base import Detector, OutputLayout
from deploymark.bench.children.spawn import WORKER, run_child
from deploymark.bench.errors import BadInputError
from deploymark.bench.machine.probing import Found
from deploymark.bench.matrix.entries import ModelEntry, model_name
from deploymark.bench.matrix.schema import Matrix
from deploymark.bench.records.run import Outcome
from deploymark.bench.store import StoredArtifact, foreign_artifact
from deploymark.bench.yaml_source import YamlSource

_TIMEOUT_S = 120.0


@dataclasses.dataclass(frozen=True)
class GivenArtifact:
    """A file or folder that a matrix names, as one backend reads it.

    ``outcome`` is there where the backend cannot tell anything here: the rest is then empty.
    ``imgsz`` (pixels) and ``batch`` are None where the file leaves them open, ``classes`` and
    ``precision`` where it does not tell.
    """

    backend: str
    path: Path
    outcome: Outcome | None = None
    folder: Path = Path()
    entry: str = ""
    files: tuple[str, ...] = ()
    imgsz: int | None = None
    batch: int | None = None
    layout: OutputLayout = "anchors"
    classes: int | None = None
    names: tuple[str, ...] = ()
    stride: int = 32
    precision: str | None = None

    def detector(self, dataset_names: Sequence[str]) -> Detector:
        """What is known of the detector in the file.

        A file without class names is taken to have those of its data set, in that order, or their
        numbers where that has none either (a folder of images). Raises BadInputError where the
        number of names is another.
        """
        numbers = tuple(str(index) for index in range(self.classes or 0))
        names = self.names or tuple(dataset_names) or numbers
        if self.classes not in (None, len(names)):
            raise BadInputError(
                f"{self.path} has {self.classes} classes and does not name them; its data set has "
                f"{len(names)}",
                remedy="Give the data set that the model was trained for.",
            )
        return Detector(names=names, stride=self.stride, layout=self.layout)

    def stored(self, detector: Detector) -> StoredArtifact:
        """The file as the launches take artifacts; it stays where it is."""
        return foreign_artifact(
            self.folder, self.entry, self.files, dataclasses.asdict(detector), source=self.path
        )


def _reads(found: Found, path: Path) -> bool:
    return path.name.lower().endswith(found.artifact_endings)


def _readers(
    entry: ModelEntry, path: Path, matrix: Matrix, found: Mapping[str, Found]
) -> Sequence[str]:
    """The backends to measure a file with.

    Those that the entry names; or those of the matrix that can read it; or, where there is none,
    the first of all that can, an installed one before others. Empty where none can.
    """
    if entry.backends is not None:
        return [name for name in entry.backends if _reads(found[name], path)]
    able = [name for name, item in found.items() if _reads(item, path)]
    asked = [item.name for item in matrix.backend_entries() if item.name in able]
    if asked:
        return asked
    installed = [name for name in able if found[name].probe.installed]
    return (installed or able)[:1]


def describe_given(
    matrix: Matrix, found: Mapping[str, Found], where: YamlSource
) -> dict[str, tuple[GivenArtifact, ...]]:
    """Every artifact that the matrix names, by the model's name, once for each backend it gets.

    ``found`` has all backends. Raises BadInputError, pointing into the matrix file, for a file that
    no backend reads, or that its backend refuses.
    """
    given: dict[str, tuple[GivenArtifact, ...]] = {}
    for index, entry in enumerate(matrix.models):
        if entry.artifact is None:
            continue
        path, place = Path(entry.artifact), ("models", index, "artifact")
        names = _readers(entry, path, matrix, found)
        if not names:
            endings = sorted({end for item in found.values() for end in item.artifact_endings})
            raise where.error(
                place,
                f"no backend reads {path.name}"
                if entry.backends is None
                else f"{', '.join(entry.backends)} cannot read {path.name}",
                remedy=f"Endings of files and folders that are read: {', '.join(endings)}.",
            )
        pythons = {item.name: item.python for item in matrix.backend_entries()}
        given[model_name(entry)] = tuple(
            _described(name, path, found[name], pythons.get(name), where, place) for name in names
        )
    return given


def _described(
    name: str,
    path: Path,
    found: Found,
    python: str | None,
    where: YamlSource,
    place: tuple[str | int, ...],
) -> GivenArtifact:
    if not found.probe.installed and python is None:
        outcome = Outcome("unavailable", found.probe.reason, found.probe.remedy)
        return GivenArtifact(name, path, outcome)
    job = {"kind": "describe", "spec": found.spec, "path": str(path)}
    with tempfile.TemporaryDirectory(prefix="deploymark-") as folder:
        log = Path(folder) / "describe.log"
        end = run_child(WORKER, job, timeout_s=_TIMEOUT_S, log=log, python=python)
    if end.result is None:
        if end.outcome.status in ("unavailable", "unsupported"):
            return GivenArtifact(name, path, end.outcome)
        raise where.error(
            place, f"{name} cannot read it: {end.outcome.reason}", remedy=end.outcome.remedy
        )
    told = end.result
    batch, _, height, _ = told["input_shape"]
    return GivenArtifact(
        backend=name,
        path=path,
        folder=Path(told["folder"]),
        entry=told["entry"],
        files=tuple(told["files"]),
        imgsz=height,
        batch=batch,
        layout=told["layout"],
        classes=told["classes"],
        names=tuple(told["names"]),
        stride=told["stride"],
        precision=told["precision"],
    )

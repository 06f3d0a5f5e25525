"""From a matrix to a plan: everything checked, nothing measured, no run directory yet.

All bad input is found here, so that a run that cannot start leaves nothing behind.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from backends.base import CALIBRATED_PRECISIONS, Detector
from bench.assets import digits_dir
from bench.build import artifact_key, exporter_source_hash
from bench.cells import Cell, Expansion, LeftOut, expand, select
from bench.datasets import Dataset, DataSource, load_dataset, match_names
from bench.errors import BadInputError, NothingToRunError
from bench.images import PreparedImages, prepare_images
from bench.machine import default_threads
from bench.matrix import (
    BUILTIN,
    DataEntry,
    Matrix,
    ModelEntry,
    find_matrix,
    model_name,
    read_matrix,
    with_overrides,
)
from bench.probing import Answers, Found, OptionsQuestion, package_versions, probe_backends
from bench.results import Outcome
from bench.spawn import run_child
from bench.store import ArtifactKey, Store, digest, file_sha256
from bench.yaml_source import YamlSource

_INSPECT_TIMEOUT_S = 300.0

Say = Callable[[str], None]
"""Told what is being done, for progress."""


@dataclasses.dataclass(frozen=True)
class RunRequest:
    """What the command line asks for. Without ``matrix``, ``default`` or, with ``model``, ``yolo11``."""

    matrix: str | None = None
    model: str | None = None
    data: str | None = None
    imgsz: tuple[int, ...] = ()
    backends: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
    select: str = ""


@dataclasses.dataclass(frozen=True)
class ResolvedMatrix:
    """A matrix with absolute paths, where it came from and its cells."""

    matrix: Matrix
    file: str
    selection: str
    expansion: Expansion
    cells: tuple[Cell, ...]


@dataclasses.dataclass(frozen=True)
class PlannedModel:
    """A model, its data and what was found out about them.

    ``detectors`` and ``scored`` are by imgsz; so are ``calibration`` images, where a cell needs any.
    """

    name: str
    path: Path
    sha256: str
    dataset: Dataset
    detectors: Mapping[int, Detector]
    scored: Mapping[int, PreparedImages]
    calibration: Mapping[int, PreparedImages]
    class_map: Mapping[int, int]


@dataclasses.dataclass(frozen=True)
class PlannedCell:
    """A cell and its artifact's key; ``outcome`` is there where it is decided without a launch."""

    cell: Cell
    threads: int
    warnings: tuple[str, ...] = ()
    outcome: Outcome | None = None
    recipe: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    key: ArtifactKey | None = None
    can_export: bool = True
    export_reason: str = ""
    export_remedy: str = ""

    @property
    def id(self) -> str:
        """The cell's id."""
        return self.cell.id


@dataclasses.dataclass(frozen=True)
class Plan:
    """A run that can start."""

    matrix: Matrix
    matrix_file: str
    selection: str
    cells: tuple[PlannedCell, ...]
    models: Mapping[str, PlannedModel]
    left_out: tuple[LeftOut, ...]
    packages: Mapping[str, str]


def resolve_matrix(request: RunRequest) -> ResolvedMatrix:
    """Read, override and expand the matrix that a request names. Raises BadInputError."""
    reference = request.matrix or ("yolo11" if request.model else "default")
    path = find_matrix(reference)
    matrix, source = read_matrix(path)
    overridden = with_overrides(
        matrix,
        model=None if request.model is None else _absolute(request.model, Path.cwd()),
        data=None if request.data is None else _absolute(request.data, Path.cwd()),
        imgsz=request.imgsz,
        backends=request.backends,
        precisions=request.precisions,
    )
    where = source if overridden == matrix else YamlSource(file=str(path), document=None)
    absolute = _with_absolute_paths(overridden, path.resolve().parent)
    return expand_resolved(absolute, where, request.select)


def expand_resolved(matrix: Matrix, where: YamlSource, selection: str) -> ResolvedMatrix:
    """The cells of a matrix whose paths are absolute. Raises BadInputError."""
    for index, entry in enumerate(matrix.models):
        _check_model_file(entry, index, where)
    with tempfile.TemporaryDirectory(prefix="deploymark-") as folder:
        names = [entry.name for entry in matrix.backend_entries()]
        names += [item.backend for item in matrix.include]
        answers = probe_backends(dict.fromkeys(names), log=Path(folder) / "probe.log")
    devices = {name: found.default_device for name, found in answers.backends.items()}
    expansion = expand(matrix, where, default_devices=devices)
    return ResolvedMatrix(matrix, where.file, selection, expansion, select(expansion, selection))


def _absolute(reference: str, folder: Path) -> str:
    return reference if reference.startswith(BUILTIN) else str((folder / reference).resolve())


def _with_absolute_paths(matrix: Matrix, folder: Path) -> Matrix:
    models = []
    for entry in matrix.models:
        data: str | DataEntry
        if isinstance(entry.data, str):
            data = _absolute(entry.data, folder)
        else:
            given = entry.data.model_dump(exclude_none=True)
            data = DataEntry(**{key: _absolute(value, folder) for key, value in given.items()})
        models.append(entry.model_copy(update={"path": _absolute(entry.path, folder), "data": data}))
    return matrix.model_copy(update={"models": tuple(models)})


def _check_model_file(entry: ModelEntry, index: int, where: YamlSource) -> None:
    if entry.path.startswith(BUILTIN):
        _builtin(entry.path, ".pt", where, ("models", index, "path"))
    elif not Path(entry.path).is_file():
        raise where.error(
            ("models", index, "path"),
            f"no such file: {entry.path}",
            remedy="Give a checkpoint: in the matrix, or with --model my.pt --data my.yaml",
        )
    if isinstance(entry.data, str) and entry.data.startswith(BUILTIN):
        _builtin(entry.data, ".yaml", where, ("models", index, "data"))


def _builtin(
    reference: str, suffix: str, where: YamlSource, path: tuple[str | int, ...] = ()
) -> Path:
    """The packaged file that ``builtin:digits`` names."""
    name = reference.removeprefix(BUILTIN)
    if name != "digits":
        raise where.error(path, f"nothing is built in as {reference!r}, did you mean 'builtin:digits'?")
    return digits_dir() / ("digits.pt" if suffix == ".pt" else "data.yaml")


def model_path(entry: ModelEntry) -> Path:
    """The checkpoint of an entry whose paths are absolute."""
    if entry.path.startswith(BUILTIN):
        return _builtin(entry.path, ".pt", YamlSource("the matrix", None))
    return Path(entry.path)


def data_source(entry: ModelEntry) -> DataSource:
    """The data set of an entry whose paths are absolute."""
    name = model_name(entry)
    if isinstance(entry.data, DataEntry):
        given = entry.data
        return DataSource(
            name=name,
            annotations=Path(given.annotations),
            images=None if given.images is None else Path(given.images),
            calibration=None if given.calibration is None else Path(given.calibration),
        )
    if entry.data.startswith(BUILTIN):
        return DataSource(name=name, yaml=_builtin(entry.data, ".yaml", YamlSource("", None)))
    path = Path(entry.data)
    if path.suffix.lower() == ".json":
        return DataSource(name=name, annotations=path)
    return DataSource(name=name, yaml=path)


def probe_matrix(cells: Sequence[Cell], log: Path) -> tuple[Answers, dict[str | None, Answers]]:
    """Ask every backend of the cells here, and again under each interpreter that a cell names."""
    names = list(dict.fromkeys(cell.backend for cell in cells))
    questions = [OptionsQuestion(cell.backend, cell.precision, cell.options) for cell in cells]
    here = probe_backends(names, log=log, options=questions)
    elsewhere: dict[str | None, Answers] = {None: here}
    for python in dict.fromkeys(cell.python for cell in cells):
        if python is not None:
            wanted = {cell.backend for cell in cells if cell.python == python}
            elsewhere[python] = probe_backends(sorted(wanted), log=log, python=python)
    return here, elsewhere


def prepare(resolved_matrix: ResolvedMatrix, store: Store, say: Say) -> Plan:
    """Check everything that a run needs, and find out what each cell comes to.

    Raises BadInputError: for a data set, a checkpoint or an image that cannot be used, for
    calibration images that are scored; NothingToRunError where no cell is left.
    """
    matrix, cells = resolved_matrix.matrix, resolved_matrix.cells
    with tempfile.TemporaryDirectory(prefix="deploymark-") as folder:
        log = Path(folder) / "prepare.log"
        say("asking the backends")
        here, by_python = probe_matrix(cells, log)
        used = {cell.model for cell in cells}
        models = {
            model_name(entry): _planned_model(entry, matrix, cells, store, say, log)
            for entry in matrix.models
            if model_name(entry) in used
        }
    planned: list[PlannedCell] = []
    left_out = list(resolved_matrix.expansion.left_out)
    for cell, options in zip(cells, here.options, strict=True):
        found = by_python[cell.python].backends[cell.backend]
        service = found.probe.service(cell.device, cell.precision)
        emulated = not (service.served and service.native)
        if found.probe.installed and cell.precision in matrix.native_only and emulated:
            left_out.append(LeftOut(cell.id, service.reason))
            continue
        if options.error:
            outcome = Outcome("unsupported", options.error, options.remedy)
            planned.append(PlannedCell(cell, cell.threads or default_threads(), outcome=outcome))
            continue
        exporter = here.backends[cell.backend]
        planned.append(_planned_cell(cell, options.options, found, exporter, models[cell.model]))
    if not planned:
        raise NothingToRunError("every cell is left out", remedy="See why with: deploymark list")
    packages = {name for item in here.backends.values() for name in _packages(item)}
    return Plan(
        matrix=matrix,
        matrix_file=resolved_matrix.file,
        selection=resolved_matrix.selection,
        cells=tuple(planned),
        models=models,
        left_out=tuple(left_out),
        packages=package_versions({*packages, "deploymark", "numpy"}),
    )


def _packages(found: Found) -> tuple[str, ...]:
    return found.export_packages + found.runtime_packages


def _planned_cell(
    cell: Cell, options: Mapping[str, Any], found: Found, exporter: Found, model: PlannedModel
) -> PlannedCell:
    threads = cell.threads or default_threads()
    probe = found.probe
    if not probe.installed:
        return PlannedCell(
            cell, threads, outcome=Outcome("unavailable", probe.reason, probe.remedy)
        )
    service = probe.service(cell.device, cell.precision)
    if not service.served:
        status = "unavailable" if service.exists else "unsupported"
        return PlannedCell(
            cell, threads, outcome=Outcome(status, service.reason, service.remedy)
        )
    calibrated = cell.precision in CALIBRATED_PRECISIONS
    if calibrated and not model.dataset.calibration:
        return PlannedCell(
            cell,
            threads,
            outcome=Outcome(
                "unavailable",
                "the data set has no image to calibrate on",
                "Give a train split, or more validation images than are scored.",
            ),
        )
    recipe = {
        "model": model.sha256,
        "steps": [step.model_dump() for step in cell.steps],
        "backend": cell.backend,
        "precision": cell.precision,
        "device": cell.device,
        "options": dict(options),
        "imgsz": cell.imgsz,
        "batch": cell.batch,
        "calibration": model.dataset.calibration_hash if calibrated else None,
    }
    versions = {
        **package_versions(exporter.export_packages),
        "deploymark-exporter": exporter_source_hash(),
    }
    can_export = exporter.probe.can_export
    return PlannedCell(
        cell,
        threads,
        warnings=() if service.native else (service.reason,),
        recipe=recipe,
        versions=versions,
        key=artifact_key(recipe, versions, can_export=can_export),
        can_export=can_export,
        export_reason=exporter.probe.reason,
        export_remedy=exporter.probe.remedy,
    )


def _planned_model(  # noqa: PLR0913 - each is another source of what a model is
    entry: ModelEntry, matrix: Matrix, cells: Sequence[Cell], store: Store, say: Say, log: Path
) -> PlannedModel:
    name, path = model_name(entry), model_path(entry)
    mine = [cell for cell in cells if cell.model == name]
    sizes = list(dict.fromkeys(cell.imgsz for cell in mine))
    calibrated = {cell.imgsz for cell in mine if cell.precision in CALIBRATED_PRECISIONS}
    say(f"{name}: reading the data set")
    dataset = load_dataset(
        data_source(entry),
        calibration_images=matrix.calibration.images,
        max_images=matrix.scoring.max_images,
        seed=matrix.seed,
    )
    sha256 = file_sha256(path)
    detectors = {imgsz: _inspected(path, sha256, imgsz, store, say, log) for imgsz in sizes}
    class_map = match_names(dataset.names, next(iter(detectors.values())).names)
    scored_paths = [image.path for image in dataset.scored]
    scored, calibration = {}, {}
    for imgsz in sizes:
        say(f"{name}: letterboxing {len(scored_paths)} images to {imgsz} px")
        destination = store.images_path(dataset.scored_hash, imgsz)
        scored[imgsz] = prepare_images(scored_paths, imgsz, destination)
        if imgsz in calibrated and dataset.calibration:
            destination = store.images_path(dataset.calibration_hash, imgsz)
            calibration[imgsz] = prepare_images(dataset.calibration, imgsz, destination)
    return PlannedModel(name, path, sha256, dataset, detectors, scored, calibration, class_map)


def _inspected(  # noqa: PLR0913 - as above
    path: Path, sha256: str, imgsz: int, store: Store, say: Say, log: Path
) -> Detector:
    """What a checkpoint holds, found out in a build child once and kept in the store."""
    key = digest({"model": sha256, "imgsz": imgsz, "source": exporter_source_hash()})
    values = store.read_inspection(key)
    if values is None:
        if importlib.util.find_spec("ultralytics") is None:
            raise BadInputError(
                f"{path}: opening a checkpoint needs Ultralytics, which is not installed",
                remedy="pip install 'deploymark[torch]', or copy the cache of a machine that has it",
            )
        say(f"{path.name}: opening the checkpoint at {imgsz} px")
        job = {"kind": "inspect", "model": str(path), "imgsz": imgsz}
        end = run_child("bench.build_child", job, timeout_s=_INSPECT_TIMEOUT_S, log=log)
        if end.result is None:
            raise BadInputError(
                f"{path}: the checkpoint cannot be opened: {end.outcome.reason}",
                remedy=end.outcome.remedy,
            )
        found: dict[str, Any] = end.result["detector"]
        store.write_inspection(key, found)
        values = found
    return Detector(**{**values, "names": tuple(values["names"])})

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

from backends.base import CALIBRATED_PRECISIONS, Detector, Service
from bench.build import artifact_key, exporter_source_hash
from bench.cells import Cell, LeftOut
from bench.datasets import Dataset, load_dataset, match_names
from bench.errors import BadInputError, NothingToRunError
from bench.given import GivenArtifact
from bench.images import PreparedImages, prepare_images
from bench.machine import default_threads
from bench.matrix import Matrix, ModelEntry, model_name
from bench.probing import Found, package_versions
from bench.request import ResolvedMatrix, data_source, model_path, probe_matrix
from bench.results import Outcome, Status
from bench.spawn import run_child
from bench.store import ArtifactKey, Store, StoredArtifact, digest, file_sha256

_INSPECT_TIMEOUT_S = 300.0

_TOLD_IMAGES = 500

Say = Callable[[str], None]
"""Told what is being done, for progress."""


@dataclasses.dataclass(frozen=True)
class PlannedModel:
    """A model, its data and what was found out about them.

    ``detectors``, ``scored`` and, where a cell needs any, ``calibration`` images are by imgsz.
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
    """A cell and its artifact's key; ``outcome`` is there where it is decided without a launch.

    ``artifact`` is there where it was made elsewhere; nothing is built for such a cell. A cell with
    an outcome and a key is built all the same: its artifact ships to where it can run.
    """

    cell: Cell
    threads: int
    warnings: tuple[str, ...] = ()
    outcome: Outcome | None = None
    artifact: StoredArtifact | None = None
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
        # An artifact that nothing here can read tells neither its size nor its classes.
        used = {cell.model for cell in cells if cell.given is None or cell.given.outcome is None}
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
        decided = _decided(cell, found)
        if cell.given is not None:
            planned.append(_given_cell(cell, cell.given, service, decided, models))
            continue
        exporter = here.backends[cell.backend]
        planned.append(
            _planned_cell(cell, options.options, service, decided, exporter, models[cell.model])
        )
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


def _decided(cell: Cell, found: Found) -> Outcome | None:
    """What comes of a cell that the backend cannot serve here; None where it can."""
    probe = found.probe
    if not probe.installed:
        return Outcome("unavailable", probe.reason, probe.remedy)
    service = probe.service(cell.device, cell.precision)
    if service.served:
        return None
    status: Status = "unavailable" if service.exists else "unsupported"
    return Outcome(status, service.reason, service.remedy)


def _given_cell(
    cell: Cell,
    given: GivenArtifact,
    service: Service,
    decided: Outcome | None,
    models: Mapping[str, PlannedModel],
) -> PlannedCell:
    """A cell whose artifact was made elsewhere.

    A precision that Deploymark does not export for the backend is tried all the same: the file is
    there, and the runtime knows what it can run.
    """
    threads = cell.threads or default_threads()
    if decided is not None and decided.status == "unsupported":
        decided = None
    outcome = given.outcome or decided
    if outcome is not None:
        return PlannedCell(cell, threads, outcome=outcome)
    remark = "" if service.served and service.native else service.reason
    return PlannedCell(
        cell,
        threads,
        warnings=(remark,) if remark else (),
        artifact=given.stored(models[cell.model].detectors[cell.imgsz]),
    )


def _planned_cell(
    cell: Cell,
    options: Mapping[str, Any],
    service: Service,
    decided: Outcome | None,
    exporter: Found,
    model: PlannedModel,
) -> PlannedCell:
    threads = cell.threads or default_threads()
    elsewhere = decided is not None and decided.status == "unavailable"
    if decided is not None and not (elsewhere and exporter.portable and exporter.probe.can_export):
        return PlannedCell(cell, threads, outcome=decided)
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
        "head": cell.head,
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
        outcome=decided,
        recipe=recipe,
        versions=versions,
        key=artifact_key(recipe, versions, can_export=can_export),
        can_export=can_export,
        export_reason=exporter.probe.reason,
        export_remedy=exporter.probe.remedy,
    )


def _planned_model(
    entry: ModelEntry, matrix: Matrix, cells: Sequence[Cell], store: Store, say: Say, log: Path
) -> PlannedModel:
    name, path = model_name(entry), model_path(entry)
    mine = [cell for cell in cells if cell.model == name]
    sizes = list(dict.fromkeys(cell.imgsz for cell in mine))
    exported = [cell for cell in mine if cell.given is None]
    calibrated = {cell.imgsz for cell in exported if cell.precision in CALIBRATED_PRECISIONS}
    say(f"{name}: reading the data set")
    dataset = load_dataset(
        data_source(entry),
        calibration_images=matrix.calibration.images,
        max_images=matrix.scoring.max_images,
        seed=matrix.seed,
    )
    if entry.path is None:
        given = next(cell.given for cell in mine if cell.given and cell.given.outcome is None)
        detector = given.detector(dataset.names)
        _check_multiple(path, sizes, detector.stride)
        sha256 = given.stored(detector).sha256
        detectors = dict.fromkeys(sizes, detector)
    else:
        sha256 = file_sha256(path)
        detectors = {
            imgsz: _inspected(path, sha256, imgsz, entry.head, store, say, log) for imgsz in sizes
        }
    class_map = match_names(dataset.names, next(iter(detectors.values())).names)
    scored_paths = [image.path for image in dataset.scored]
    scored, calibration = {}, {}
    for imgsz in sizes:
        say(f"{name}: letterboxing {len(scored_paths)} images to {imgsz} px")
        destination = store.images_path(dataset.scored_hash, imgsz)
        progress = _sometimes(say, f"{name}: letterboxing to {imgsz} px")
        scored[imgsz] = prepare_images(scored_paths, imgsz, destination, progress)
        if imgsz in calibrated and dataset.calibration:
            destination = store.images_path(dataset.calibration_hash, imgsz)
            calibration[imgsz] = prepare_images(dataset.calibration, imgsz, destination, progress)
    return PlannedModel(name, path, sha256, dataset, detectors, scored, calibration, class_map)


def _sometimes(say: Say, what: str) -> Callable[[int, int], None]:
    """A callback of (done, total) that speaks of every so many images."""

    def progress(done: int, total: int) -> None:
        if done % _TOLD_IMAGES == 0:
            say(f"{what}: {done} of {total}")

    return progress


def _check_multiple(path: Path, sizes: Sequence[int], stride: int) -> None:
    """Raise BadInputError for a size that an artifact of open size cannot take."""
    for imgsz in sizes:
        if imgsz % stride:
            raise BadInputError(
                f"imgsz {imgsz} is no multiple of {stride}, the stride of {path}",
                remedy=f"Use {imgsz // stride * stride or stride}.",
            )


def _inspected(
    path: Path, sha256: str, imgsz: int, head: str, store: Store, say: Say, log: Path
) -> Detector:
    """What a checkpoint holds, found out in a build child once and kept in the store."""
    key = digest({"model": sha256, "imgsz": imgsz, "head": head, "source": exporter_source_hash()})
    values = store.read_inspection(key)
    if values is None:
        if importlib.util.find_spec("ultralytics") is None:
            raise BadInputError(
                f"{path}: opening a checkpoint needs Ultralytics, which is not installed",
                remedy="pip install 'deploymark[torch]', or copy a cache that knows the checkpoint",
            )
        say(f"{path.name}: opening the checkpoint at {imgsz} px")
        job = {"kind": "inspect", "model": str(path), "imgsz": imgsz, "head": head}
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

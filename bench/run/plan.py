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

from deploymark.backends.base import CALIBRATED_PRECISIONS, Detector, Service, UnavailableError
from deploymark.bench.build.artifacts import artifact_key, exporter_source_hash
from deploymark.bench.build.recipes import Recipe, plan_steps, recipe_versions
from deploymark.bench.children.spawn import run_child
from deploymark.bench.data.datasets import Dataset, DataSource, load_dataset, match_names
from deploymark.bench.data.images import PreparedImages, prepare_images
from deploymark.bench.data.training_data import TrainingData
from deploymark.bench.data.training_split import DIGITS_IMAGES, digits_training, load_training
from deploymark.bench.errors import BadInputError, NothingToRunError
from deploymark.bench.machine.fingerprint import default_threads
from deploymark.bench.machine.probing import Found, package_versions
from deploymark.bench.matrix.cells import Cell, LeftOut
from deploymark.bench.matrix.given import GivenArtifact
from deploymark.bench.matrix.request import ResolvedMatrix, data_source, model_path, probe_matrix
from deploymark.bench.matrix.schema import BUILTIN, Matrix, ModelEntry, model_name
from deploymark.bench.matrix.steps import NOT_QAT, needs_data, uses_data, without_rounding
from deploymark.bench.records.run import Outcome, Status
from deploymark.bench.store import ArtifactKey, Store, StoredArtifact, digest, file_sha256

_INSPECT_TIMEOUT_S = 300.0

_TOLD_IMAGES = 500

Say = Callable[[str], None]
"""Told what is being done, for progress."""


@dataclasses.dataclass(frozen=True)
class PlannedModel:
    """A model, its data and what was found out about them.

    ``detectors``, ``scored`` and, where a cell needs any, ``calibration`` images are by imgsz.
    ``training``, in the model's classes, and its hash are there where a recipe uses data;
    ``training_outcome`` tells why there is none.
    """

    name: str
    path: Path
    sha256: str
    dataset: Dataset
    detectors: Mapping[int, Detector]
    scored: Mapping[int, PreparedImages]
    calibration: Mapping[int, PreparedImages]
    class_map: Mapping[int, int]
    training: TrainingData | None = None
    training_hash: str | None = None
    training_outcome: Outcome | None = None


@dataclasses.dataclass(frozen=True)
class PlannedCell:
    """A cell and its artifact's key; ``outcome`` is there where it is decided without a launch.

    ``artifact`` is there where it was made elsewhere; nothing is built for such a cell. A cell with
    an outcome and a key is built all the same: its artifact ships to where it can run.
    ``recipe_of_model`` is what is done to the model before, ``recipe`` what the artifact's key is
    made from.
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
    recipe_of_model: Recipe | None = None

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
    recipes: dict[tuple[str, str], Recipe | None] = {}
    left_out = list(resolved_matrix.expansion.left_out)
    for cell, options in zip(cells, here.options, strict=True):
        found = by_python[cell.python].backends[cell.backend]
        service = found.probe.service(cell.device, cell.precision)
        emulated = not (service.served and service.native)
        if found.probe.installed and cell.precision in matrix.native_only and emulated:
            left_out.append(LeftOut(cell.id, service.reason))
            continue
        if cell.given is None and without_rounding(cell.precision, cell.steps):
            left_out.append(LeftOut(cell.id, NOT_QAT))
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
        model = models[cell.model]
        recipe = recipes.setdefault((cell.model, cell.variant), _recipe(cell, model, matrix.seed))
        planned.append(
            _planned_cell(cell, options.options, service, decided, exporter, model, recipe)
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


def _done_before(recipe: Recipe | None) -> dict[str, Any]:
    """What an artifact's key says of the recipe that its checkpoint comes of."""
    made: dict[str, Any] = {"steps": [], "training": None, "seed": None}
    return made if recipe is None else {key: recipe.steps[-1].recipe[key] for key in made}


def _recipe(cell: Cell, model: PlannedModel, seed: int) -> Recipe | None:
    """What is done to the model of a cell before it is exported; None where nothing is."""
    if not cell.steps:
        return None
    versions = recipe_versions()
    needs = any(needs_data(step) for step in cell.steps)
    return Recipe(
        model=cell.model,
        variant=cell.variant,
        path=model.path,
        head=cell.head,
        seed=seed,
        steps=plan_steps(
            cell.steps,
            model_sha256=model.sha256,
            head=cell.head,
            seed=seed,
            training_hash=model.training_hash,
            versions=versions,
        ),
        versions=versions,
        data=model.training if any(uses_data(step) for step in cell.steps) else None,
        timeout_s=cell.limits.recipe_timeout_s,
        memory_mb=cell.limits.memory_mb,
        can_train=importlib.util.find_spec("ultralytics") is not None,
        outcome=model.training_outcome if needs else None,
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
    recipe_of_model: Recipe | None,
) -> PlannedCell:
    threads = cell.threads or default_threads()
    elsewhere = decided is not None and decided.status == "unavailable"
    if decided is not None and not (elsewhere and exporter.portable and exporter.probe.can_export):
        return PlannedCell(cell, threads, outcome=decided)
    if recipe_of_model is not None and recipe_of_model.outcome is not None:
        return PlannedCell(
            cell, threads, outcome=recipe_of_model.outcome, recipe_of_model=recipe_of_model
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
        "head": cell.head,
        **_done_before(recipe_of_model),
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
        **({} if recipe_of_model is None else recipe_of_model.versions),
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
        recipe_of_model=recipe_of_model,
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
    source = data_source(entry)
    dataset = load_dataset(
        source,
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
    planned = PlannedModel(name, path, sha256, dataset, detectors, scored, calibration, class_map)
    if any(uses_data(step) for cell in mine for step in cell.steps):
        return _with_training(planned, entry, source, matrix.seed, store, say)
    return planned


def _with_training(
    model: PlannedModel, entry: ModelEntry, source: DataSource, seed: int, store: Store, say: Say
) -> PlannedModel:
    """The model with the images that its recipes need, or with the reason why there are none."""
    try:
        if entry.data == f"{BUILTIN}digits":
            say(f"{model.name}: drawing {DIGITS_IMAGES} images to train on, where not done before")
            training = digits_training(store.root / "datasets")
            source = dataclasses.replace(source, training=training)
        say(f"{model.name}: reading the train split")
        progress = _sometimes(say, f"{model.name}: reading the train split")
        data = load_training(source, model.dataset, seed=seed, progress=progress)
    except UnavailableError as error:
        outcome = Outcome("unavailable", error.message, error.remedy)
        return dataclasses.replace(model, training_outcome=outcome)
    data = data.in_classes_of_model(model.class_map)
    return dataclasses.replace(model, training=data, training_hash=data.digest())


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
        end = run_child("deploymark.bench.build.child", job, timeout_s=_INSPECT_TIMEOUT_S, log=log)
        if end.result is None:
            raise BadInputError(
                f"{path}: the checkpoint cannot be opened: {end.outcome.reason}",
                remedy=end.outcome.remedy,
            )
        found: dict[str, Any] = end.result["detector"]
        store.write_inspection(key, found)
        values = found
    return Detector(**{**values, "names": tuple(values["names"])})

"""From a matrix to a plan: everything checked, nothing measured, no run directory yet.

All bad input is found here, so that a run that cannot start leaves nothing behind.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploymark.backends.base import CALIBRATED_PRECISIONS, Service
from deploymark.bench.build.artifacts import artifact_key, exporter_source_hash
from deploymark.bench.build.recipes import Recipe, plan_steps, recipe_versions
from deploymark.bench.children.memory_limit import enforcement
from deploymark.bench.errors import NothingToRunError
from deploymark.bench.machine.fingerprint import default_threads
from deploymark.bench.machine.probing import Found, package_versions
from deploymark.bench.matrix.cells import Cell, LeftOut
from deploymark.bench.matrix.entries import model_name
from deploymark.bench.matrix.given import GivenArtifact
from deploymark.bench.matrix.model_source import PACKAGES
from deploymark.bench.matrix.request import ResolvedMatrix, probe_matrix
from deploymark.bench.matrix.schema import Matrix
from deploymark.bench.matrix.steps import NOT_QAT, needs_data, uses_data, without_rounding
from deploymark.bench.progress import Say
from deploymark.bench.records.outcomes import Outcome, Status
from deploymark.bench.run.planned_model import PlannedModel, plan_model
from deploymark.bench.store import ArtifactKey, Store, StoredArtifact

YOLO_LAYOUTS = frozenset({"anchors", "detections"})
"""What the heads of Ultralytics' YOLO give."""


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

    def axes(self) -> dict[str, Any]:
        """Where the cell stands on each axis, by the names of the columns of ``cells.json``."""
        names = ("variant", "precision", "backend", "device", "batch")
        size = self.cell.imgsz
        sides = {"imgsz": size.word, "height": size.height, "width": size.width}
        found = {name: getattr(self.cell, name) for name in names}
        return {**found, **sides, "threads": self.threads}


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
    options: tuple[str, ...] = ()


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
            model_name(entry): plan_model(entry, matrix, cells, store, say, log)
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
        decided = decided_here(cell, found)
        if decided is None and cell.limit_mb is not None and enforcement().way is None:
            decided = Outcome("unavailable", enforcement().reason)
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
        options=resolved_matrix.options,
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
        outcome=_no_recipes(model) or (model.training_outcome if needs else None),
    )


def _no_recipes(model: PlannedModel) -> Outcome | None:
    """Why recipes are not of a model: None for Ultralytics' YOLO."""
    detector = next(iter(model.detectors.values()))
    if model.source is None or (
        model.source.kind == "ultralytics" and detector.output.layout in YOLO_LAYOUTS
    ):
        return None
    family = detector.family or model.source.told
    return Outcome(
        "unsupported",
        f"recipes prune and train Ultralytics' YOLO, and {model.name} is of another family "
        f"({family})",
        "Take the variant dense for it, or give a checkpoint that was trained or pruned before.",
    )


def _packages(found: Found) -> tuple[str, ...]:
    return found.export_packages + found.runtime_packages


def decided_here(cell: Cell, found: Found) -> Outcome | None:
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
    model = models[cell.model]
    return PlannedCell(
        cell,
        threads,
        warnings=tuple(filter(None, (remark, *given.remarks(model.dataset.names)))),
        artifact=given.stored(model.detectors[cell.imgsz]),
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
                "the data set has no image to calibrate on"
                + (f": {lacks}" if (lacks := model.dataset.calibration_lacks) else ""),
                "Give a train split whose images are not scored (`train:` in data.yaml, or "
                "`calibration:` in a matrix), or 4 and more images.",
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
        "imgsz": cell.imgsz.word,
        "input": dataclasses.asdict(model.detectors[cell.imgsz].spec),
        "batch": cell.batch,
        "calibration": model.dataset.calibration_hash if calibrated else None,
    }
    versions = {
        **package_versions(exporter.export_packages),
        "deploymark-exporter": exporter_source_hash(),
        **({} if model.source is None else package_versions(PACKAGES[model.source.kind])),
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

"""What one side of a gate is: a run directory, a matrix or a model file, brought to artifacts."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from deploymark.backends.base import Detector
from deploymark.bench.data.class_names import match_names
from deploymark.bench.data.datasets import Dataset
from deploymark.bench.errors import BadInputError, together
from deploymark.bench.gate.pairing import Measurable
from deploymark.bench.machine.fingerprint import git_commit
from deploymark.bench.machine.probing import probe_backends
from deploymark.bench.matrix.cells import Cell, select
from deploymark.bench.matrix.energy_settings import EnergyOption
from deploymark.bench.matrix.entries import model_name
from deploymark.bench.matrix.gate_settings import GateSettings
from deploymark.bench.matrix.request import (
    ResolvedMatrix,
    RunRequest,
    expand_resolved,
    resolve_matrix,
    skipping_faults,
)
from deploymark.bench.matrix.schema import Matrix, packaged_matrices, recorded_matrix
from deploymark.bench.matrix.validity import Validity
from deploymark.bench.progress import Progress
from deploymark.bench.records.outcomes import Outcome
from deploymark.bench.records.run import (
    PREDICTIONS_FOLDER,
    RUN_FILE,
    CellResult,
    Run,
    load_run,
    read_run_info,
)
from deploymark.bench.records.verdicts import Side
from deploymark.bench.run.built_cells import build_cells
from deploymark.bench.run.census import tell_census
from deploymark.bench.run.plan import prepare
from deploymark.bench.run.planned_model import dataset_of, prepared
from deploymark.bench.store import Store, StoredArtifact
from deploymark.bench.worker.letterbox import Geometry
from deploymark.bench.yaml_source import YamlSource

_YAML = (".yaml", ".yml")


@dataclasses.dataclass(frozen=True)
class SideRequest:
    """What names a side, and what narrows it, as for ``deploymark run``.

    ``python`` is the interpreter that has the runtime; None for that of the matrix. ``option`` is
    what the reference was given with.
    """

    reference: str
    data: str | None = None
    imgsz: tuple[int | str, ...] = ()
    backends: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
    family: str = ""
    boxes: str = ""
    input_range: tuple[str, ...] = ()
    select: str = ""
    python: str | None = None
    skip_bad: bool = False
    option: str = "--model"


@dataclasses.dataclass(frozen=True)
class ScoredOn:
    """What the boxes of a cell are scored on; ``class_map`` is that of ``average_precision``."""

    dataset: Dataset
    geometries: tuple[Geometry, ...]
    class_map: Mapping[int, int]


@dataclasses.dataclass(frozen=True)
class SideCell:
    """A cell that can be measured. ``predictions`` has its boxes where a run left them."""

    measurable: Measurable
    scored_on: ScoredOn
    predictions: Path | None = None

    @property
    def cell(self) -> Cell:
        """The cell."""
        return self.measurable.cell


@dataclasses.dataclass(frozen=True)
class ResolvedSide:
    """One side, ready to be measured; ``outcomes`` tells of the cells that cannot be."""

    side: Side
    settings: GateSettings
    validity: Validity
    seed: int
    cells: Mapping[str, SideCell]
    outcomes: Mapping[str, Outcome]
    energy: EnergyOption = "off"


def reference_kind(reference: str) -> str:
    """``run``, ``matrix`` or ``model``. Raises BadInputError where it names nothing."""
    path = Path(reference)
    if (path / RUN_FILE).is_file():
        return "run"
    if path.is_file() and path.suffix.lower() in _YAML:
        return "matrix"
    if path.exists():
        return "model"
    if reference in packaged_matrices():
        return "matrix"
    raise BadInputError(
        f"{reference}: no such run directory, matrix or model file",
        remedy="Name a folder below results/, a YAML file, a shipped matrix or an exported file.",
    )


def check_of_use(requests: Sequence[SideRequest]) -> None:
    """Raise BadInputError for options that no side can follow, all of them at once.

    A run has the cells that it measured, a matrix the models that it names.
    """
    kinds = {reference_kind(request.reference) for request in requests}
    faults = []
    for names, wanted, what in (
        (("data", "family", "boxes", "input_range"), {"model"}, "a model file"),
        (("imgsz", "backends", "precisions"), {"model", "matrix"}, "a model file or a matrix"),
    ):
        faults += [
            BadInputError(
                f"--{name.replace('_', '-')} is of {what}, and no side is one",
                remedy="Leave it out; -k chooses cells of a run.",
            )
            for name in names
            if getattr(requests[0], name) and not kinds & wanted
        ]
    if faults:
        raise together(faults)


def resolve_side(
    request: SideRequest, store: Store, folder: Path, progress: Progress
) -> ResolvedSide:
    """Bring a reference to artifacts: those of a run from the store, others built where needed.

    ``folder`` gets the logs of what is built. Raises BadInputError.
    """
    kind = reference_kind(request.reference)
    if kind == "run":
        return _of_run(request, store, progress)
    return _of_matrix(request, kind, store, folder, progress)


def resolve_cells(request: SideRequest) -> ResolvedMatrix:
    """The cells that a reference names, before anything is read or built. Raises BadInputError."""
    kind = reference_kind(request.reference)
    if kind == "run":
        info = read_run_info(Path(request.reference))
        matrix = recorded_matrix(info.matrix, Path(request.reference) / RUN_FILE)
        where = YamlSource(info.matrix_file, None)
        if request.skip_bad:
            matrix = skipping_faults(matrix)
        resolved = expand_resolved(matrix, where, info.selection, to_be_built=False)
        if request.select:
            chosen = select(resolved.expansion, request.select)
            resolved = dataclasses.replace(resolved, cells=chosen, selection=request.select)
    else:
        resolved = _resolved_matrix(request, kind)
    cells = tuple(_under(cell, request.python) for cell in resolved.cells)
    return dataclasses.replace(resolved, cells=cells)


def _resolved_matrix(request: SideRequest, kind: str) -> ResolvedMatrix:
    if kind == "model" and request.data is None:
        raise BadInputError(
            f"{request.reference} is a model file, and no images are named to measure it on",
            remedy="Add --data my.yaml, or a folder of images.",
        )
    return resolve_matrix(
        RunRequest(
            matrix=request.reference if kind == "matrix" else None,
            model=request.reference if kind == "model" else None,
            model_option=request.option,
            data=request.data if kind == "model" else None,
            imgsz=request.imgsz,
            backends=request.backends,
            precisions=request.precisions,
            family=request.family if kind == "model" else "",
            boxes=request.boxes if kind == "model" else "",
            input_range=request.input_range if kind == "model" else (),
            select=request.select,
            skip_bad=request.skip_bad,
        )
    )


def _of_matrix(
    request: SideRequest, kind: str, store: Store, folder: Path, progress: Progress
) -> ResolvedSide:
    resolved = resolve_cells(request)
    plan = prepare(resolved, store, progress.say)
    tell_census(plan, progress)
    built = build_cells(plan, plan.cells, folder, store, progress)
    found: dict[str, SideCell] = {}
    outcomes: dict[str, Outcome] = {}
    for planned in plan.cells:
        made = built.get(planned.id)
        outcome = planned.outcome or (Outcome("ok") if made is None else made.outcome)
        if made is None or made.artifact is None or not outcome.ok:
            outcomes[planned.id] = outcome
            continue
        model, cell = plan.models[planned.cell.model], planned.cell
        scored = model.scored[cell.imgsz]
        found[planned.id] = SideCell(
            Measurable(cell, planned.threads, made.artifact, scored.path),
            ScoredOn(model.dataset, scored.geometries, model.class_map),
        )
    side = Side(request.reference, kind, request.python, _versions(found), git_commit(Path.cwd()))
    matrix = plan.matrix
    return ResolvedSide(
        side, matrix.gate, matrix.validity, matrix.seed, found, outcomes, matrix.energy
    )


def _under(cell: Cell, python: str | None) -> Cell:
    return cell if python is None else dataclasses.replace(cell, python=python)


def _versions(cells: Mapping[str, SideCell]) -> dict[str, str]:
    """Versions of the cells' runtimes, under the interpreter of each."""
    by_python: dict[str | None, set[str]] = {}
    for item in cells.values():
        by_python.setdefault(item.cell.python, set()).add(item.cell.backend)
    versions: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="deploymark-") as folder:
        for python, names in by_python.items():
            answers = probe_backends(sorted(names), log=Path(folder) / "probe.log", python=python)
            versions.update(
                {
                    name: item.probe.version
                    for name, item in answers.backends.items()
                    if item.probe.version
                }
            )
    return versions


def _of_run(request: SideRequest, store: Store, progress: Progress) -> ResolvedSide:
    run = load_run(Path(request.reference))
    resolved = resolve_cells(request)
    matrix = resolved.matrix
    by_id = {cell.id: cell for cell in resolved.cells}
    rows = [row for row in run.cells if row.cell in by_id]
    outcomes = {
        row.cell: Outcome(row.status, row.reason or "", row.remedy or "")
        for row in rows
        if row.artifact_sha256 is None
    }
    wanted = {row.artifact_sha256 for row in rows if row.artifact_sha256 is not None}
    stored = store.find_sha256(wanted)
    data = _RunData(run, matrix, store, progress)
    found: dict[str, SideCell] = {}
    for row in rows:
        if row.artifact_sha256 is None:
            continue
        cell = by_id[row.cell]
        artifact = _artifact_of_run(row, cell, stored, data, request.reference)
        found[row.cell] = data.side_cell(row, cell, artifact, request)
    side = Side(request.reference, "run", request.python, _versions(found), run.info.git_commit)
    return ResolvedSide(
        side, matrix.gate, matrix.validity, run.info.seed, found, outcomes, matrix.energy
    )


class _RunData:
    """The data sets of a run's models, read when asked for."""

    def __init__(self, run: Run, matrix: Matrix, store: Store, progress: Progress) -> None:
        self.run = run
        self._matrix = matrix
        self._store = store
        self._progress = progress
        self._entries = {model_name(entry): entry for entry in matrix.models}
        self._datasets: dict[str, Dataset] = {}

    def dataset(self, model: str) -> Dataset:
        """The data set of a model. Raises BadInputError where it is gone."""
        if model not in self._datasets:
            self._progress.say(f"{model}: reading the data set")
            told = (item for item in self.run.info.datasets if item["model"] == model)
            count = next(told, {}).get("calibration_images") or 0
            self._datasets[model] = dataset_of(self._entries[model], self._matrix, count)
        return self._datasets[model]

    def side_cell(
        self, row: CellResult, cell: Cell, artifact: StoredArtifact, request: SideRequest
    ) -> SideCell:
        """A cell of the run with its images, and its boxes where they are of the same images."""
        dataset = self.dataset(cell.model)
        spec = Detector.read(artifact.detector).spec.at(cell.imgsz)
        paths = [image.path for image in dataset.scored]
        images = prepared(paths, dataset.scored_hash, spec, self._store)
        same = any(
            item["model"] == cell.model and item["scored_hash"] == dataset.scored_hash
            for item in self.run.info.datasets
        )
        boxes = self.run.folder / PREDICTIONS_FOLDER / f"{cell.id}.npz"
        # Where their mAP is in doubt they are made again, to be told of here as well.
        good = row.status == "ok" and row.accuracy_doubt is None
        kept = same and request.python is None and good and boxes.is_file()
        names: Sequence[str] = artifact.detector["names"]
        return SideCell(
            Measurable(cell, row.threads, artifact, images.path),
            ScoredOn(dataset, images.geometries, match_names(dataset.names, names)),
            predictions=boxes if kept else None,
        )


def _artifact_of_run(
    row: CellResult,
    cell: Cell,
    stored: Mapping[str, StoredArtifact],
    data: _RunData,
    reference: str,
) -> StoredArtifact:
    """The very bytes that a run measured. Raises BadInputError where they are gone."""
    sha256 = str(row.artifact_sha256)
    if sha256 in stored:
        return stored[sha256]
    if cell.given is not None and cell.given.outcome is None:
        artifact = cell.given.stored(cell.given.detector(data.dataset(cell.model).names))
        if artifact.sha256 == sha256:
            return artifact
        raise BadInputError(
            f"{cell.given.path} has changed since {reference} measured it",
            remedy="Keep each version of an exported file under a name of its own.",
        )
    raise BadInputError(
        f"{reference}: the artifact of {row.cell} is not in the store (sha256 {sha256[:12]})",
        remedy="Run its matrix again here, or set DEPLOYMARK_CACHE to the store that has it.",
    )

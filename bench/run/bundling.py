"""Making a bundle: a matrix is planned and built here, and all that measuring takes is packed."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import deploymark
from deploymark.bench.build.artifacts import Built
from deploymark.bench.bundle.container import ENDING, file_entry, is_safe, write_container
from deploymark.bench.bundle.manifest import (
    BUNDLE_VERSION,
    ArtifactEntry,
    CellEntry,
    ImagesEntry,
    Manifest,
    ModelEntry,
)
from deploymark.bench.data.label_record import dump_labels
from deploymark.bench.errors import BadInputError, NothingToRunError
from deploymark.bench.matrix.request import RunRequest, resolve_matrix
from deploymark.bench.progress import Progress
from deploymark.bench.records.files import read_beside
from deploymark.bench.records.outcomes import Outcome
from deploymark.bench.records.run import LOGS_FOLDER, VARIANTS_FILE
from deploymark.bench.run.built_cells import build_cells
from deploymark.bench.run.census import tell_census
from deploymark.bench.run.plan import Plan, PlannedCell, prepare
from deploymark.bench.run.planned_model import PlannedModel
from deploymark.bench.run.rounds import E2E_IMAGES
from deploymark.bench.store import Store, StoredArtifact

Sources = dict[str, Path | bytes]
"""What each file of a bundle holds, by its path in it."""


@dataclasses.dataclass(frozen=True)
class Packed:
    """A bundle that was written: cells that have an artifact in it, and why others have none."""

    path: Path
    manifest: Manifest
    without: Mapping[str, str]


def pack(request: RunRequest, output: Path) -> Packed:
    """Plan and build what a request names, and write the bundle ``output``.

    Raises BadInputError: where it cannot be written, too; NothingToRunError where no artifact could
    be built.
    """
    if output.suffix != ENDING:
        raise BadInputError(
            f"{output}: the name of a bundle ends in {ENDING}", remedy=f"-o {output.name}{ENDING}"
        )
    if not output.absolute().parent.is_dir():
        raise BadInputError(f"{output}: its folder is not there", remedy="Make the folder first.")
    resolved = resolve_matrix(request)
    store = Store()
    with Progress() as progress, tempfile.TemporaryDirectory(prefix="deploymark-") as folder:
        plan = prepare(resolved, store, progress.say)
        tell_census(plan, progress)
        (Path(folder) / LOGS_FOLDER).mkdir()
        built = build_cells(plan, plan.cells, Path(folder), store, progress)
        variants = read_beside(Path(folder) / VARIANTS_FILE, list)
        manifest, sources = _content(plan, built, variants)
        if not any(cell.artifact for cell in manifest.cells):
            raise NothingToRunError(
                "no cell has an artifact, so there is nothing to measure elsewhere: "
                + "; ".join(dict.fromkeys(_why_none(cell) for cell in manifest.cells)),
            )
        progress.say(f"writing {len(sources)} files, {manifest.total_bytes / 1e6:.1f} MB")
        try:
            write_container(output, manifest, sources)
        except OSError as error:
            raise BadInputError(
                f"{output}: cannot be written: {error.strerror or error}",
                remedy="Name another file with -o.",
            ) from error
    without = {cell.cell.id: _why_none(cell) for cell in manifest.cells if cell.artifact is None}
    return Packed(output, manifest, without)


def _why_none(cell: CellEntry) -> str:
    return "" if cell.outcome is None else f"{cell.outcome.status}: {cell.outcome.reason}"


def _content(
    plan: Plan, built: Mapping[str, Built], variants: list[Any]
) -> tuple[Manifest, Sources]:
    sources: Sources = {}
    models = [_model(model, index, sources) for index, model in enumerate(plan.models.values())]
    places: dict[str, ArtifactEntry] = {}
    cells = [_cell(cell, built.get(cell.id), places, sources) for cell in plan.cells]
    manifest = Manifest(
        bundle_version=BUNDLE_VERSION,
        deploymark_version=deploymark.__version__,
        matrix=plan.matrix.model_dump(mode="json"),
        matrix_file=plan.matrix_file,
        selection=plan.selection,
        packages=dict(sorted(plan.packages.items())),
        left_out=[dataclasses.asdict(item) for item in plan.left_out],
        variants=variants,
        cells=cells,
        models=models,
        files=[file_entry(name, sources[name]) for name in sorted(sources)],
    )
    return manifest, sources


def _cell(
    planned: PlannedCell,
    built: Built | None,
    places: dict[str, ArtifactEntry],
    sources: Sources,
) -> CellEntry:
    """A cell, its artifact among the ``sources``: once, where several cells have the same."""
    if built is None or built.artifact is None:
        outcome = planned.outcome or (built.outcome if built else Outcome("unavailable"))
        return CellEntry(cell=planned.cell, outcome=outcome, warnings=planned.warnings)
    stored = built.artifact
    # Cells made elsewhere may read the same file by other contracts.
    key = f"{stored.folder}\0{stored.entry}\0{json.dumps(stored.detector, sort_keys=True)}"
    if key not in places:
        places[key] = _artifact(planned, stored, f"artifacts/{len(places):04}", sources)
    return CellEntry(cell=planned.cell, artifact=places[key], warnings=planned.warnings)


def _artifact(
    planned: PlannedCell, stored: StoredArtifact, folder: str, sources: Sources
) -> ArtifactEntry:
    given = planned.cell.given
    files = (
        [stored.folder / name for name in given.files]
        if given is not None
        else sorted(path for path in stored.folder.rglob("*") if path.is_file())
    )
    for path in files:
        name = path.relative_to(stored.folder).as_posix()
        if not is_safe(name):
            raise BadInputError(
                f"{path}: has a name that not every system takes",
                remedy="Rename the file, and what refers to it.",
            )
        sources[f"{folder}/{name}"] = path
    return ArtifactEntry(
        folder=folder,
        entry=stored.entry,
        sha256=stored.sha256,
        bytes=stored.bytes,
        gzip_bytes=stored.gzip_bytes,
        zstd_bytes=stored.zstd_bytes,
        detector=_plain(stored.detector),
        recipe=_plain(stored.recipe),
        versions=stored.versions,
        notes=stored.notes,
    )


def _model(model: PlannedModel, index: int, sources: Sources) -> ModelEntry:
    folder = f"models/{index:02}"
    labels = f"{folder}/labels.json"
    sources[labels] = (dump_labels(model.dataset) + "\n").encode()
    scored = {}
    for size, images in model.scored.items():
        path = f"{folder}/images-{size}.npy"
        sources[path] = images.path
        geometries = [dataclasses.astuple(place) for place in images.geometries]
        scored[str(size)] = ImagesEntry(path=path, geometries=geometries)
    pictures = []
    for number, image in enumerate(model.dataset.scored[:E2E_IMAGES]):
        name = f"{folder}/pictures/{number:02}{image.path.suffix.lower()}"
        sources[name] = image.path
        pictures.append(name)
    return ModelEntry(
        name=model.name,
        path=str(model.path),
        sha256=model.sha256,
        licence=model.licence,
        detectors={
            str(size): _plain(dataclasses.asdict(item)) for size, item in model.detectors.items()
        },
        scored=scored,
        labels=labels,
        pictures=pictures,
        class_map=dict(model.class_map),
        only_in_data=[dict(item) for item in model.match.only_in_data],
        only_in_model=list(model.match.only_in_model),
    )


def _plain(values: Mapping[str, Any]) -> Any:
    """What a mapping is once it has been through JSON: tuples are lists."""
    return json.loads(json.dumps(values))

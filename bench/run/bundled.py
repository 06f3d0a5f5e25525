"""A bundle on this machine: unpacked into the store once, and the plan that it holds."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from deploymark.backends.base import Detector, Size
from deploymark.bench.bundle.container import Container
from deploymark.bench.bundle.manifest import (
    MANIFEST,
    ArtifactEntry,
    CellEntry,
    Manifest,
    ModelEntry,
    read_manifest,
)
from deploymark.bench.children.memory_limit import Enforcement, enforcement
from deploymark.bench.data.class_names import ClassMatch
from deploymark.bench.data.images import PreparedImages
from deploymark.bench.data.label_record import read_labels
from deploymark.bench.errors import BadInputError, NothingToRunError
from deploymark.bench.machine.fingerprint import default_threads
from deploymark.bench.machine.probing import Found, package_versions
from deploymark.bench.matrix.cells import Cell, LeftOut
from deploymark.bench.matrix.request import probe_matrix
from deploymark.bench.matrix.schema import Matrix
from deploymark.bench.matrix.selection import matches
from deploymark.bench.progress import Progress
from deploymark.bench.records.files import sha256_of
from deploymark.bench.records.outcomes import Outcome
from deploymark.bench.records.run import LABELS_STEM, RunInfo
from deploymark.bench.run.plan import Plan, PlannedCell, decided_here
from deploymark.bench.run.planned_model import PlannedModel
from deploymark.bench.store import Store, StoredArtifact
from deploymark.bench.worker.letterbox import Geometry


@dataclasses.dataclass(frozen=True)
class Unpacked:
    """A bundle's files in ``folder``, and what they are. ``sha256`` is that of its manifest."""

    folder: Path
    manifest: Manifest
    sha256: str


def unpack(bundle: Path, store: Store, progress: Progress) -> Unpacked:
    """The bundle in the store: unpacked now, or found there as it was unpacked before.

    Files are checked by their hashes when they are unpacked, and when they are found. Raises
    BadInputError; nothing is left where it cannot be unpacked.
    """
    with Container(bundle) as container:
        sha256 = hashlib.sha256(container.manifest.dump()).hexdigest()
        folder = store.bundle_path(sha256)
        with store.lock(f"bundle-{sha256}"):
            if (found := find(sha256, store)) is not None:
                return found
            files = container.manifest.files
            progress.phase(f"unpacking {bundle.name}", len(files))
            with store.workspace() as workspace:
                for entry in container.unpack(workspace):
                    progress.done(entry.path)
                (workspace / MANIFEST).write_bytes(container.manifest.dump())
                folder.parent.mkdir(exist_ok=True)
                shutil.rmtree(folder, ignore_errors=True)  # what lay there failed its check
                workspace.rename(folder)
        return Unpacked(folder, container.manifest, sha256)


def find(sha256: str, store: Store) -> Unpacked | None:
    """A bundle that was unpacked before; None where it is not there, or is not what it was."""
    folder = store.bundle_path(sha256)
    try:
        text = (folder / MANIFEST).read_bytes()
        if hashlib.sha256(text).hexdigest() != sha256:
            return None
        manifest = read_manifest(text, folder)
        for entry in manifest.files:
            if sha256_of(folder.joinpath(*entry.path.split("/"))) != entry.sha256:
                return None
    except (OSError, BadInputError):
        return None
    return Unpacked(folder, manifest, sha256)


@dataclasses.dataclass(frozen=True)
class Site:
    """What a machine says of itself, for a plan.

    ``backends`` are what it found of them under each interpreter, ``threads`` those of ``auto``,
    ``memory`` how it enforces limits, ``packages`` the versions of its runtimes.
    """

    backends: Mapping[str | None, Mapping[str, Found]]
    threads: int
    memory: Enforcement
    packages: Mapping[str, str]


def look_here(cells: Sequence[Cell]) -> Site:
    """What this machine says."""
    with tempfile.TemporaryDirectory(prefix="deploymark-") as folder:
        here, by_python = probe_matrix(tuple(cells), Path(folder) / "prepare.log")
    packages = {name for found in here.backends.values() for name in found.runtime_packages}
    return Site(
        backends={python: answers.backends for python, answers in by_python.items()},
        threads=default_threads(),
        memory=enforcement(),
        packages=package_versions({*packages, "deploymark", "numpy"}),
    )


def plan_of(
    bundle: Unpacked,
    *,
    select: str = "",
    python: str | None = None,
    look: Callable[[Sequence[Cell]], Site] = look_here,
) -> Plan:
    """What the bundle's cells come to on a machine: nothing is built, and nothing exported.

    ``select`` chooses cells by words of their ids; ``python`` is the interpreter of all workers, in
    place of those that the matrix names; ``look`` asks the machine, this one by default. Raises
    BadInputError.
    """
    manifest = bundle.manifest
    try:
        matrix = Matrix.model_validate(manifest.matrix)
    except ValidationError as error:
        raise BadInputError(f"{bundle.folder}: its matrix cannot be read: {error}") from error
    entries = [
        item.model_copy(update={"cell": dataclasses.replace(item.cell, python=python)})
        if python
        else item
        for item in manifest.cells
        if matches(select, item.cell.id)
    ]
    if not entries:
        raise NothingToRunError(
            f"-k {select!r} selects none of the {len(manifest.cells)} cells of the bundle",
            remedy="See them with: deploymark bundle show FILE",
        )
    site = look([item.cell for item in entries])
    models = {model.name: _model(bundle, model) for model in manifest.models}
    planned = []
    for item in entries:
        found = site.backends[item.cell.python][item.cell.backend]
        planned.append(_cell(bundle, item, decided_here(item.cell, found), site))
    return Plan(
        matrix=matrix,
        matrix_file=manifest.matrix_file,
        selection=select or manifest.selection,
        cells=tuple(planned),
        models=models,
        left_out=tuple(LeftOut(**item) for item in manifest.left_out),
        packages=site.packages,
    )


def _cell(bundle: Unpacked, item: CellEntry, decided: Outcome | None, site: Site) -> PlannedCell:
    cell = item.cell
    threads = cell.threads or site.threads
    if decided is None and cell.limit_mb is not None and site.memory.way is None:
        decided = Outcome("unavailable", site.memory.reason)
    if item.artifact is None:
        missing = Outcome("unavailable", "the bundle has no artifact of it")
        return PlannedCell(cell, threads, outcome=item.outcome or missing)
    if decided is not None:
        return PlannedCell(cell, threads, outcome=decided)
    artifact = _artifact(bundle, item.artifact)
    return PlannedCell(cell, threads, warnings=item.warnings, artifact=artifact)


def _artifact(bundle: Unpacked, entry: ArtifactEntry) -> StoredArtifact:
    _check_named(bundle, f"{entry.folder}/{entry.entry}", or_folder=True)
    values = entry.model_dump()
    return StoredArtifact(
        **{**values, "folder": bundle.folder.joinpath(*entry.folder.split("/")), "build_s": 0.0}
    )


def _check_named(bundle: Unpacked, name: str, *, or_folder: bool = False) -> Path:
    """The path of a file of the bundle. Raises BadInputError where the bundle has none."""
    files = {entry.path for entry in bundle.manifest.files}
    name = name.rstrip("/").removesuffix("/.")
    inside = or_folder and any(path.startswith(f"{name}/") for path in files)
    if name not in files and not inside:
        raise BadInputError(f"{bundle.folder}: the bundle names {name!r}, and does not have it")
    return bundle.folder.joinpath(*name.split("/"))


def _model(bundle: Unpacked, entry: ModelEntry) -> PlannedModel:
    dataset = read_labels(_check_named(bundle, entry.labels))
    pictures = [_check_named(bundle, name) for name in entry.pictures]
    scored = tuple(
        dataclasses.replace(image, path=pictures[index]) if index < len(pictures) else image
        for index, image in enumerate(dataset.scored)
    )
    try:
        detectors = {
            Size.of(word): Detector.read(values) for word, values in entry.detectors.items()
        }
        images = {
            Size.of(word): PreparedImages(
                _check_named(bundle, item.path),
                tuple(Geometry(*place) for place in item.geometries),
            )
            for word, item in entry.scored.items()
        }
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise BadInputError(
            f"{bundle.folder}: model {entry.name!r} cannot be read: {error}"
        ) from error
    for item in images.values():
        if len(item.geometries) != len(scored):
            raise BadInputError(
                f"{bundle.folder}: model {entry.name!r} has other images than labels"
            )
    return PlannedModel(
        name=entry.name,
        path=Path(entry.path),
        sha256=entry.sha256,
        dataset=dataclasses.replace(dataset, scored=scored),
        detectors=detectors,
        scored=images,
        calibration={},
        class_map=dict(entry.class_map),
        match=ClassMatch(tuple(entry.only_in_data), tuple(entry.only_in_model)),
        licence=entry.licence,
    )


def hand_over(bundle: Unpacked, info: RunInfo, folder: Path) -> None:
    """Give a run's folder the labels of its models: whoever reads it has no data set to ask."""
    for index, entry in enumerate(bundle.manifest.models):
        name = f"{LABELS_STEM}-{index:02}.json"
        shutil.copyfile(_check_named(bundle, entry.labels), folder / name)
        facts = next(item for item in info.datasets if item["model"] == entry.name)
        facts["labels"] = name
        facts["class_map"] = {str(key): value for key, value in entry.class_map.items()}


def again(told: Mapping[str, Any], store: Store, progress: Progress) -> Unpacked:
    """The bundle of a run that goes on: from the store, or from its file. Raises BadInputError."""
    sha256, file = str(told.get("sha256")), Path(str(told.get("file")))
    if re.fullmatch("[0-9a-f]{64}", sha256) and (found := find(sha256, store)) is not None:
        return found
    found = unpack(file, store, progress)
    if found.sha256 != sha256:
        raise BadInputError(f"{file} is another bundle than the run began with")
    return found

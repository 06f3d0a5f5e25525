"""A model of a plan: its data set read and letterboxed, its checkpoint looked into."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from deploymark.backends.base import (
    CALIBRATED_PRECISIONS,
    Detector,
    InputSpec,
    Size,
    UnavailableError,
)
from deploymark.bench.data.class_names import ClassMatch, compare_classes, match_names
from deploymark.bench.data.datasets import Dataset, load_dataset
from deploymark.bench.data.images import PreparedImages, prepare_images
from deploymark.bench.data.training_data import TrainingData
from deploymark.bench.data.training_split import DIGITS_IMAGES, digits_training, load_training
from deploymark.bench.errors import BadInputError
from deploymark.bench.matrix.cells import Cell
from deploymark.bench.matrix.entries import BUILTIN, ModelEntry, model_name
from deploymark.bench.matrix.model_source import ModelSource
from deploymark.bench.matrix.request import data_source, model_path, model_source
from deploymark.bench.matrix.schema import Matrix
from deploymark.bench.matrix.steps import uses_data
from deploymark.bench.progress import Say
from deploymark.bench.records.outcomes import Outcome
from deploymark.bench.run.inspection import inspected
from deploymark.bench.store import Store

_TOLD_IMAGES = 500


@dataclasses.dataclass(frozen=True)
class PlannedModel:
    """A model, its data and what was found out about them.

    ``detectors``, ``scored`` and, where a cell needs any, ``calibration`` images are by imgsz.
    ``training``, in the model's classes, and its hash are there where a recipe uses data;
    ``training_outcome`` tells why there is none. ``match``: the classes that one side alone has.
    ``source`` is where it is loaded from, None of a file made elsewhere.
    """

    name: str
    path: Path
    sha256: str
    dataset: Dataset
    detectors: Mapping[Size, Detector]
    scored: Mapping[Size, PreparedImages]
    calibration: Mapping[Size, PreparedImages]
    class_map: Mapping[int, int]
    match: ClassMatch = dataclasses.field(default_factory=ClassMatch)
    training: TrainingData | None = None
    training_hash: str | None = None
    training_outcome: Outcome | None = None
    source: ModelSource | None = None
    licence: str = ""


def calibrated_sizes(cells: Sequence[Cell]) -> set[Size]:
    """The sizes at which artifacts are calibrated on images: none for files made elsewhere."""
    return {
        cell.imgsz
        for cell in cells
        if cell.given is None and cell.precision in CALIBRATED_PRECISIONS
    }


def dataset_of(entry: ModelEntry, matrix: Matrix, calibration_images: int) -> Dataset:
    """The data set of a model, as the matrix wants it. Raises BadInputError."""
    return load_dataset(
        data_source(entry),
        calibration_images=calibration_images,
        max_images=matrix.scoring.max_images,
        seed=matrix.seed,
        on_fault=matrix.on_fault,
    )


def plan_model(
    entry: ModelEntry, matrix: Matrix, cells: Sequence[Cell], store: Store, say: Say, log: Path
) -> PlannedModel:
    """A model of the matrix, ready for its ``cells``; ``log`` is that of the build child.

    Raises BadInputError for a data set, a checkpoint or an image that cannot be used.
    """
    name, path = model_name(entry), model_path(entry)
    mine = [cell for cell in cells if cell.model == name]
    sizes = list(dict.fromkeys(cell.imgsz for cell in mine))
    calibrated = calibrated_sizes(mine)
    say(f"{name}: reading the data set")
    # The images to calibrate on are chosen, and a train split is needed, where a cell asks for any.
    dataset = dataset_of(entry, matrix, matrix.calibration.images if calibrated else 0)
    source = None
    if entry.artifact is not None:
        given = next(cell.given for cell in mine if cell.given and cell.given.outcome is None)
        detector = given.detector(dataset.names)
        check_multiple(path, sizes, detector.stride)
        sha256 = given.stored(detector).sha256
        detectors = {
            size: dataclasses.replace(detector, spec=detector.spec.at(size)) for size in sizes
        }
    else:
        source = model_source(entry)
        sha256 = source.sha256()
        detectors = {size: inspected(source, sha256, size, store, say, log) for size in sizes}
    names = next(iter(detectors.values())).names
    class_map = match_names(dataset.names, names)
    boxes = dataset.boxes_by_class()
    match = compare_classes(dataset.name, boxes, dataset.names, names, class_map)
    scored_paths = [image.path for image in dataset.scored]
    scored, calibration = {}, {}
    for size in sizes:
        spec = detectors[size].spec
        doing = "stretching" if spec.resize == "stretch" else "letterboxing"
        say(f"{name}: {doing} {len(scored_paths)} images to {size} px")
        progress = _sometimes(say, f"{name}: {doing} to {size} px")
        scored[size] = prepared(scored_paths, dataset.scored_hash, spec, store, progress)
        if size in calibrated and dataset.calibration:
            calibration[size] = prepared(
                dataset.calibration, dataset.calibration_hash, spec, store, progress
            )
    planned = PlannedModel(
        name, path, sha256, dataset, detectors, scored, calibration, class_map, match
    )
    licence = entry.licence or next(iter(detectors.values())).licence
    planned = dataclasses.replace(planned, source=source, licence=licence)
    if any(uses_data(step) for cell in mine for step in cell.steps):
        return _with_training(planned, entry, matrix, store, say)
    return planned


def prepared(
    paths: Sequence[Path],
    content_hash: str,
    spec: InputSpec,
    store: Store,
    progress: Callable[[int, int], None] | None = None,
) -> PreparedImages:
    """Images as ``spec`` places them, from the store or made now. Raises as ``prepare_images``."""
    destination = store.images_path(content_hash, spec)
    return prepare_images(
        paths, spec, destination, progress, elsewhere=store.images_elsewhere(destination)
    )


def _with_training(
    model: PlannedModel, entry: ModelEntry, matrix: Matrix, store: Store, say: Say
) -> PlannedModel:
    """The model with the images that its recipes need, or with the reason why there are none."""
    source = data_source(entry)
    try:
        if entry.data == f"{BUILTIN}digits":
            say(f"{model.name}: drawing {DIGITS_IMAGES} images to train on, where not done before")
            training = digits_training(store.datasets)
            source = dataclasses.replace(source, training=training)
        say(f"{model.name}: reading the train split")
        progress = _sometimes(say, f"{model.name}: reading the train split")
        data = load_training(
            source, model.dataset, seed=matrix.seed, progress=progress, on_fault=matrix.on_fault
        )
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


def check_multiple(path: Path, sizes: Sequence[Size], stride: int) -> None:
    """Raise BadInputError for a size that an artifact of open size cannot take."""
    for size in sizes:
        if any(side % stride for side in size):
            below = Size(*(side // stride * stride or stride for side in size))
            raise BadInputError(
                f"imgsz {size} is no multiple of {stride}, the stride of {path}",
                remedy=f"Use {below}.",
            )

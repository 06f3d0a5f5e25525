"""The images that recipes train on and judge themselves by: the train split, and a part held out.

Read only where a recipe needs them. None of them is scored.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from deploymark.backends.base import UnavailableError
from deploymark.bench.children.spawn import source_hash
from deploymark.bench.data.class_names import match_names
from deploymark.bench.data.coco_boxes import BoxChecks
from deploymark.bench.data.coco_json import read_coco
from deploymark.bench.data.data_yaml import read_data_yaml, row_format, train_split
from deploymark.bench.data.datasets import Dataset, DataSource
from deploymark.bench.data.fault_kinds import IMAGE_UNDECODABLE
from deploymark.bench.data.faults import Faults, OnFault
from deploymark.bench.data.image_lists import list_images
from deploymark.bench.data.images import image_size
from deploymark.bench.data.label_rows import LabelReader, RowFormat
from deploymark.bench.data.labels import ImageLabels, read_rows
from deploymark.bench.data.pictures import file_digest
from deploymark.bench.data.training_data import TrainingData
from deploymark.bench.errors import BadInputError

SELECTION_IMAGES = 128
"""Images held out of the train split, at most: as many as tell a loss of mAP50-95 of about 0.01."""

SELECTION_SHARE = 5
"""One in so many images of the train split, at most, is held out."""

DIGITS_IMAGES = 1500
"""Images drawn for the embedded detector: those that it was trained on begin with them."""

_DRAWN_BY = ("bench/assets/make_digits.py", "bench/assets/compose_digits.py")
"""Our own source that draws them: an edit of it draws them anew."""

_TOLD_IMAGES = 1000

Progress = Callable[[int, int], None]


def load_training(
    source: DataSource,
    dataset: Dataset,
    *,
    seed: int,
    progress: Progress | None = None,
    on_fault: OnFault = "refuse",
) -> TrainingData:
    """The train split of a data set, labelled, in the data set's classes.

    ``source.training`` goes before the train split of ``source.yaml``. Raises UnavailableError
    where there is none, BadInputError for an image that is scored as well, and, unless ``on_fault``
    is ``skip``, for all faults of single rows and images together.
    """
    faults = Faults()
    images = _labelled(source, dataset, faults, progress)
    faults.check(f"{dataset.name} (to train on)", on_fault)
    _check_not_scored(dataset, [image.path for image in images])
    count = min(SELECTION_IMAGES, len(images) // SELECTION_SHARE)
    ordered = sorted(images, key=lambda image: image.path)
    chosen = set(random.Random(seed).sample(range(len(ordered)), count))  # noqa: S311 - no secret
    return TrainingData(
        training=tuple(image for index, image in enumerate(ordered) if index not in chosen),
        selection=tuple(ordered[index] for index in sorted(chosen)),
    )


def _labelled(
    source: DataSource, dataset: Dataset, faults: Faults, progress: Progress | None
) -> tuple[ImageLabels, ...]:
    place, yaml = source.training, source.yaml
    if place is not None and place.suffix.lower() == ".json":
        return _of_coco(place, source.images, dataset, faults)
    if place is not None and place.suffix.lower() in {".yaml", ".yml"}:
        yaml = place
        paths: Sequence[Path] | None = train_split(place)
    elif place is not None:
        paths = list_images(place.absolute())
    else:
        paths = None if source.yaml is None else read_data_yaml(source.yaml, source.names).train
    if not paths:
        raise UnavailableError(
            f"the data set {source.name} has no train split for the recipe",
            remedy="Add `train:` to its data.yaml, or `training:` to the matrix's `data:`.",
        )
    classes = len(dataset.names)
    rows = RowFormat(classes) if yaml is None else row_format(yaml, classes)
    reader = LabelReader(rows, faults, Counter())
    labels = []
    for index, path in enumerate(paths):
        found, size = read_rows(path, reader), _size(path, faults)
        if found is not None and size is not None:
            labels.append(found.on(*size))
        if progress and (index + 1) % _TOLD_IMAGES == 0:
            progress(index + 1, len(paths))
    reader.check_guesses()
    return tuple(labels)


def _size(path: Path, faults: Faults) -> tuple[int, int] | None:
    """The size of an image by its header: a train split is too large to be decoded beforehand."""
    try:
        return image_size(path)
    except BadInputError as error:
        faults.add(IMAGE_UNDECODABLE, path, error.message.removeprefix(f"{path}: "))
        return None


def _of_coco(
    path: Path, folder: Path | None, dataset: Dataset, faults: Faults
) -> tuple[ImageLabels, ...]:
    counts = Counter[str]()
    read = read_coco(path, folder, faults, counts)
    checks = BoxChecks(faults, counts)
    images = [
        checks.labels(image, *size)
        for image in read.images
        if (size := _size(image.file, faults)) is not None
    ]
    checks.check_guesses()
    labels = [image for image in images if image is not None]
    return _renamed(labels, match_names(read.names, dataset.names))


def _renamed(
    labels: Sequence[ImageLabels], class_map: Mapping[int, int]
) -> tuple[ImageLabels, ...]:
    """Labels whose classes are those of other names; ``class_map``: the class for each of ours."""
    data = TrainingData(tuple(labels), ()).in_classes_of_model(class_map)
    return data.training


def _check_not_scored(dataset: Dataset, training: Sequence[Path]) -> None:
    """Raise BadInputError where an image is both trained on and scored, by its path or content.

    Content is compared where sizes agree: a train split has many gigabytes at times.
    """
    by_file = {image.path.resolve(): image.path for image in dataset.scored}
    by_size: dict[int, list[Path]] = {}
    for image in dataset.scored:
        by_size.setdefault(image.path.stat().st_size, []).append(image.path)
    for path in training:
        twin = by_file.get(path.resolve())
        alike = by_size.get(path.stat().st_size, []) if twin is None else []
        digest = file_digest(path) if alike else b""
        twin = twin or next((other for other in alike if file_digest(other) == digest), None)
        if twin is not None:
            raise BadInputError(
                f"data set {dataset.name}: an image to train on is also scored: {path}"
                + ("" if path == twin else f" (the same picture as {twin})"),
                remedy="Take it out of the train split: figures on it would flatter the recipe.",
            )


def digits_training(folder: Path) -> Path:
    """The train split of the embedded detector, drawn below ``folder`` once.

    Raises UnavailableError where scikit-learn, whose digits it is drawn from, is not installed.
    """
    target = folder / f"digits-{DIGITS_IMAGES}-{source_hash(_DRAWN_BY)}"
    if target.is_dir():
        return target / "images" / "train"
    if find_spec("sklearn") is None:
        raise UnavailableError(
            "the training images of the embedded detector are drawn with scikit-learn, which is "
            "not installed",
            remedy="pip install 'deploymark[variants]'",
        )
    partial = Path(tempfile.mkdtemp(dir=folder, prefix=".drawing-"))
    try:
        command = [
            sys.executable,
            "-P",
            "-m",
            "deploymark.bench.assets.make_digits",
            "--out",
            str(partial),
        ]
        counts = ["--train", str(DIGITS_IMAGES), "--calib", "0", "--val", "0"]
        done = subprocess.run([*command, *counts], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise UnavailableError(
                f"the training images of the embedded detector could not be drawn: {done.stderr}"
            )
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target / "images" / "train"

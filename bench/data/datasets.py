"""Data sets: the images to score on, labelled or not, and other images to calibrate on.

The two never share an image: figures measured on images that shaped the artifact flatter it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from deploymark.bench.data.coco_json import read_coco_json
from deploymark.bench.data.data_yaml import list_images, read_data_yaml, train_split
from deploymark.bench.data.images import image_size
from deploymark.bench.data.labels import ImageLabels, label_path, unlabelled, yolo_labels
from deploymark.bench.errors import BadInputError

__all__ = ["DataSource", "Dataset", "ImageLabels", "load_dataset", "match_names"]

MAX_SET_ASIDE = 4
"""One in so many validation images, at most, is set aside to calibrate on."""

DATA_YAML = "data.yaml"
"""Ultralytics' name of a data set's file, in the data set's folder."""

_SHOWN_NAMES = 12

CalibrationSource = Literal["train", "validation", "folder", "none"]

FOLDER_REMEDY = "or give the folder of images as the data set, to judge by agreement alone"
"""What somebody can do who has no labels."""


@dataclasses.dataclass(frozen=True)
class DataSource:
    """Where a data set is: ``yaml`` (Ultralytics), ``annotations`` (COCO JSON) or ``folder``.

    ``folder`` holds images without labels: they are judged by agreement alone
    (``bench.score.fidelity``). ``images`` is the folder of the images of ``annotations``, guessed
    where not given. ``calibration`` is a folder, a text file of paths, or a ``data.yaml`` whose
    ``train`` split is meant; it goes before the train split of ``yaml``. ``training`` is where
    recipes find images to train on, where not in ``yaml`` (``bench.data.training_split``).
    ``names`` are the class names where ``yaml`` has none.
    """

    name: str
    yaml: Path | None = None
    annotations: Path | None = None
    folder: Path | None = None
    images: Path | None = None
    calibration: Path | None = None
    training: Path | None = None
    names: tuple[str, ...] | None = None


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set that was read.

    ``names`` are the class names by index; none where the data set is a folder of images, and
    ``labelled`` is false then: no mAP can be measured. ``calibration_source`` says which split the
    calibration images were chosen from (``folder``: from the images without labels). The hashes are
    SHA-256 over the bytes of the images, in order.
    """

    name: str
    names: tuple[str, ...]
    scored: tuple[ImageLabels, ...]
    calibration: tuple[Path, ...]
    calibration_source: CalibrationSource
    scored_hash: str
    calibration_hash: str
    labelled: bool = True


def load_dataset(
    source: DataSource, *, calibration_images: int, max_images: int | None, seed: int
) -> Dataset:
    """Read a data set and choose its calibration images.

    ``calibration_images`` are chosen by ``seed`` from the train split. Where there is none, as many
    of the validation images, or of the folder's, at most a quarter, are set aside and not scored;
    images beyond the first ``max_images`` are taken first. Scored are the first ``max_images`` of
    the rest.

    Raises BadInputError: a missing or broken file, no labels, an image in both sets.
    """
    names, labels, train = _read(source)
    labelled = source.folder is None
    if train is not None:
        calibration = _choose(train, calibration_images, seed)
        calibration_source: CalibrationSource = "train" if calibration else "none"
        scored = labels
    else:
        calibration = _set_aside(labels, calibration_images, max_images, seed)
        held_out: CalibrationSource = "validation" if labelled else "folder"
        calibration_source = held_out if calibration else "none"
        chosen = set(calibration)
        scored = tuple(image for image in labels if image.path not in chosen)
    scored = scored[:max_images]
    if labelled and not any(len(image.boxes) for image in scored):
        raise BadInputError(
            f"data set {source.name}: no box on any of the {len(scored)} images to score on",
            remedy=f"Score on more images, on images that are labelled, {FOLDER_REMEDY}.",
        )
    for path in calibration:
        image_size(path)  # a file that is no image is told now, not in the middle of a run
    digests = {path: file_digest(path) for path in (*calibration, *(i.path for i in scored))}
    _check_disjoint(source.name, scored, calibration, digests)
    return Dataset(
        name=source.name,
        names=names,
        scored=scored,
        calibration=calibration,
        calibration_source=calibration_source,
        scored_hash=_hash([digests[image.path] for image in scored]),
        calibration_hash=_hash([digests[path] for path in calibration]),
        labelled=labelled,
    )


def match_names(dataset_names: Sequence[str], model_names: Sequence[str]) -> dict[int, int]:
    """The model's class for each class of the data set, by name.

    Case, ``_`` and ``-`` do not matter. Classes that the other side does not have are left out:
    they are not scored. Equal lists match by position, whatever the names, and a data set without
    names (a folder of images) has the model's. Raises BadInputError, listing both, where no name is
    common.
    """
    if not dataset_names or tuple(dataset_names) == tuple(model_names):
        return {index: index for index in range(len(model_names))}
    known = {_plain(name): index for index, name in reversed(list(enumerate(model_names)))}
    mapping = {
        index: known[_plain(name)]
        for index, name in enumerate(dataset_names)
        if _plain(name) in known
    }
    if not mapping:
        raise BadInputError(
            "the data set and the model have no class name in common: the data set has"
            f" {_shown(dataset_names)}; the model has {_shown(model_names)}",
            remedy="Give the data set that the model was trained for, or correct its `names`.",
        )
    return mapping


def file_digest(path: Path) -> bytes:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()


def _read(
    source: DataSource,
) -> tuple[tuple[str, ...], tuple[ImageLabels, ...], tuple[Path, ...] | None]:
    """Class names, labelled images, and images to calibrate on (None where there is no such)."""
    calibration = None if source.calibration is None else _calibration(source.calibration)
    if source.yaml is not None:
        data = read_data_yaml(source.yaml, source.names)
        labels = tuple(
            yolo_labels(path, *image_size(path), classes=len(data.names)) for path in data.val
        )
        _check_label_files(source.yaml, data.val)
        return data.names, labels, data.train if calibration is None else calibration
    if source.annotations is not None:
        names, labels = read_coco_json(source.annotations, source.images)
        return names, labels, calibration
    if source.folder is not None:
        return (), _unlabelled(source.folder), calibration
    raise BadInputError(
        f"data set {source.name}: neither a data.yaml, a COCO JSON nor a folder of images is given",
        remedy="Give `data:` a data.yaml or a folder of images, or `annotations:` a COCO JSON.",
    )


def _unlabelled(folder: Path) -> tuple[ImageLabels, ...]:
    """The images of a folder. A folder with a ``data.yaml`` is a data set, with labels to score."""
    if (folder / DATA_YAML).is_file():
        raise BadInputError(
            f"{folder}: holds a {DATA_YAML}: with its labels mAP can be measured",
            remedy=f"Give {folder / DATA_YAML}, or a folder of images below it, to judge by"
            " agreement alone.",
        )
    return tuple(unlabelled(path, *image_size(path)) for path in list_images(folder.absolute()))


def _calibration(place: Path) -> tuple[Path, ...]:
    if place.suffix.lower() in {".yaml", ".yml"}:
        return train_split(place)
    return list_images(place.absolute())


def _check_label_files(yaml: Path, images: Sequence[Path]) -> None:
    """An image without a label file is background; all of them without is a wrong folder."""
    if any(label_path(image).is_file() for image in images):
        return
    raise BadInputError(
        f"{yaml}: labels missing: none of the {len(images)} images of `val` has a label file,"
        f" {images[0]} would have {label_path(images[0])}",
        remedy="Put the label files in a folder `labels` beside the folder `images`,"
        f" {FOLDER_REMEDY}.",
    )


def _choose(paths: Sequence[Path], count: int, seed: int) -> tuple[Path, ...]:
    """``count`` of the paths, or all if there are fewer; the same for the same seed, sorted."""
    ordered = sorted(paths)
    chosen = random.Random(seed).sample(ordered, min(count, len(ordered)))  # noqa: S311 - no secret
    return tuple(sorted(chosen))


def _set_aside(
    labels: Sequence[ImageLabels], count: int, max_images: int | None, seed: int
) -> tuple[Path, ...]:
    """Validation images to calibrate on; none that is there twice, so that its twin is scored."""
    count = min(count, len(labels) // MAX_SET_ASIDE)
    if count == 0:
        return ()
    digests = {image.path: file_digest(image.path) for image in labels}
    copies = Counter(digests.values())
    single = [image.path for image in labels if copies[digests[image.path]] == 1]
    spare = [] if max_images is None else [i.path for i in labels[max_images:]]
    spare = [path for path in spare if copies[digests[path]] == 1]
    return _choose(spare if len(spare) >= count else single, count, seed)


def _check_disjoint(
    name: str,
    scored: Sequence[ImageLabels],
    calibration: Sequence[Path],
    digests: Mapping[Path, bytes],
) -> None:
    by_content = {digests[image.path]: image.path for image in scored}
    by_file = {image.path.resolve(): image.path for image in scored}
    shared = [
        (path, twin)
        for path in calibration
        if (twin := by_file.get(path.resolve()) or by_content.get(digests[path])) is not None
    ]
    if shared:
        path, twin = shared[0]
        raise BadInputError(
            f"data set {name}: {len(shared)} of the {len(calibration)} calibration images are also"
            f" scored, such as {path}" + ("" if path == twin else f" (the same picture as {twin})"),
            remedy="Take them out of the train split, or calibrate on other images.",
        )


def _hash(digests: Sequence[bytes]) -> str:
    return hashlib.sha256(b"".join(digests)).hexdigest()


def _plain(name: str) -> str:
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())


def _shown(names: Sequence[str]) -> str:
    text = ", ".join(names[:_SHOWN_NAMES])
    return f"{text}, … ({len(names)} in all)" if len(names) > _SHOWN_NAMES else text

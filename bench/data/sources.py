"""What a data set is read from, opened: its classes, its images and the labels of each."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from deploymark.bench.data.coco_boxes import BoxChecks
from deploymark.bench.data.coco_json import read_coco
from deploymark.bench.data.data_yaml import read_data_yaml, train_split
from deploymark.bench.data.faults import Faults
from deploymark.bench.data.image_lists import list_images, listing
from deploymark.bench.data.known_sets import check_kind
from deploymark.bench.data.label_places import labels_elsewhere, labels_without_image
from deploymark.bench.data.label_rows import LabelReader
from deploymark.bench.data.labels import ImageLabels, Rows, label_path, no_rows, read_rows
from deploymark.bench.errors import BadInputError

DATA_YAML = "data.yaml"
"""Ultralytics' name of a data set's file, in the data set's folder."""

Labels = Callable[[Path, int, int], ImageLabels | None]
"""The labels of an image (path, width, height); None, and a fault, where it is left out."""


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


@dataclasses.dataclass
class OpenSource:
    """A data set whose labels were read and whose images were not yet looked at.

    ``listed`` is the number of images that it names, ``paths`` are those that may be looked at and
    ``skipped`` the number of those whose labels have a fault. ``train`` gives the images of its
    train split, None where it names none. ``unlabelled`` images have no label file; ``elsewhere``
    are label files where they are not looked for, ``orphans`` the number of those of no image.
    """

    names: tuple[str, ...]
    paths: Sequence[Path]
    labels: Labels
    listed: int
    skipped: int = 0
    labelled: bool = True
    train: Callable[[], tuple[Path, ...] | None] = lambda: None
    unread: Mapping[str, int] = dataclasses.field(default_factory=dict)
    unlabelled: frozenset[Path] = frozenset()
    elsewhere: Sequence[Path] = ()
    orphans: int = 0
    root_category: str | None = None
    check_guesses: Callable[[], None] = lambda: None
    given: Path | None = None

    @property
    def calibration_is_given(self) -> bool:
        """Whether images to calibrate on are named apart."""
        return self.given is not None

    def calibration(self) -> tuple[Path, ...] | None:
        """The images to choose calibration images from; None where there is no such split.

        Raises BadInputError where the split is not there.
        """
        if self.given is None:
            return self.train()
        if self.given.suffix.lower() in {".yaml", ".yml"}:
            return train_split(self.given)
        return list_images(self.given.absolute())


def open_source(source: DataSource, faults: Faults, counts: Counter[str]) -> OpenSource:
    """Read the labels of a data set.

    ``faults`` gets what is wrong with single rows and images, ``counts`` what was met besides.
    Raises BadInputError where it cannot be used at all.
    """
    given = source.yaml or source.annotations or source.folder
    if given is None:
        raise BadInputError(
            f"data set {source.name}: neither a data.yaml, a COCO JSON nor a folder of images is"
            " given",
            remedy="Give `data:` a data.yaml or a folder of images, or `annotations:` a COCO JSON.",
        )
    check_kind(given)
    if source.yaml is not None:
        found = _of_yaml(source.yaml, source.names, faults, counts)
    elif source.annotations is not None:
        found = _of_coco(source.annotations, source.images, faults, counts)
    else:
        found = _of_folder(given, faults)
    found.given = source.calibration
    return found


def _of_yaml(
    yaml: Path, names: tuple[str, ...] | None, faults: Faults, counts: Counter[str]
) -> OpenSource:
    data = read_data_yaml(yaml, names)
    reader = LabelReader(data.rows, faults, counts)
    rows: dict[Path, Rows] = {}
    skipped = 0
    for path in data.val:
        found = read_rows(path, reader)
        if found is None:
            skipped += 1
        else:
            rows[path] = found
    for fault in data.listing.missing:
        faults.append(fault)
    missing = [path for path, found in rows.items() if not found.labelled]
    elsewhere = labels_elsewhere(missing)
    if data.val and len(missing) == len(data.val):
        raise _labels_missing(yaml, missing, elsewhere)
    return OpenSource(
        names=data.names,
        paths=list(rows),
        labels=lambda path, width, height: rows[path].on(width, height),
        listed=len(data.val) + len(data.listing.missing),
        skipped=skipped + len(data.listing.missing),
        train=lambda: data.train,
        unread=data.listing.unread,
        unlabelled=frozenset(missing),
        elsewhere=elsewhere,
        orphans=labels_without_image(data.val),
        check_guesses=reader.check_guesses,
    )


def _labels_missing(yaml: Path, images: Sequence[Path], elsewhere: Sequence[Path]) -> BadInputError:
    """An image without a label file is background; all of them without is a wrong folder."""
    seen = f"; there is {elsewhere[0]}, where it is not looked for" if elsewhere else ""
    return BadInputError(
        f"{yaml}: labels missing: none of the {len(images)} images of `val` has a label file,"
        f" {images[0]} would have {label_path(images[0])}{seen}",
        remedy="Put the label files in a folder `labels` beside the folder `images`, or give the"
        " folder of images as the data set, to judge by agreement alone.",
    )


def _of_coco(path: Path, images: Path | None, faults: Faults, counts: Counter[str]) -> OpenSource:
    before = faults.count("image")
    found = read_coco(path, images, faults, counts)
    skipped = faults.count("image") - before
    checks = BoxChecks(faults, counts)
    by_path = {image.file: image for image in found.images}
    return OpenSource(
        names=found.names,
        paths=list(by_path),
        labels=lambda path, width, height: checks.labels(by_path[path], width, height),
        listed=len(by_path) + skipped,
        skipped=skipped,
        root_category=found.root_category,
        check_guesses=checks.check_guesses,
    )


def _of_folder(folder: Path, faults: Faults) -> OpenSource:
    """The images of a folder. A folder with a ``data.yaml`` is a data set, with labels to score."""
    if (folder / DATA_YAML).is_file():
        raise BadInputError(
            f"{folder}: holds a {DATA_YAML}: with its labels mAP can be measured",
            remedy=f"Give {folder / DATA_YAML}, or a folder of images below it, to judge by"
            " agreement alone.",
        )
    found = listing(folder.absolute())
    for fault in found.missing:
        faults.append(fault)
    return OpenSource(
        names=(),
        paths=found.images,
        labels=lambda path, width, height: no_rows(path).on(width, height),
        listed=len(found.images),
        labelled=False,
        unread=found.unread,
    )

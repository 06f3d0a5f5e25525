"""Data sets: the images to score on, labelled or not, and other images to calibrate on.

The two never share an image: figures measured on images that shaped the artifact flatter it. What
is wrong with a data set is told all at once, before anything is prepared or measured.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from deploymark.bench.data.calibration import (
    Calibration,
    CalibrationSource,
    Scored,
    choose_from,
    set_aside,
)
from deploymark.bench.data.census import Census, plural
from deploymark.bench.data.faults import Faults, OnFault
from deploymark.bench.data.labels import ImageLabels
from deploymark.bench.data.scored_images import FOLDER_REMEDY, ScoredImages
from deploymark.bench.data.sources import DataSource, open_source
from deploymark.bench.errors import BadInputError

__all__ = ["DataSource", "Dataset", "ImageLabels", "load_dataset"]


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set that was read.

    ``names`` are the class names by index; none where the data set is a folder of images, and
    ``labelled`` is false then: no mAP can be measured. ``calibration_source`` says which split the
    calibration images were chosen from (``folder``: from the images without labels), and
    ``calibration_lacks`` why there are none though they were asked for. The hashes are SHA-256 over
    the bytes of the images, in order.
    """

    name: str
    names: tuple[str, ...]
    scored: tuple[ImageLabels, ...]
    calibration: tuple[Path, ...]
    calibration_source: CalibrationSource
    scored_hash: str
    calibration_hash: str
    labelled: bool = True
    census: Census = dataclasses.field(default_factory=Census)
    calibration_lacks: str = ""

    def boxes_by_class(self) -> dict[int, int]:
        """The boxes of each class on the images scored, crowd regions aside."""
        counts: Counter[int] = Counter()
        for image in self.scored:
            counts.update(int(index) for index in image.classes[~image.crowd])
        return dict(counts)


def load_dataset(
    source: DataSource,
    *,
    calibration_images: int,
    max_images: int | None,
    seed: int,
    on_fault: OnFault = "refuse",
) -> Dataset:
    """Read a data set and choose its calibration images.

    ``calibration_images`` are chosen by ``seed`` from the train split, none that is scored. Where
    there is no such split, or none of it is left, as many of the validation images, or of the
    folder's, at most a quarter, are set aside and not scored; images beyond the first
    ``max_images`` are taken first. Scored are the first ``max_images`` of the rest. Where no
    calibration image is asked for, the train split is not looked at.

    Raises BadInputError: a missing or broken file, no labels, no box; and, unless ``on_fault`` is
    ``skip``, all faults of single rows and images in one message.
    """
    faults, counts = Faults(), Counter[str]()
    read = open_source(source, faults, counts)
    images = ScoredImages(read, faults, counts)
    images.fill(max_images)
    calibration = Calibration()
    if calibration_images:
        calibration = _calibration(images, calibration_images, max_images, seed, faults)
    read.check_guesses()
    faults.check(source.name, on_fault)
    chosen = set(calibration.paths)
    scored = tuple(image for image in images.good if image.path not in chosen)[:max_images]
    _check_scored(source.name, scored, faults, labelled=read.labelled)
    digests = images.digests(calibration.paths)
    return Dataset(
        name=source.name,
        names=read.names,
        scored=scored,
        calibration=calibration.paths,
        calibration_source=calibration.source,
        scored_hash=_hash([images.pictures[image.path].digest for image in scored]),
        calibration_hash=_hash(digests),
        labelled=read.labelled,
        census=_census(images, scored, calibration, faults, counts),
        calibration_lacks=calibration.lacks,
    )


def _calibration(
    images: ScoredImages, count: int, max_images: int | None, seed: int, faults: Faults
) -> Calibration:
    read = images.read
    try:
        train = read.calibration()
    except BadInputError as error:
        if read.calibration_is_given:
            raise
        return Calibration(lacks=f"its train split cannot be used: {error.message}")
    shared = 0
    if train is not None:
        scored = Scored(
            {image.path: images.pictures[image.path] for image in images.good[:max_images]}
        )
        found = choose_from(train, count, seed, scored, faults)
        if found.paths:
            return found
        shared = found.shared
        if not shared:  # faulty ones alone
            return Calibration(lacks="no image of its train split can be used")
    images.fill(None)
    paths = [image.path for image in images.good]
    aside = set_aside(paths, images.pictures, count, max_images, seed)
    if not aside:
        return Calibration(
            shared=shared,
            lacks=f"{plural(len(paths), 'validation image')} cannot be scored and calibrated on"
            + (", and its train split has no others" if shared else ", and it has no train split"),
        )
    return Calibration(aside, "validation" if read.labelled else "folder", shared)


def _check_scored(
    name: str, scored: Sequence[ImageLabels], faults: Faults, *, labelled: bool
) -> None:
    if not scored:
        raise BadInputError(
            f"data set {name}: no image is left to score on"
            + (f": {len(faults)} faults were skipped" if len(faults) else ""),
            remedy="Mend the images, or give others.",
        )
    if labelled and not any((~image.crowd).any() for image in scored):
        skipped = faults.count("row")
        raise BadInputError(
            f"data set {name}: no box on any of the {len(scored)} images to score on"
            + (f" ({plural(skipped, 'row')} with faults were skipped)" if skipped else ""),
            remedy=f"Score on more images, on images that are labelled, {FOLDER_REMEDY}.",
        )


def _census(
    images: ScoredImages,
    scored: Sequence[ImageLabels],
    calibration: Calibration,
    faults: Faults,
    counts: Counter[str],
) -> Census:
    read = images.read
    boxes: Counter[int] = Counter()
    for image in scored:
        boxes.update(int(index) for index in image.classes[~image.crowd])
    crowd = sum(int(image.crowd.sum()) for image in scored)
    paths = {image.path for image in scored}
    aside = 0 if calibration.source == "train" else len(calibration.paths)
    digests = {images.pictures[path].digest for path in paths}
    found = sum(boxes.values())
    dropped = {key: counts[key] for key in ("repeated", "no_size") if counts[key]}
    skipped = faults.count("row")
    told = ("clipped", "polygons", "oriented", "keypoints")
    return Census(
        listed=read.listed,
        images=len(scored),
        set_aside=aside,
        skipped=images.skipped,
        beyond=read.listed - len(scored) - aside - images.skipped,
        rows=counts["rows"],
        boxes=found,
        crowd=crowd,
        rows_skipped=skipped,
        rows_elsewhere=counts["rows"] - found - crowd - sum(dropped.values()) - skipped,
        dropped=dropped,
        background=sum(
            len(image.boxes) == 0 and image.path not in read.unlabelled for image in scored
        )
        if read.labelled
        else 0,
        unlabelled=sum(path in read.unlabelled for path in paths) if read.labelled else 0,
        classes={
            read.names[index]: boxes[index] for index in sorted(boxes) if index < len(read.names)
        },
        told={key: counts[key] for key in told if counts[key]},
        unread=dict(read.unread),
        same_picture=len(paths) - len(digests),
        labels_elsewhere=len(read.elsewhere),
        labels_elsewhere_at=str(read.elsewhere[0]) if read.elsewhere else "",
        labels_without_image=read.orphans,
        root_category=read.root_category,
        faults=tuple(faults.record()),
        calibration_images=len(calibration.paths),
        calibration_from=_calibration_text(calibration),
        labelled=read.labelled,
    )


def _calibration_text(calibration: Calibration) -> str:
    """Where the calibration images come from, in words; empty where none are asked for."""
    if calibration.lacks:
        return f"none, {calibration.lacks}"
    if not calibration.paths:
        return ""
    count, shared = len(calibration.paths), calibration.shared
    if calibration.source == "train":
        passed = f" ({plural(shared, 'image')} of it also scored, passed over)" if shared else ""
        return f"{plural(count, 'image')} of the train split{passed}"
    why = " since the train split has no others" if shared else ""
    what = "validation images" if calibration.source == "validation" else "images"
    return f"{count} of the {what}, set aside and not scored{why}"


def _hash(digests: Sequence[bytes]) -> str:
    return hashlib.sha256(b"".join(digests)).hexdigest()

"""The census of a data set: how many images and boxes there are, and what became of the others."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from deploymark.bench.data.class_names import ClassMatch

FEW_IMAGES = 50
"""Images below which a score says little: one image is more than 2 % of it."""

FEW_BOXES = 100
"""Boxes below which a score says little: one box is more than 1 % of all."""


@dataclasses.dataclass(frozen=True)
class Census:
    """What a data set consists of.

    ``listed`` images are named by the split or the file; of them ``images`` are scored,
    ``set_aside`` calibrate, ``skipped`` have a fault, and ``beyond`` lie beyond ``max_images``.
    ``rows`` are all lines of label files, or annotations, that were read; of them ``boxes`` and
    ``crowd`` regions are on the images scored, ``rows_skipped`` have a fault, ``rows_elsewhere``
    are on the other images; the rest are in ``dropped`` (``repeated``, ``no_size``). ``background``
    images have a label file (or an entry) without boxes, ``unlabelled`` ones have no label file.
    ``classes`` has the boxes of each class. ``told`` counts what was read in its own way
    (``polygons``, ``oriented``, ``keypoints``, ``clipped``), ``unread`` files of types that are not
    read, by ending. ``faults`` are those of ``bench.data.faults``, with what each left out.
    """

    listed: int = 0
    images: int = 0
    set_aside: int = 0
    skipped: int = 0
    beyond: int = 0
    rows: int = 0
    boxes: int = 0
    crowd: int = 0
    rows_skipped: int = 0
    rows_elsewhere: int = 0
    dropped: Mapping[str, int] = dataclasses.field(default_factory=dict)
    background: int = 0
    unlabelled: int = 0
    classes: Mapping[str, int] = dataclasses.field(default_factory=dict)
    told: Mapping[str, int] = dataclasses.field(default_factory=dict)
    unread: Mapping[str, int] = dataclasses.field(default_factory=dict)
    same_picture: int = 0
    labels_elsewhere: int = 0
    labels_elsewhere_at: str = ""
    labels_without_image: int = 0
    root_category: str | None = None
    faults: Sequence[Mapping[str, Any]] = ()
    calibration_images: int = 0
    calibration_from: str = ""
    labelled: bool = True

    def record(self, match: ClassMatch | None = None) -> dict[str, Any]:
        """What ``run.json`` says of it; ``match`` tells the classes that one side alone has."""
        values = dataclasses.asdict(self)
        values["faults"] = [dict(fault) for fault in self.faults]
        values["only_in_data"] = list(match.only_in_data) if match else []
        values["only_in_model"] = list(match.only_in_model) if match else []
        values["lines"] = list(self.lines(match))
        values["notes"] = self.notes(match)
        return values

    def lines(self, match: ClassMatch | None = None) -> tuple[str, str]:
        """Two lines for a terminal: what is there, and what was left out or stands out."""
        return self._there(), self._left(match)

    def _there(self) -> str:
        parts = [plural(self.images, "image")]
        if self.labelled:
            used = sum(1 for count in self.classes.values() if count)
            parts[0] += f" with {plural(self.boxes, 'box', 'boxes')} of {plural(used, 'class')}"
            if self.crowd:
                parts.append(plural(self.crowd, "crowd region"))
            if self.background:
                parts.append(f"{self.background} background")
            if self.unlabelled:
                parts.append(f"{self.unlabelled} without a label file")
        if self.beyond:
            parts.append(f"{self.beyond} more not scored (max_images)")
        if self.calibration_from:
            parts.append(f"calibration: {self.calibration_from}")
        return ", ".join(parts)

    def _left(self, match: ClassMatch | None) -> str:
        faults = ", ".join(f"{fault['count']} × {fault['title']}" for fault in self.faults)
        parts = [f"left out: {faults}"] if faults else []
        parts += self.remarks()
        if match is not None:
            parts += match.remarks()
        return "; ".join(parts) or "nothing was left out"

    def remarks(self) -> list[str]:
        """What was dropped, read in its own way or not read, each in a few words."""
        told, dropped = self.told, self.dropped
        rows = [
            (dropped.get("repeated", 0), "repeated dropped"),
            (dropped.get("no_size", 0), "of no size dropped"),
            (told.get("clipped", 0), "clipped to their images"),
            (told.get("polygons", 0), "polygons taken as their bounding boxes"),
            (told.get("oriented", 0), "oriented boxes taken as their bounding boxes"),
            (told.get("keypoints", 0), "rows of keypoints (kpt_shape) read as their boxes"),
        ]
        parts = [f"{count} {what}" for count, what in rows if count]
        if self.unread:
            kinds = ", ".join(f"{count} {ending}" for ending, count in sorted(self.unread.items()))
            parts.append(f"not read, by their type: {kinds}")
        if self.same_picture:
            parts.append(f"{plural(self.same_picture, 'image')} there under several names")
        if self.labels_elsewhere:
            parts.append(
                f"{self.labels_elsewhere} without a label file have one elsewhere, which is not"
                f" read: {self.labels_elsewhere_at}"
            )
        if self.labels_without_image:
            parts.append(f"{plural(self.labels_without_image, 'label file')} of no image")
        if self.root_category is not None:
            parts.append(f"{self.root_category!r} groups the others and is no class")
        return parts

    def notes(self, match: ClassMatch | None = None) -> list[str]:
        """Sentences for the reader of a report: why a score is of little worth, or partial."""
        notes = []
        if self.images and self.images < FEW_IMAGES:
            notes.append(
                f"{plural(self.images, 'image')} {'is' if self.images == 1 else 'are'} few: below"
                f" {FEW_IMAGES} a score depends on which images they are."
            )
        elif self.labelled and self.boxes < FEW_BOXES:
            notes.append(
                f"{plural(self.boxes, 'box', 'boxes')} {'is' if self.boxes == 1 else 'are'} few:"
                f" below {FEW_BOXES} a score depends on which they are."
            )
        if match is not None and match.boxes_not_scored:
            notes.append(
                f"{match.boxes_not_scored} of {plural(self.boxes, 'box', 'boxes')} are of classes"
                f" that the model does not have, and are not scored: {match.unmatched_text()}."
            )
        skipped = [
            plural(count, what)
            for count, what in ((self.rows_skipped, "row"), (self.skipped, "image"))
            if count
        ]
        if skipped:
            notes.append(
                f"Skipped for their faults: {' and '.join(skipped)}. A score is over the others."
            )
        return notes


def plural(count: int, one: str, many: str = "") -> str:
    """``1 image``, ``3 images``."""
    several = many or (f"{one}es" if one.endswith("s") else f"{one}s")
    return f"{count} {one if count == 1 else several}"

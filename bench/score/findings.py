"""What a guard finds, the cell that it judges, and words that several guards share."""

from __future__ import annotations

import dataclasses

from deploymark.backends.inputs import Size
from deploymark.backends.layout import OutputSpec
from deploymark.bench.matrix.cells import DENSE, is_changed

FEW_IMAGES = 5
"""Images from which on nothing on any of them, or as many boxes on each, is no chance."""

FEW_BOXES = 20
"""Boxes from which on their scores tell something."""

FEW_LABELS = 10
"""Labelled boxes from which on a detector that finds none of them is nonsense, not bad luck."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """What a guard saw. ``seen`` and ``cause`` make a sentence, ``remedy`` is what mends it.

    ``hard`` makes the cell invalid. ``cuts`` tells that the file leaves boxes out, so that its mAP
    is not that of the detector: it counts for no constraint, and for no other cell.
    """

    guard: str
    seen: str
    cause: str
    remedy: str
    hard: bool = True
    cuts: bool = False

    @property
    def words(self) -> str:
        """The sentence."""
        return f"{self.seen}: {self.cause}"


@dataclasses.dataclass(frozen=True)
class Subject:
    """The cell that is judged.

    ``output`` is its output contract, ``classes`` the number of the model's classes, ``size`` that
    of its input in pixels; ``labels`` counts the labelled boxes that it could find, None where
    images have no labels. ``given`` tells that the file was made elsewhere.
    """

    output: OutputSpec
    classes: int
    size: Size
    precision: str
    variant: str = DENSE
    given: bool = False
    labels: int | None = None

    @property
    def changed(self) -> bool:
        """Whether a recipe changed the weights."""
        return is_changed(self.variant)


def labelled(subject: Subject) -> str:
    """How many labelled boxes there are to find."""
    return f"{subject.labels or 0} labelled boxes"


def likely_causes(subject: Subject) -> str:
    """Why a cell may find nothing."""
    if subject.changed:
        return "the recipe may have taken that much of the weights"
    if subject.given:
        return (
            "likely causes are another range of the input (0 to 255), colour order or "
            "normalisation, another scale of boxes, another layout or order of classes"
        )
    if subject.precision != "fp32":
        return f"the export lost it at {subject.precision}, or the data set is of other pictures"
    return "the export lost it, or the data set is of other pictures than the model knows"


def remedy_of(subject: Subject) -> str:
    """What mends a cell that finds nothing."""
    if subject.changed:
        return "Fine-tune after it, or take a smaller amount."
    if subject.given:
        return (
            "Say in the model's entry in the matrix what the file takes and gives: "
            "`input: {range: [0, 255]}`, `boxes: normalised`, `family: yolov5`."
        )
    return "Measure the model at fp32 and under another backend, and look at its images and labels."

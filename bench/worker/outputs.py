"""What the outputs of a scoring pass look like: facts by which ``bench.score.guards`` judges them.

Nothing is judged here, and nothing is looked at in a timed pass. Every value is looked at once (is
it finite, what is its range), everything else on the boxes that were decoded anyway. Written for
Python 3.10 and numpy alone.
"""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from deploymark.backends.inputs import Size
from deploymark.backends.layout import ROLES, OutputSpec
from deploymark.backends.outputs import ROWS, Image, images_of, places_of, rows_of
from deploymark.bench.worker.detections import (
    BOX_CHANNELS,
    DEPLOYMENT_CONFIDENCE,
    SCORING_CONFIDENCE,
    Detections,
)

if TYPE_CHECKING:
    import numpy.typing as npt

    from deploymark.backends.session import Outputs

FAR = 0.5
"""Part of the picture by which a box must stick out of it to be far outside."""

OUTSIDE = 0.05
"""Part of the picture by which a box must stick out of it to count as outside at all."""

_SCORE, _CLASS = 4, 5


@dataclasses.dataclass
class OutputFacts:
    """The outputs of all scored images together; a launch's record has them as ``outputs``.

    ``shape`` is that of one image's output: (4 + classes, places), or (rows, 6) of layouts in
    ``ROWS``. Images: ``not_finite_images`` have a score that is not finite, or a box or a class
    that is not where a score counts (above 0.001); ``not_finite_elsewhere`` have such values
    elsewhere alone, in any array. Scores: ``score_low`` and ``score_high`` are the range of all
    finite ones, padding aside (rows of one value, which ``padding_rows`` counts in the layout
    ``detections``); of logits they are what became of them. Of the boxes above 0.001, after
    suppression: ``boxes``, their number, ``kept_low`` and ``kept_high``, the range of their scores,
    ``empty_images`` without any, ``classes_found``, different classes, and, in layouts of ``ROWS``,
    ``classes_not_whole`` and the range of class numbers, ``class_low`` and ``class_high``.
    ``most_candidates`` is the most places or rows above 0.001 of an image, before suppression;
    ``images_with_most`` have exactly as many.

    Of the boxes ``shown``, those above 0.25 and the best of each image: ``shown_above`` are above
    0.25; ``inverted`` end before they begin; ``far_outside`` stick out by half of the picture's
    width or height, ``outside`` by a twentieth; ``corner_like`` have a width and a height beyond
    their centre, as two corners have that are read as centre and size. ``x_low`` to ``y_high`` are
    the range of their corners along each side, in pixels of the input.
    """

    images: int = 0
    shape: list[int] = dataclasses.field(default_factory=list)
    not_finite_images: int = 0
    not_finite_elsewhere: int = 0
    score_low: float | None = None
    score_high: float | None = None
    padding_rows: int = 0
    boxes: int = 0
    kept_low: float | None = None
    kept_high: float | None = None
    empty_images: int = 0
    classes_found: int = 0
    classes_not_whole: int = 0
    class_low: float | None = None
    class_high: float | None = None
    most_candidates: int = 0
    images_with_most: int = 0
    shown: int = 0
    shown_above: int = 0
    inverted: int = 0
    far_outside: int = 0
    outside: int = 0
    corner_like: int = 0
    x_low: float | None = None
    x_high: float | None = None
    y_low: float | None = None
    y_high: float | None = None


class OutputCheck:
    """Collects the facts of a scoring pass, a batch at a time.

    ``output`` is the contract of the outputs, ``size`` that of the input.
    """

    def __init__(self, output: OutputSpec, size: Size) -> None:
        self._output = output
        self._size = size
        self._sides = np.array([size.width, size.height] * 2, np.float32)
        self._facts = OutputFacts()
        self._scores, self._kept = _Range(), _Range()
        self._class_numbers, self._x, self._y = _Range(), _Range(), _Range()
        self._classes: set[int] = set()
        self._candidates: collections.Counter[int] = collections.Counter()

    def add(self, raw: Outputs, found: Sequence[Detections]) -> None:
        """Look at the raw outputs of some images, and at what was decoded of them at 0.001.

        ``raw`` are arrays by the contract; images beyond those of ``found`` are padding of the
        batch. Raises ValueError where they do not fit the layout.
        """
        with np.errstate(invalid="ignore", over="ignore"):
            images, counted = images_of(raw, self._output), self._counts_are_finite(raw)
            for image, boxes in zip(images, found):  # noqa: B905 - the longer one is padded
                self._facts.images += 1
                if self._output.layout in ROWS:
                    self._look_at_rows(image, counted=counted)
                else:
                    self._look_at_places(image)
                self._look_at_boxes(boxes)

    def facts(self) -> OutputFacts:
        """The facts of all images so far; what was not seen is None, and nothing is NaN."""
        most = max(self._candidates, default=0)
        return dataclasses.replace(
            self._facts,
            score_low=self._scores.low,
            score_high=self._scores.high,
            kept_low=self._kept.low,
            kept_high=self._kept.high,
            class_low=self._class_numbers.low,
            class_high=self._class_numbers.high,
            x_low=self._x.low,
            x_high=self._x.high,
            y_low=self._y.low,
            y_high=self._y.high,
            classes_found=len(self._classes),
            most_candidates=most,
            images_with_most=self._candidates[most],
        )

    def _counts_are_finite(self, raw: Outputs) -> bool:
        """Whether the counts of rows are numbers, where the layout has them: else rows are lost."""
        roles = ROLES.get(self._output.layout, ())
        return "counts" not in roles or bool(np.isfinite(raw[roles.index("counts")]).all())

    def _look_at_places(self, arrays: Image) -> None:
        """The layouts of places and queries, turned: (4 + classes, places)."""
        image = places_of(arrays, self._output, self._size)
        self._facts.shape = list(image.shape)
        boxes, scores = image[:BOX_CHANNELS], image[BOX_CHANNELS:]
        best = scores.max(axis=0)
        low, high = scores.min(initial=np.inf), best.max(initial=-np.inf)  # NaN where any score is
        whole = bool(np.isfinite(low) and np.isfinite(high)) or not scores.size
        if not whole:
            self._scores.add_all(scores)
        elif scores.size:
            self._scores.add(low, high)
        counts = best > SCORING_CONFIDENCE
        finite = np.isfinite(boxes)
        self._count_finite(
            where_it_counts=whole and bool(finite[:, counts].all()), anywhere=bool(finite.all())
        )
        self._candidates[int(counts.sum())] += 1

    def _look_at_rows(self, arrays: Image, *, counted: bool) -> None:
        """The layouts of one score and one class a box, as (n, 6)."""
        image = rows_of(arrays, self._output)
        self._facts.shape = list(image.shape)
        padding = (image == image[:, :1]).all(axis=1)
        if self._output.layout != "detections":
            padding[:] = False
        rows = image[~padding]
        self._facts.padding_rows += int(padding.sum())
        scores = rows[:, _SCORE]
        self._scores.add_all(scores)
        counts = rows[scores > SCORING_CONFIDENCE]
        self._count_finite(
            where_it_counts=counted
            and bool(np.isfinite(scores).all() and np.isfinite(counts).all()),
            anywhere=bool(np.isfinite(rows).all()),
        )
        numbers = counts[:, _CLASS]
        numbers = numbers[np.isfinite(numbers)]
        self._class_numbers.add_all(numbers)
        self._facts.classes_not_whole += int((np.abs(numbers - np.rint(numbers)) > 0.01).sum())  # noqa: PLR2004 - rounding of 16 bits
        self._candidates[len(counts)] += 1

    def _count_finite(self, *, where_it_counts: bool, anywhere: bool) -> None:
        self._facts.not_finite_images += not where_it_counts
        self._facts.not_finite_elsewhere += where_it_counts and not anywhere

    def _look_at_boxes(self, found: Detections) -> None:
        facts = self._facts
        facts.boxes += len(found)
        facts.empty_images += not len(found)
        if not len(found):
            return
        self._kept.add_all(found.scores)
        self._classes.update(np.unique(found.classes).tolist())
        shown = found.scores > DEPLOYMENT_CONFIDENCE
        facts.shown_above += int(shown.sum())
        shown[found.scores.argmax()] = True
        boxes = found.boxes[shown]
        boxes = boxes[np.isfinite(boxes).all(axis=1)]
        if not len(boxes):
            return
        facts.shown += len(boxes)
        low, high = boxes[:, :2], boxes[:, 2:]
        facts.inverted += int((high < low).any(axis=1).sum())
        beyond = (np.maximum(-boxes, boxes - self._sides) / self._sides).max(axis=1)
        facts.far_outside += int((beyond > FAR).sum())
        facts.outside += int((beyond > OUTSIDE).sum())
        facts.corner_like += int((high - low >= (low + high) / 2).all(axis=1).sum())
        self._x.add_all(boxes[:, ::2])
        self._y.add_all(boxes[:, 1::2])


class _Range:
    """The lowest and the highest of the finite values seen; None before any was."""

    def __init__(self) -> None:
        self.low: float | None = None
        self.high: float | None = None

    def add(self, low: float, high: float) -> None:
        """Take in the ends of values that are all finite."""
        self.low = float(low) if self.low is None else min(self.low, float(low))
        self.high = float(high) if self.high is None else max(self.high, float(high))

    def add_all(self, values: npt.NDArray[np.float32]) -> None:
        """Take in those of ``values`` that are finite."""
        if not values.size:
            return
        low, high = float(values.min()), float(values.max())
        if math.isfinite(low) and math.isfinite(high):
            self.add(low, high)
        elif (finite := values[np.isfinite(values)]).size:
            self.add(float(finite.min()), float(finite.max()))

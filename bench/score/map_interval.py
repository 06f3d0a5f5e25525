"""How far a difference of mAP carries: a bootstrap over the images, the same for both sides.

The images scored are a sample of those that the detector will meet; resampling them with
replacement shows how the difference scatters (Efron and Tibshirani, An Introduction to the
Bootstrap, 1993, chapters 6 and 13). Both sides are scored on the same resampled images, so that
what makes an image hard for both takes no part in the difference.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from deploymark.bench.data.labels import ImageLabels
from deploymark.bench.errors import BadInputError
from deploymark.bench.score.coco_matches import (
    IOU_THRESHOLDS,
    RECALLS,
    ClassMatches,
    Predictions,
    match,
)

if TYPE_CHECKING:
    import numpy.typing as npt
    from scipy import sparse

MapFigure = Literal["map50_95", "map50"]

RESAMPLES_MIN, RESAMPLES_MAX = 2000, 20_000
"""Efron and Tibshirani (1993, section 19.3): a percentile wants a thousand or more."""

RESAMPLES_BEYOND = 10
"""Resamples wanted beyond each end of the interval, so that no single one is an end."""

_CHUNK = 1000
"""Resamples counted at a time."""

_ROUNDING = 1e-9
"""Above the error of a product, below 1 over the boxes, the least by which a point is missed."""

_CACHED = 2**15
"""Numbers in an array that a processor's cache holds beside a few more of its kind."""


@dataclasses.dataclass(frozen=True)
class MapChange:
    """An average precision of both sides and its change, candidate less baseline, in [-1, 1].

    The interval from ``low`` to ``high`` has the ``confidence`` asked for. ``images`` are those
    scored, ``resamples`` those of the bootstrap.
    """

    figure: MapFigure
    baseline: float
    candidate: float
    change: float
    low: float
    high: float
    confidence: float
    images: int
    resamples: int
    method: str = "paired bootstrap over images, percentile interval"


def map_change(
    images: Sequence[ImageLabels],
    baseline: Predictions,
    candidate: Predictions,
    *,
    figure: MapFigure = "map50_95",
    confidence: float = 0.95,
    seed: int = 0,
) -> MapChange:
    """Compare two detectors on the same images.

    Each side's average precision is that of ``bench.score.average_precision.score``. Equal boxes
    give exactly no change and an interval of no width. The same ``seed`` gives the same interval.

    Raises BadInputError if there is no box of any class of a side, ValueError if the lists differ
    in length.
    """
    sides = [_prepared(images, side, figure) for side in (baseline, candidate)]
    once = np.ones((len(images), 1))
    before, after = (float(side.average_precision(once)[0]) for side in sides)
    resamples = resamples_for(confidence)
    changes = _changes(sides, len(images), resamples, np.random.default_rng(seed))
    tail = (1 - confidence) / 2
    low, high = np.quantile(changes, [tail, 1 - tail])
    return MapChange(
        figure=figure,
        baseline=before,
        candidate=after,
        change=after - before,
        low=float(low),
        high=float(high),
        confidence=confidence,
        images=len(images),
        resamples=len(changes),
    )


def resampled(
    images: Sequence[ImageLabels],
    predictions: Predictions,
    *,
    figure: MapFigure = "map50_95",
    seed: int = 0,
) -> tuple[float, npt.NDArray[np.float64]]:
    """The average precision of a detector, and that on each resample of the images.

    The same ``seed`` draws the same resamples of as many images, whatever the detector: entries of
    two detectors compare one by one. An entry is NaN where its resample has no box.

    Raises BadInputError if there is no box of any class, ValueError if the lists differ in length.
    """
    side = _prepared(images, predictions, figure)
    count = len(images)
    random = np.random.default_rng(seed)
    found = [side.average_precision(drawn) for drawn in _drawn(count, RESAMPLES_MIN, random)]
    return float(side.average_precision(np.ones((count, 1)))[0]), np.concatenate(found)


def resamples_for(confidence: float) -> int:
    """Resamples that an interval of this confidence wants."""
    wanted = math.ceil(round(2 * RESAMPLES_BEYOND / (1 - confidence), 6))
    return min(max(wanted, RESAMPLES_MIN), RESAMPLES_MAX)


def _changes(
    sides: Sequence[_Side], images: int, resamples: int, random: np.random.Generator
) -> npt.NDArray[np.float64]:
    """The change on each resample; those that drew no box are left out."""
    found = []
    for weights in _drawn(images, resamples, random):
        before, after = [side.average_precision(weights) for side in sides]
        found.append(after - before)
    changes = np.concatenate(found)
    drawn_any: npt.NDArray[np.float64] = changes[~np.isnan(changes)]
    return drawn_any


def _drawn(
    images: int, resamples: int, random: np.random.Generator
) -> Iterator[npt.NDArray[np.float64]]:
    """How often each image is drawn: (images, resamples), some resamples at a time."""
    for start in range(0, resamples, _CHUNK):
        count = min(_CHUNK, resamples - start)
        drawn = random.integers(images, size=(count, images))
        flat = drawn + np.arange(count)[:, None] * images
        times = np.bincount(flat.ravel(), minlength=count * images).reshape(count, images)
        yield np.ascontiguousarray(times.T, dtype=np.float64)


@dataclasses.dataclass(frozen=True, eq=False)
class _Class:
    """The detections of a class, reduced to where precision can peak: those that find a box.

    ``groups``: (points, images) the detections up to each of those points, after the one before,
    counted by image; ``truth``: (images,) boxes to find. By threshold: the ``points`` that find a
    box, their ``images``, and the ``ignored`` detections in the manner of ``groups``, if any.
    """

    groups: sparse.csr_array
    truth: npt.NDArray[np.int64]
    points: list[npt.NDArray[np.int64]]
    images: list[npt.NDArray[np.int64]]
    ignored: list[sparse.csr_array | None]

    def average_precision(self, weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Mean over the thresholds; NaN where there is no box to find. See ``_Side``."""
        boxes = self.truth @ weights
        detected = np.cumsum(self.groups @ weights, axis=0)
        found = np.zeros(weights.shape[1])
        for threshold in range(len(self.points)):
            if not len(self.points[threshold]):
                continue
            counted, ignored = detected, self.ignored[threshold]
            if ignored is not None:
                counted = detected - np.cumsum(ignored @ weights, axis=0)
            width = max(16, _CACHED // len(self.points[threshold]))
            for start in range(0, weights.shape[1], width):
                part = slice(start, start + width)
                found[part] += _area(
                    weights[:, part][self.images[threshold]],
                    counted[:, part][self.points[threshold]],
                    boxes[part],
                )
        return np.where(boxes > 0, found / len(self.points), np.nan)


def _area(
    hits: npt.NDArray[np.float64], counted: npt.NDArray[np.float64], boxes: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Precision read at COCO's recall points, their mean: (resamples,).

    ``hits`` (points, resamples): boxes found by each point; ``counted``: detections up to there;
    ``boxes`` (resamples,): boxes to find. As ``pycocotools.cocoeval.COCOeval.accumulate``.
    """
    hits = np.cumsum(hits, axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):  # 0/0: nothing was drawn
        precision = np.where(counted > 0, hits / counted, 0.0)
    # The best precision at this recall or a higher one.
    best = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    reached = _recall_points(hits, boxes)
    reached[1:] -= reached[:-1].copy()
    area: npt.NDArray[np.float64] = np.einsum("ij,ij->j", reached, best) / len(RECALLS)
    return area


def _recall_points(
    hits: npt.NDArray[np.float64], boxes: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """How many of ``RECALLS`` the recall reaches: (points, resamples).

    Arithmetic instead of a search, which takes three times as long. They differ where the recall is
    one of COCO's points that are not the nearest number to a hundredth (0.35, 0.41, …): the boxes
    are a multiple of ten there.
    """
    with np.errstate(invalid="ignore", divide="ignore"):  # no box was drawn
        reached: npt.NDArray[np.float64] = np.floor(hits * (100 / boxes) + _ROUNDING) + 1
        exact = boxes % 10 == 0
        reached[:, exact] = np.searchsorted(RECALLS, hits[:, exact] / boxes[exact], side="right")
    return reached


class _Side:
    """Scores one side where each image counts as often as its weight says."""

    def __init__(self, classes: Sequence[_Class]) -> None:
        self._classes = classes

    def average_precision(self, weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """``weights``: (images, resamples), whole numbers; gives (resamples,).

        The mean over the classes that have a box to find, as COCO's; NaN where none has.
        """
        total, present = np.zeros(weights.shape[1]), np.zeros(weights.shape[1])
        for one in self._classes:
            value = one.average_precision(weights)
            there = ~np.isnan(value)
            total += np.where(there, value, 0.0)
            present += there
        with np.errstate(invalid="ignore"):
            mean: npt.NDArray[np.float64] = total / present
        return mean


def _prepared(images: Sequence[ImageLabels], predictions: Predictions, figure: MapFigure) -> _Side:
    matched = match(images, predictions)
    if not matched:
        raise BadInputError(
            "no box of the images to score on is of a class that the model has",
            remedy="Score on more images, or on the data set that the model was trained for.",
        )
    thresholds = len(IOU_THRESHOLDS) if figure == "map50_95" else 1
    return _Side([_reduced(one, thresholds) for one in matched])


def _reduced(matches: ClassMatches, thresholds: int) -> _Class:
    found, ignored = matches.found[:thresholds], matches.ignored[:thresholds]
    places = np.flatnonzero(found.any(axis=0))
    points = [np.flatnonzero(row[places]) for row in found]
    everything = np.ones(len(matches.image), dtype=np.bool_)
    return _Class(
        groups=_counted(everything, matches, places),
        truth=matches.truth,
        points=points,
        images=[matches.image[places[index]] for index in points],
        ignored=[_counted(row, matches, places) if row.any() else None for row in ignored],
    )


def _counted(
    which: npt.NDArray[np.bool_], matches: ClassMatches, places: npt.NDArray[np.int64]
) -> sparse.csr_array:
    """(places, images): of the detections ``which``, how many lie up to each place, by image."""
    from scipy import sparse

    chosen = np.flatnonzero(which)
    group = np.searchsorted(places, chosen)  # the first place at or after the detection
    inside = group < len(places)  # those after the last place move no peak
    entries = (np.ones(int(inside.sum())), (group[inside], matches.image[chosen[inside]]))
    return sparse.csr_array(entries, shape=(len(places), len(matches.truth)))

"""How far an agreement carries: a jackknife over groups of images.

Agreement is one ranking over all boxes, and resampling it thousands of times would take minutes.
Leaving out one group of images at a time takes as many evaluations as there are groups (Efron and
Tibshirani, An Introduction to the Bootstrap, 1993, chapter 11; Shao and Tu, The Jackknife and
Bootstrap, 1995, section 2.3, on groups).
"""

from __future__ import annotations

import math
import statistics
from pathlib import Path

from deploymark.backends.agreement import Boxes, box_agreement
from deploymark.bench.score.fidelity import deployed_boxes
from deploymark.bench.statistics.intervals import CONFIDENCE, Interval
from deploymark.bench.worker.detections import load_detections

GROUPS = 20
"""Twenty have a t quantile within 7 % of the normal one."""

_FEWEST_IMAGES = 2


def agreement_interval(reference: Path, candidate: Path) -> Interval | None:
    """95 % interval of the agreement of two files of boxes, within [0, 1]; None for one image.

    Raises OSError or ValueError where a file cannot be read, ValueError where the two differ in
    the number of images.
    """
    one, other = _boxes(reference), _boxes(candidate)
    if len(one) != len(other):
        raise ValueError(f"{reference} and {candidate} are of different images")
    groups = min(GROUPS, len(one))
    if groups < _FEWEST_IMAGES:
        return None
    left_out = [
        box_agreement(*(_without(side, group, groups) for side in (one, other)))
        for group in range(groups)
    ]
    centre = box_agreement(one, other)
    mean = statistics.fmean(left_out)
    error = math.sqrt((groups - 1) / groups * sum((value - mean) ** 2 for value in left_out))
    from scipy import stats  # slow to import, and not every command computes an interval

    reach = float(stats.t.ppf(0.5 + CONFIDENCE / 2, groups - 1)) * error
    return max(0.0, centre - reach), min(1.0, centre + reach)


def _boxes(path: Path) -> list[Boxes]:
    return [deployed_boxes(image) for image in load_detections(path)]


def _without(images: list[Boxes], group: int, groups: int) -> list[Boxes]:
    """All images but every ``groups``-th, from the ``group``-th on."""
    return [image for index, image in enumerate(images) if index % groups != group]

"""How much mAP50-95 a changed detector lost, and how far that carries to other images.

Few images judge a recipe, so the drop that they show is an estimate. Both detectors see the same
images, which takes most of the noise out of the difference, and the noise that is left is estimated
by the delete-a-group jackknife (Kott, The Delete-a-Group Jackknife, 2001; Efron & Tibshirani, An
Introduction to the Bootstrap, 1993, chapter 11): it takes a score of each group left out, where the
bootstrap takes hundreds.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from deploymark.backends.base import UnavailableError
from deploymark.bench.data.training_data import identity
from deploymark.bench.score.average_precision import score
from deploymark.bench.variants.evaluate import Evaluator
from deploymark.bench.worker.detections import Detections

if TYPE_CHECKING:
    from torch import nn

GROUPS_MIN, GROUPS_MAX = 8, 20
"""Fewer groups tell too little of the noise; more cost a score each and tell little more."""

_NORMAL_95 = 1.645
"""Standard errors above the estimate that 95 % of a normal distribution lie below."""

_OTHER_IMAGES = math.sqrt(2)
"""The drop on as many other images, which scatters as much as the estimate itself, differs from the
estimate by so many of its standard errors (that of a difference of two)."""


@dataclasses.dataclass(frozen=True)
class Drop:
    """A drop of mAP50-95, in [-1, 1]: the estimate, its standard error, the score that is left."""

    map50_95: float
    value: float
    standard_error: float

    @property
    def bound(self) -> float:
        """What the drop on as many other images stays below, 19 times of 20."""
        return self.value + _NORMAL_95 * _OTHER_IMAGES * self.standard_error


class PairedDrop:
    """Measures drops against ``module``, a detector before fusing, on the evaluator's images.

    ``groups`` are left out at most, one after the other. Raises UnavailableError where fewer than
    ``GROUPS_MIN`` images have boxes.
    """

    def __init__(
        self, evaluator: Evaluator, module: nn.Module, *, groups: int = GROUPS_MAX
    ) -> None:
        self._evaluator = evaluator
        has_boxes = [len(image.boxes) > 0 for image in evaluator.images]
        self._kept = _without_each_group(has_boxes, groups)
        self._classes = int(module.model[-1].nc)
        self._before, self._before_groups = self._scores(module)

    @property
    def before(self) -> float:
        """mAP50-95 of the module that drops are measured against."""
        return self._before

    def of(self, module: nn.Module) -> Drop:
        """The drop of ``module``, a detector before fusing, left as it is."""
        after, after_groups = self._scores(module)
        drops = np.array(self._before_groups) - np.array(after_groups)
        groups = len(drops)
        variance = (groups - 1) / groups * float(((drops - drops.mean()) ** 2).sum())
        return Drop(after, self._before - after, math.sqrt(variance))

    def _scores(self, module: nn.Module) -> tuple[float, list[float]]:
        """mAP50-95 on all images, and without each group."""
        found = self._evaluator.detections(module)
        everywhere = self._score(found, range(len(found)))
        return everywhere, [self._score(found, kept) for kept in self._kept]

    def _score(self, found: Sequence[Detections], kept: Sequence[int]) -> float:
        images, geometries = self._evaluator.images, self._evaluator.geometries
        return score(
            [images[index] for index in kept],
            [found[index] for index in kept],
            [geometries[index] for index in kept],
            identity(self._classes),
        ).map50_95


def _without_each_group(has_boxes: Sequence[bool], most: int) -> list[list[int]]:
    """The positions that are left without each group; the images with boxes are dealt evenly."""
    labelled = sum(has_boxes)
    if labelled < GROUPS_MIN:
        raise UnavailableError(
            f"{labelled} of the {len(has_boxes)} images held out of the train split have boxes,"
            f" and {GROUPS_MIN} are needed to tell how sure a drop of mAP is",
            remedy="Give a train split with more labelled images.",
        )
    order = sorted(range(len(has_boxes)), key=lambda index: not has_boxes[index])
    groups = min(most, labelled)
    dealt = [set(order[start::groups]) for start in range(groups)]
    return [[index for index in range(len(has_boxes)) if index not in out] for out in dealt]

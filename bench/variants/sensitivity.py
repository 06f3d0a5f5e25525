"""Sensitivity of a detector's blocks to pruning: mAP50-95 against the amount, one block at a time.

The blocks are pruned alone, by several amounts, and the mAP50-95 that is left is measured without
training: the sensitivity analysis of Li et al., Pruning Filters for Efficient ConvNets (2017),
section 3.2, and of Han et al., Learning both Weights and Connections for Efficient Neural Networks
(2015), section 3.5.

A block is a top-level layer of the model that holds convolutions to prune, ``model.6 C3k2``.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from deploymark.bench.data.labels import ImageLabels
from deploymark.bench.variants.evaluate import Evaluator
from deploymark.bench.variants.paired_drop import Drop, PairedDrop
from deploymark.bench.variants.prune import Scope, prunable, zero_smallest

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import nn

AMOUNTS = (0.3, 0.5, 0.7, 0.9)
"""The amounts that each block is measured at."""

SCAN_IMAGES = 64
"""Images that blocks are measured on, evenly taken from the selection images: they only compare
blocks with each other. With them YOLO11n takes about four minutes on one core at 320 pixels."""

SCAN_GROUPS = 10
"""Groups of the jackknife there: half as many scores as for the drop that decides."""

Blocks = Mapping[str, Sequence["nn.Conv2d"]]
"""The convolutions to prune of each block, by the block's name."""


@dataclasses.dataclass(frozen=True)
class Point:
    """What the model lost with the block ``layer`` pruned by ``amount``, in (0, 1), alone."""

    layer: str
    amount: float
    drop: Drop


@dataclasses.dataclass(frozen=True)
class Curve:
    """What pruning a block costs. ``amounts`` and ``costs``: float64 (n,), rising from 0, 0.

    Between the amounts measured it is a straight line.
    """

    amounts: npt.NDArray[np.float64]
    costs: npt.NDArray[np.float64]

    def amount(self, cost: float) -> float:
        """The amount that costs so much, at most the largest measured."""
        return float(np.interp(cost, self.costs, self.amounts))


def blocks_of(module: nn.Module) -> Blocks:
    """The blocks of a detector before fusing, in the order of the model."""
    wanted = {id(layer) for layer in prunable(module)}
    found = {
        f"model.{index} {type(block).__name__}": [
            layer for layer in block.modules() if id(layer) in wanted
        ]
        for index, block in enumerate(module.model)
    }
    return {name: layers for name, layers in found.items() if layers}


def scan_evaluator(evaluator: Evaluator) -> Evaluator:
    """An evaluator of ``SCAN_IMAGES`` of the images, taken evenly; the same where it has no more.

    Images without boxes are taken last: they tell little of what a block is good for.
    """
    images = evaluator.images
    if len(images) <= SCAN_IMAGES:
        return evaluator
    labelled = [image for image in images if len(image.boxes)]
    rest = [image for image in images if not len(image.boxes)]
    chosen = _evenly(labelled, SCAN_IMAGES)
    chosen += _evenly(rest, SCAN_IMAGES - len(chosen))
    return Evaluator(chosen, evaluator.imgsz, evaluator.head)


def scan(
    module: nn.Module,
    blocks: Blocks,
    drops: PairedDrop,
    most: float,
    scope: Scope,
    say: Callable[[str], None],
) -> list[Point]:
    """What pruning each block alone by each of ``AMOUNTS`` loses; the module is left as it was.

    ``drops`` measures against ``module``. Larger amounts of a block that lost more mAP50-95 than
    ``most`` are left out.
    """
    points: list[Point] = []
    for number, (name, layers) in enumerate(blocks.items(), 1):
        for amount in AMOUNTS:
            with restored(layers):
                zero_smallest(layers, amount, scope=scope)
                drop = drops.of(module)
            points.append(Point(name, amount, drop))
            say(
                f"sensitivity: block {number} of {len(blocks)}, {name}, {amount:.0%} pruned: "
                f"mAP50-95 {drop.map50_95:.3f}"
            )
            if drop.value > most:
                break
    return points


def curve(points: Sequence[Point], layer: str, least: float) -> Curve:
    """What a block may have lost (``Drop.bound``), against its amount.

    By the bound, a block whose zeros changed nothing is told from one whose loss these images do
    not show. Where a larger amount lost less, which is noise, the larger drop counts. ``least``
    times the amount is added, so that the curve rises and no cost allows no amount.
    """
    own = [point for point in points if point.layer == layer]
    amounts = np.array([0.0, *(point.amount for point in own)])
    costs = np.array([0.0, *(point.drop.bound for point in own)])
    return Curve(amounts, np.maximum.accumulate(costs) + least * amounts)


@contextlib.contextmanager
def restored(layers: Sequence[nn.Conv2d]) -> Iterator[None]:
    """Give the layers the weights back that they have now."""
    weights = [layer.weight.detach().clone() for layer in layers]
    try:
        yield
    finally:
        for layer, weight in zip(layers, weights, strict=True):
            layer.weight.data.copy_(weight)


def _evenly(images: Sequence[ImageLabels], count: int) -> list[ImageLabels]:
    count = min(count, len(images))
    return [images[index * len(images) // count] for index in range(count)]

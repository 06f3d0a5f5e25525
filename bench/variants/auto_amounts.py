"""``amount: auto``: as many zeros as a given drop of mAP50-95 allows, by the blocks' sensitivity.

Each block gets the amount at which it alone would lose a tolerated drop, the same for all blocks,
so that blocks that bear little are pruned little (Han et al., Learning both Weights and Connections
for Efficient Neural Networks, 2015, section 3.5: thresholds by sensitivity). The tolerance is the
largest with which the model, pruned in all blocks at once, stays within the limit, by bisection.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from deploymark.bench.matrix.steps import PruneStep
from deploymark.bench.variants.apply import Record, StepContext
from deploymark.bench.variants.evaluate import selection_evaluator
from deploymark.bench.variants.paired_drop import Drop, PairedDrop
from deploymark.bench.variants.prune import Scope, zero_smallest
from deploymark.bench.variants.sensitivity import (
    SCAN_GROUPS,
    Blocks,
    Curve,
    Point,
    blocks_of,
    curve,
    restored,
    scan,
    scan_evaluator,
)

if TYPE_CHECKING:
    from torch import nn

LOST_TIMES = 10
"""A block that alone lost so many times what the whole model may lose is measured no further."""

_LEAST = 0.1
"""What pruning all blocks whole costs at the least, as a share of the limit."""

_TRIALS = 8
"""Halvings of the range of tolerances, by their cube roots: the joint drop is the sum of many
blocks', so that the tolerance of one is a small share of the limit, found in small steps."""


@dataclasses.dataclass(frozen=True)
class _Choice:
    """The amount of each block, and what the model pruned by them lost."""

    amounts: Mapping[str, float]
    drop: Drop


def prune_by_sensitivity(module: nn.Module, step: PruneStep, context: StepContext) -> Record:
    """Give each block the amount that its sensitivity allows, in place; returns the record.

    The drop is that of mAP50-95 against ``module`` as it came, on the selection images. It stays
    within ``step.max_drop`` with a margin for the noise of few images (``Drop.bound``), so that it
    holds on other images, too. Nothing is pruned where no amount keeps that.

    Raises UnavailableError where there are no selection images, or too few with boxes, and
    UnsupportedError where there is nothing to prune.
    """
    limit = step.max_drop or 0.0
    evaluator, blocks = selection_evaluator(context), blocks_of(module)
    few = scan_evaluator(evaluator)
    context.say("sensitivity: mAP50-95 before pruning")
    drops = PairedDrop(evaluator, module)
    alone = PairedDrop(few, module, groups=SCAN_GROUPS)
    points = scan(module, blocks, alone, LOST_TIMES * limit, step.scope, context.say)
    curves = {name: curve(points, name, _LEAST * limit / len(blocks)) for name in blocks}
    choice = _largest(module, blocks, curves, drops, limit, step.scope, context.say)
    _prune(blocks, choice.amounts, step.scope)
    return {
        "sensitivity": [_row(point) for point in points],
        "sensitivity_dense_map50_95": alone.before,
        "sensitivity_images": len(few.images),
        "amounts": dict(choice.amounts),
        "selection_images": len(evaluator.images),
        "dense_map50_95": drops.before,
        "map50_95_after": choice.drop.map50_95,
        "drop_standard_error": choice.drop.standard_error,
        "max_drop": limit,
        "notes": [_note(blocks, choice, limit, len(evaluator.images))],
    }


def _largest(
    module: nn.Module,
    blocks: Blocks,
    curves: Mapping[str, Curve],
    drops: PairedDrop,
    limit: float,
    scope: Scope,
    say: Callable[[str], None],
) -> _Choice:
    """The largest amounts found with which the whole model stays within the limit."""
    best = _Choice(dict.fromkeys(blocks, 0.0), Drop(drops.before, 0.0, 0.0))
    low, high = 0.0, 1.0
    for trial in range(1, _TRIALS + 1):
        middle = (low + high) / 2
        amounts = {name: one.amount(limit * middle**3) for name, one in curves.items()}
        with restored([layer for layers in blocks.values() for layer in layers]):
            _prune(blocks, amounts, scope)
            drop = drops.of(module)
        say(
            f"amounts: trial {trial} of {_TRIALS}, {_share(blocks, amounts):.0%} pruned: drop "
            f"{drop.value:.4f}, {drop.bound:.4f} with its margin, {limit:g} allowed"
        )
        if drop.bound <= limit:
            low, best = middle, _Choice(amounts, drop)
        else:
            high = middle
    return best


def _row(point: Point) -> Record:
    return {
        "layer": point.layer,
        "amount": point.amount,
        "map50_95": point.drop.map50_95,
        "drop_standard_error": point.drop.standard_error,
    }


def _prune(blocks: Blocks, amounts: Mapping[str, float], scope: Scope) -> None:
    for name, layers in blocks.items():
        zero_smallest(layers, amounts[name], scope=scope)


def _share(blocks: Blocks, amounts: Mapping[str, float]) -> float:
    """The share of the blocks' weights that the amounts prune."""
    sizes = {
        name: sum(int(layer.weight.numel()) for layer in layers) for name, layers in blocks.items()
    }
    return sum(amounts[name] * size for name, size in sizes.items()) / sum(sizes.values())


def _note(blocks: Blocks, choice: _Choice, limit: float, images: int) -> str:
    if not any(choice.amounts.values()):
        return (
            f"nothing was pruned: on {images} images no amount tried is sure to lose at most "
            f"{limit:g} mAP50-95"
        )
    amounts = choice.amounts.values()
    return (
        f"{_share(blocks, choice.amounts):.1%} of the weights pruned, {min(amounts):.0%} to "
        f"{max(amounts):.0%} of a block; mAP50-95 fell by {choice.drop.value:.4f} on the {images} "
        f"selection images (standard error {choice.drop.standard_error:.4f})"
    )

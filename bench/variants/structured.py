"""Structured pruning: whole channels go, so that every runtime has less to compute."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deploymark.backends.base import UnavailableError, UnsupportedError
from deploymark.backends.inputs import Size, square_input
from deploymark.bench.data.images import letterboxed
from deploymark.bench.matrix.steps import StructuredStep
from deploymark.bench.variants.apply import StepContext, merged
from deploymark.bench.variants.batch_norm import lacks_statistics, restore_statistics
from deploymark.bench.variants.channels import Widths, family, output_channels, prune_channels
from deploymark.bench.variants.checkpoint import exportable
from deploymark.bench.variants.evaluate import selection_evaluator
from deploymark.bench.variants.model_counts import count_macs
from deploymark.bench.worker.letterbox import to_input

if TYPE_CHECKING:
    import torch
    from torch import nn

_HIGHEST_RATIO = 0.99
_HALVINGS = 8
"""Of the interval of ratios, to 0.004: one channel in a layer of 256."""

_REMEDY = "Prune it without changing its shape: kind: l1."

_RECALIBRATION_IMAGES, _RECALIBRATION_BATCH = 64, 16


@dataclasses.dataclass(frozen=True)
class _Cost:
    """Of the module as it is exported: ``shape`` and ``finite`` are its output's."""

    macs: int
    params: int
    shape: tuple[int, ...]
    finite: bool


@dataclasses.dataclass(frozen=True)
class _Attempt:
    module: nn.Module
    ratio: float
    widths: Widths


def run(
    module: nn.Module,
    step: StructuredStep,
    context: StepContext,
    start: Mapping[str, int] | None = None,
) -> tuple[nn.Module, dict[str, Any]]:
    """Carry out a ``structured`` step (see ``bench.variants.apply.run_step``).

    Where there are training images, batch normalisation is set to the pruned network by
    ``recalibrate``, and the record tells mAP50-95 before and after. ``start`` is for pruning in
    several cycles: the widths that the step's ratio is a share of (``prune_channels``).
    """
    images = _recalibration_images(context)
    notes = []
    if images and lacks_statistics(module):
        module = copy.deepcopy(module)
        restore_statistics(module, _batches(images, context.imgsz))
        notes = [f"lost statistics of batch normalisation measured on {len(images)} images"]
    before = _cost(module, context.imgsz, context.head)
    if step.ratio is None:
        attempt = _within_macs(module, step, context)
    else:
        attempt = _attempted(module, step, step.ratio, start=start)
    pruned, widths = attempt.module, attempt.widths
    after = _cost(pruned, context.imgsz, context.head)
    if after.shape != before.shape or not after.finite:
        raise UnsupportedError(
            f"the output of {family(module)} after pruning has shape {after.shape}, "
            f"{before.shape} before{'' if after.finite else ', and is not finite'}",
            remedy=_REMEDY,
        )
    record: dict[str, Any] = {
        "ratio": round(attempt.ratio, 4),
        "macs_before": before.macs,
        "macs_after": after.macs,
        "params_before": before.params,
        "params_after": after.params,
        "layers_pruned": widths.pruned,
        "layers_kept": widths.kept,
        "notes": [*notes, _note(widths)],
    }
    if not images:
        return pruned, record
    context.say(f"batch normalisation from {len(images)} training images")
    recalibrate(pruned, images, context.imgsz)
    try:
        evaluator = selection_evaluator(context)
    except UnavailableError as error:  # the step itself needs no labels
        record["notes"].append(f"mAP50-95 not measured: {error.message}")
        return pruned, record
    return pruned, merged(
        record,
        map50_95_before=evaluator.map50_95(module),
        map50_95_after=evaluator.map50_95(pruned),
    )


def _note(widths: Widths) -> str:
    percent, layers = 100 * widths.share_removed, widths.pruned + widths.kept
    return f"{percent:.0f} % of the channels removed, in {widths.pruned} of {layers} convolutions"


def recalibrate(module: nn.Module, images: list[Path], imgsz: int) -> None:
    """Take the mean and variance of every batch normalisation anew, from images without labels.

    Those of the network before pruning describe other values (adaptive batch normalisation: Li et
    al., EagleEye: Fast Sub-net Evaluation for Efficient Neural Network Pruning, ECCV 2020). In
    place; no weight changes. The plain average over batches of images letterboxed to ``imgsz``.
    Not for networks that lost their statistics, which compute with none of them
    (``bench.variants.batch_norm``): restore these first.
    """
    import torch
    from torch import nn

    layers = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
    training, momenta = module.training, [layer.momentum for layer in layers]
    module.eval()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the average over all batches
        layer.train()
    with torch.no_grad():
        for batch in _batches(images, imgsz):
            module(batch)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    module.train(training)


def _batches(images: list[Path], imgsz: int) -> Iterator[torch.Tensor]:
    """Float32 (batch, 3, imgsz, imgsz) in [0, 1]."""
    import torch

    for start in range(0, len(images), _RECALIBRATION_BATCH):
        paths = images[start : start + _RECALIBRATION_BATCH]
        pixels = np.stack([letterboxed(path, square_input(imgsz))[0] for path in paths])
        yield torch.from_numpy(to_input(pixels))


def _recalibration_images(context: StepContext) -> list[Path]:
    """Some of the training images, chosen by the seed."""
    paths = [] if context.data is None else [image.path for image in context.data.training]
    count = min(_RECALIBRATION_IMAGES, len(paths))
    chosen = np.random.default_rng(context.seed).choice(len(paths), count, replace=False)
    return [paths[index] for index in sorted(chosen)]


def _cost(module: nn.Module, imgsz: int, head: str) -> _Cost:
    """What a copy of ``module``, a detector before fusing, costs when it is exported."""
    import torch

    ready = exportable(copy.deepcopy(module), Size.of(imgsz), head=head)
    try:
        macs, output = count_macs(ready, Size.of(imgsz))
    except RuntimeError as error:  # of torch, where shapes do not fit
        raise UnsupportedError(
            f"{family(module)} does not run at {imgsz} pixels: {error}", remedy=_REMEDY
        ) from error
    params = sum(parameter.numel() for parameter in ready.parameters())
    return _Cost(macs, params, tuple(output.shape), bool(torch.isfinite(output).all()))


def _attempted(
    module: nn.Module,
    step: StructuredStep,
    ratio: float,
    *,
    exceptions: Mapping[str, float] | None = None,
    start: Mapping[str, int] | None = None,
) -> _Attempt:
    """A pruned copy."""
    pruned = copy.deepcopy(module)
    widths = prune_channels(
        pruned,
        ratio,
        importance=step.importance,
        scope=step.scope,
        round_to=step.round_to,
        exceptions=exceptions,
        start=start,
    )
    return _Attempt(pruned, ratio, widths)


def _within_macs(module: Any, step: StructuredStep, context: StepContext) -> _Attempt:
    """A copy that keeps no more than the asked share of the MACs, and little less.

    Bisection finds the lowest ratio that does. There, many layers lose ``round_to`` channels at
    once; so the first layers are then given the ratio just below, as many as the MACs allow.
    """
    from deploymark.bench.variants.split_blocks import split_blocks

    target = step.macs or 1.0
    split = copy.deepcopy(module)
    split_blocks(split)
    # The share does not depend on the size, every feature map grows with the image.
    small = 2 * int(max(split.stride))
    whole = _cost(split, small, context.head).macs

    def attempt(ratio: float, spared: Mapping[str, float] | None = None) -> tuple[_Attempt, float]:
        tried = _attempted(split, step, ratio, exceptions=spared)
        share = _cost(tried.module, small, context.head).macs / whole
        context.say(f"ratio {ratio:.3f} leaves {100 * share:.1f} % of the MACs")
        return tried, share

    low, (best, least) = 0.0, attempt(_HIGHEST_RATIO)
    if least > target:
        raise UnsupportedError(
            f"{family(module)} keeps {100 * least:.1f} % of its MACs at the least, with channels "
            f"in multiples of {step.round_to}: {100 * target:g} % are out of reach",
            remedy="Allow more MACs, or use a smaller round_to.",
        )
    for _ in range(_HALVINGS):
        tried, share = attempt((low + best.ratio) / 2)
        if share <= target:
            best = tried
        else:
            low = tried.ratio
    if step.scope == "global":  # one ranking of all layers, so one ratio
        return best
    names = list(output_channels(split))
    spared, too_many = 0, len(names)
    while too_many - spared > 1:
        count = (spared + too_many) // 2
        tried, share = attempt(best.ratio, dict.fromkeys(names[:count], low))
        if share <= target:
            spared, best = count, tried
        else:
            too_many = count
    return best

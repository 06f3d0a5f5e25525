"""Quantization-aware training: the model learns to live with the rounding of INT8.

Batch normalisation is folded first, so that the weights that are rounded are those that ship; then
the learned convolutions round what they take, weigh and give, with ranges chosen on training images
and kept (``qat_ranges``), and the model is trained on (Jacob et al., 2018; Krishnamoorthi,
Quantizing Deep Convolutional Networks for Efficient Inference, 2018).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from deploymark.backends.base import UnsupportedError
from deploymark.backends.inputs import square_input
from deploymark.bench.data.images import letterboxed
from deploymark.bench.matrix.steps import QatStep
from deploymark.bench.variants.apply import Record, StepContext, merged
from deploymark.bench.variants.evaluate import selection_evaluator
from deploymark.bench.variants.prune import learned_convolutions
from deploymark.bench.variants.training import train
from deploymark.bench.variants.training_set import training_images
from deploymark.bench.worker.letterbox import to_input

if TYPE_CHECKING:
    import torch
    from torch import nn

    from deploymark.bench.variants.qat_modules import FakeQuantizedConv2d

_BATCH = 8
"""Images at a time when measuring ranges."""


def run(module: nn.Module, step: QatStep, context: StepContext) -> tuple[nn.Module, Record]:
    """Carry out a ``qat`` step (see ``bench.variants.apply.run_step``).

    The record is that of ``train`` (``map50_95_before`` is the model's with rounding and before
    training, which is INT8 without it) and ``map50_95_float``, that of the model without rounding,
    ``quantized_convolutions`` and ``calibration_images``. Raises UnsupportedError where the model
    has no convolution, besides what ``train`` raises.
    """
    from deploymark.bench.variants.qat_modules import without_fake_quantization
    from deploymark.bench.variants.qat_ranges import calibrate

    imgsz = step.imgsz or context.imgsz
    seed = context.seed if step.seed is None else step.seed
    images = training_images(context.data, images=step.images, batch=step.batch, seed=seed)
    order = np.random.default_rng(seed).permutation(len(images))[: step.calibration_images]
    without_fake_quantization(module)
    context.say("score the model without rounding")
    before = selection_evaluator(context, imgsz).map50_95(module)
    fold_batch_norm(module)
    layers = fake_quantize(module)
    context.say(f"measure ranges on {len(order)} images")
    calibrate(module, layers, _batches([images[index].path for index in order], imgsz))
    trained, record = train(module, step, context)
    return trained, merged(
        record,
        map50_95_float=before,
        quantized_convolutions=len(layers),
        calibration_images=len(order),
    )


def fold_batch_norm(module: Any) -> None:
    """Fold batch normalisation into the convolutions, in place, both branches of a head kept.

    Ultralytics' own fusing, without what it does to the head: the loss reads both branches.
    """
    head = module.model[-1]
    head.fuse = lambda: None
    try:
        module.fuse(verbose=False)
    finally:
        del head.fuse
    for parameter in module.parameters():
        parameter.requires_grad_(requires_grad=True)


def fake_quantize(module: Any) -> list[FakeQuantizedConv2d]:
    """Replace the learned convolutions by fake-quantized ones, in place; returns them.

    ``module`` is a detector with batch normalisation folded. The first convolution's weights get 7
    bits, as in ``backends.onnxruntime.quantize``: fed by pixels of the full range, it is the layer
    that overflows. The outputs of the head's last convolutions are not rounded: 256 levels from the
    lowest to the highest logit make ties of scores (a YOLO11n not yet trained with rounding scored
    a mAP50-95 of 0.299 with it and 0.302 without on 100 COCO photos, 0.311 in FP32). Raises
    UnsupportedError where there is no convolution.
    """
    from deploymark.bench.variants.qat_modules import FakeQuantizedConv2d, replace_convolutions

    plain = learned_convolutions(module)
    if not plain:
        raise UnsupportedError("the model has no convolution to be quantized")
    last = _last_convolutions(module.model[-1])
    made = {
        layer: FakeQuantizedConv2d.of(layer, seven_bits=index == 0, rounds_output=layer not in last)
        for index, layer in enumerate(plain)
    }
    replace_convolutions(module, made)
    return list(made.values())


def _last_convolutions(head: nn.Module) -> set[nn.Module]:
    """Those of a head that give boxes and scores: no ``Conv`` with an activation is around them."""
    from torch import nn

    return {
        layer
        for name, layer in head.named_modules()
        if isinstance(layer, nn.Conv2d) and not name.endswith(".conv")
    }


def _batches(paths: list[Any], imgsz: int) -> list[torch.Tensor]:
    import torch

    spec = square_input(imgsz)
    pixels = np.stack([letterboxed(path, spec)[0] for path in paths])
    return [
        torch.from_numpy(to_input(pixels[start : start + _BATCH]))
        for start in range(0, len(pixels), _BATCH)
    ]

"""Quantization-aware training: rounding that is trained with, kept in checkpoints and taken out."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deploymark.backends.base import UnavailableError, UnsupportedError
from deploymark.backends.inputs import Size
from deploymark.bench.matrix.steps import PruneStep, QatStep
from deploymark.bench.variants.apply import StepContext, run_step

pytestmark = [pytest.mark.heavy, pytest.mark.alone]

LEARNED = 87
"""The convolutions of YOLO11n but the one of the decode."""

OUTPUTS = 6
"""Convolutions that give the boxes and the scores of three strides."""

STEP = QatStep(kind="qat", epochs=1, batch=8, calibration_images=8)


def rounding_layers(module: Any) -> list[Any]:
    from deploymark.bench.variants.qat_modules import fake_quantized

    return fake_quantized(module)


def codes(layer: Any) -> Any:
    """The weights in multiples of their scale."""
    return (layer.weight / layer.weight_scale.view(-1, 1, 1, 1)).detach().round()


def predictions(module: Any, imgsz: int = 96) -> Any:
    """Raw predictions for an image of noise; ``module`` is left as it is."""
    import torch

    from deploymark.bench.variants.checkpoint import exportable

    image = torch.rand(1, 3, imgsz, imgsz, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return exportable(copy.deepcopy(module), Size.of(imgsz))(image).numpy()


def test_a_step_trains_with_rounding_and_says_so(
    detector: Any, step_context: Callable[..., StepContext], tmp_path: Path
) -> None:
    import torch

    from deploymark.bench.variants.checkpoint import (
        float_nodes,
        load_detector,
        model_factory,
        save_detector,
    )
    from deploymark.bench.variants.model_counts import count_macs

    context = step_context(training=16)
    macs, _ = count_macs(copy.deepcopy(detector).eval(), 96)
    pruned, _ = run_step(detector, PruneStep(kind="l1", amount=0.5), context)
    zeros = {
        name: weight == 0
        for name, weight in pruned.state_dict().items()
        if name.endswith("conv.weight") and "dfl" not in name
    }
    assert sum(int(mask.sum()) for mask in zeros.values()) > 1_000_000
    trained, record = run_step(pruned, STEP, context)

    layers = rounding_layers(trained)
    assert len(layers) == record["quantized_convolutions"] == LEARNED
    assert record["calibration_images"] == 8
    assert record["epochs"] == len(record["history"]) == 1
    for key in ("map50_95_float", "map50_95_before", "map50_95_after"):
        assert 0 <= record[key] <= 1
    assert [layer.seven_bits for layer in layers] == [True] + [False] * (LEARNED - 1)
    assert all(float(layer.input_scale) != 1 for layer in layers)
    assert sum(not layer.rounds_output for layer in layers) == OUTPUTS
    state = trained.state_dict()
    assert all(not state[name][mask].any() for name, mask in zeros.items())
    assert all(int(codes(layer).abs().max()) <= 127 for layer in layers)
    assert int(codes(layers[0]).abs().max()) == 63
    assert count_macs(trained, 96)[0] == macs

    # The checkpoint keeps it; what other precisions are given has the trained weights alone.
    path = tmp_path / "qat.pt"
    save_detector(trained, path)
    np.testing.assert_array_equal(predictions(load_detector(path)), predictions(trained))
    rounding = model_factory(path, 96, fake_quantized=True)()
    assert len(rounding_layers(rounding)) == LEARNED
    plain = model_factory(path, 96)()
    assert rounding_layers(plain) == []
    assert float_nodes(plain) == float_nodes(rounding)
    assert plain.state_dict().keys() < rounding.state_dict().keys()
    for name, weight in plain.state_dict().items():
        torch.testing.assert_close(weight, state[name], rtol=0, atol=0)
    assert np.abs(predictions(trained) - plain(_noise()).numpy()).max() > 0


def _noise() -> Any:
    import torch

    return torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))


def test_folding_keeps_what_the_model_computes(detector: Any) -> None:
    from torch import nn

    from deploymark.bench.variants.qat import fold_batch_norm

    expected = predictions(detector)
    fold_batch_norm(detector)
    assert not [layer for layer in detector.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert all(parameter.requires_grad for parameter in detector.parameters())
    np.testing.assert_allclose(predictions(detector), expected, rtol=1e-4, atol=1e-3)


def test_both_branches_of_a_head_are_rounded_and_either_is_exported() -> None:
    from ultralytics.nn.tasks import DetectionModel

    from deploymark.bench.variants.checkpoint import exportable, output_layout
    from deploymark.bench.variants.qat import fake_quantize, fold_batch_norm

    module = DetectionModel("yolo26n.yaml", nc=3, verbose=False).eval()
    module.args = {}
    fold_batch_norm(module)
    fake_quantize(module)
    head = module.model[-1]
    for branch in (head.cv2, head.cv3, head.one2one_cv2, head.one2one_cv3):
        assert len(rounding_layers(branch)) >= 3 * len(branch)
    assert set(module.train()(_noise())) == {"one2many", "one2one"}
    module.eval()
    layouts = {
        name: output_layout(exportable(copy.deepcopy(module), 96, head=name))
        for name in ("one-to-one", "one-to-many")
    }
    assert layouts == {"one-to-one": "detections", "one-to-many": "anchors"}


def test_the_range_of_least_error_cuts_a_rare_value_off() -> None:
    import torch

    from deploymark.bench.variants.qat_ranges import BINS, best_scale

    even = torch.ones(BINS, dtype=torch.float64)
    assert best_scale(even, 2.0) * 127 == pytest.approx(2.0, rel=0.05)
    rare = torch.zeros(BINS, dtype=torch.float64)
    rare[: BINS // 10], rare[-1] = 1e6, 1
    assert best_scale(rare, 2.0) * 127 == pytest.approx(0.2, rel=0.5)


def test_scales_are_fit_for_pruned_channels_and_large_biases() -> None:
    import torch
    from torch import nn

    from deploymark.bench.variants.qat_modules import FakeQuantizedConv2d

    plain = nn.Conv2d(2, 3, 1)
    with torch.no_grad():
        plain.weight.copy_(torch.tensor([[1.27, 0.0], [0.0, 0.0], [1e-12, 0.0]]).view(3, 2, 1, 1))
        plain.bias.copy_(torch.tensor([0.5, 0.5, 20.0]))
    layer = FakeQuantizedConv2d.of(plain)
    layer.input_scale.fill_(0.01)
    layer.measure_weights()
    assert codes(layer).flatten().tolist() == [127, 0, 0, 0, 0, 0]
    # A channel of zeros has the scale of the others; biases fit into 32 bits.
    assert layer.weight_scale[:2].tolist() == pytest.approx([0.01, 0.01])
    assert (plain.bias.abs() / (layer.weight_scale * layer.input_scale)).max() < 2**31
    assert type(layer.plain()) is nn.Conv2d
    assert layer.plain().weight is plain.weight


def test_what_cannot_be_trained_is_told_why(
    detector: Any, step_context: Callable[..., StepContext]
) -> None:
    from torch import nn

    from deploymark.bench.variants.qat import fake_quantize

    with pytest.raises(UnavailableError, match="no train split"):
        run_step(detector, STEP, step_context(data=None))
    with pytest.raises(UnsupportedError, match="no convolution"):
        fake_quantize(nn.Sequential(nn.Linear(2, 2)))

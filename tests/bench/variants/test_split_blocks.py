from __future__ import annotations

import copy
from typing import Any

import pytest

pytestmark = pytest.mark.heavy

torch = pytest.importorskip("torch")
pytest.importorskip("ultralytics")

from ultralytics.nn.modules import block as ultralytics_blocks  # noqa: E402
from ultralytics.nn.tasks import DetectionModel  # noqa: E402

from deploymark.bench.variants.split_blocks import split_blocks  # noqa: E402

SIZE = 64

FAMILIES = [
    ("yolov5n", 0),
    ("yolov8n", 8),
    ("yolov9t", 8),
    ("yolov10n", 9),
    ("yolo11n", 9),
    ("yolo12n", 3),
    ("yolo26n", 9),
]


def spread_statistics(module: Any) -> Any:
    """As training leaves them: no normalisation that does nothing."""
    for layer in module.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.5, 2)
            layer.weight.data.uniform_(0.5, 1.5)
            layer.bias.data.normal_(0, 0.1)
    return module


def output(module: Any, pixels: Any) -> Any:
    with torch.inference_mode():
        return module(pixels)[0]


@pytest.mark.parametrize(("family", "blocks"), FAMILIES)
def test_a_split_detector_computes_the_same_bits(family: str, blocks: int) -> None:
    torch.manual_seed(0)
    whole = spread_statistics(DetectionModel(f"{family}.yaml", nc=3, verbose=False)).eval()
    split = copy.deepcopy(whole)
    assert split_blocks(split) == blocks
    assert split_blocks(split) == 0
    pixels = torch.rand(2, 3, SIZE, SIZE)
    assert torch.equal(output(split, pixels), output(whole, pixels))
    assert sum(weight.numel() for weight in split.parameters()) == sum(
        weight.numel() for weight in whole.parameters()
    )
    for ours, theirs in zip(split.model, whole.model, strict=True):
        assert (ours.i, ours.f, ours.type, ours.np) == (theirs.i, theirs.f, theirs.type, theirs.np)
        assert ours.training is theirs.training is False
    fused = copy.deepcopy(split).fuse(verbose=False)
    assert not any(isinstance(layer, torch.nn.BatchNorm2d) for layer in fused.modules())
    torch.testing.assert_close(output(fused, pixels), output(whole, pixels), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("make", "arguments"),
    [
        ("C2f", (16, 16, 2, True)),
        ("C3k2", (16, 16, 2, True)),
        ("C2fCIB", (16, 16, 1, True, True)),
        ("C2fPSA", (128, 128, 1)),
        ("C2PSA", (128, 128, 2)),
        ("PSA", (128, 128)),
        ("RepNCSPELAN4", (16, 16, 16, 8)),
        ("ELAN1", (16, 16, 16, 8)),
    ],
)
def test_gradients_of_every_block_are_those_of_the_original(
    make: str, arguments: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    block_class = getattr(ultralytics_blocks, make)
    whole = torch.nn.Sequential(spread_statistics(block_class(*arguments)))
    split = copy.deepcopy(whole)
    assert split_blocks(split) == 1
    assert split[0].first.conv.weight.shape[0] * 2 == whole[0].cv1.conv.weight.shape[0]
    pixels = torch.rand(2, arguments[0], 8, 8)
    expected, found = whole(pixels), split(pixels)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    expected.square().sum().backward()
    found.square().sum().backward()
    halves = torch.cat((split[0].first.conv.weight.grad, split[0].second.conv.weight.grad))
    torch.testing.assert_close(halves, whole[0].cv1.conv.weight.grad, rtol=1e-3, atol=1e-3)
    statistics = torch.cat((split[0].first.bn.running_mean, split[0].second.bn.running_mean))
    torch.testing.assert_close(statistics, whole[0].cv1.bn.running_mean)


def test_what_a_subclass_adds_is_left_alone() -> None:
    class Wider(ultralytics_blocks.C2f):
        def forward(self, x: Any) -> Any:
            return super().forward(x) + x

    module = torch.nn.Sequential(Wider(16, 16))
    assert split_blocks(module) == 0
    assert isinstance(module[0], Wider)


def test_frozen_weights_stay_frozen() -> None:
    module = torch.nn.Sequential(ultralytics_blocks.C2f(16, 16))
    module.requires_grad_(requires_grad=False)
    split_blocks(module)
    assert not any(weight.requires_grad for weight in module.parameters())

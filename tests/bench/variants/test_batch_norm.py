from __future__ import annotations

from typing import Any

import pytest

from deploymark.bench.variants.batch_norm import lacks_statistics, restore_statistics

pytestmark = pytest.mark.heavy

torch = pytest.importorskip("torch")


@pytest.fixture
def rebuilt() -> Any:
    """Two normalised convolutions, as from a fused export: biases, and statistics of nothing."""
    torch.manual_seed(0)
    layers: list[Any] = []
    for width in (3, 6):
        norm = torch.nn.BatchNorm2d(6)
        norm.bias.data.normal_()
        layers += [torch.nn.Conv2d(width, 6, 3, bias=False), norm, torch.nn.SiLU()]
    return torch.nn.Sequential(*layers)


def test_is_told_from_trained_and_from_untrained_networks(rebuilt: Any) -> None:
    assert lacks_statistics(rebuilt)
    rebuilt[1].running_mean += 0.5
    assert not lacks_statistics(rebuilt)
    assert not lacks_statistics(torch.nn.Sequential(torch.nn.Conv2d(3, 6, 3)))
    untrained = torch.nn.Sequential(torch.nn.Conv2d(3, 6, 3), torch.nn.BatchNorm2d(6))
    assert not lacks_statistics(untrained)


def test_outputs_stay_and_agree_with_those_of_training(rebuilt: Any) -> None:
    images = torch.rand(16, 3, 12, 12)
    rebuilt.eval()
    before = rebuilt(images)
    in_training = rebuilt.train()(images)
    assert (in_training - before).abs().mean() > 0.05

    rebuilt[1].running_mean.zero_()  # what that forward pass had changed
    rebuilt[1].running_var.fill_(1)
    rebuilt[4].running_mean.zero_()
    rebuilt[4].running_var.fill_(1)
    restore_statistics(rebuilt, images.split(8))
    assert rebuilt.training
    torch.testing.assert_close(rebuilt.eval()(images), before, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(rebuilt.train()(images), before, rtol=1e-2, atol=1e-2)
    assert not lacks_statistics(rebuilt)

from __future__ import annotations

import pytest

from deploymark.bench.variants.model_counts import count_macs, nonzero_fraction

pytestmark = pytest.mark.heavy

torch = pytest.importorskip("torch")


def test_macs_of_known_layers() -> None:
    layers = torch.nn.Sequential(
        torch.nn.Conv2d(
            3, 8, 3, stride=2, padding=1
        ),  # 16 x 16 outputs, 27 weights each, 8 filters
        torch.nn.Conv2d(8, 8, 3, padding=1, groups=8),  # 9 weights each
        torch.nn.Flatten(),
        torch.nn.Linear(8 * 16 * 16, 10),
    )
    total, output = count_macs(layers, 32)
    assert total == 256 * 27 * 8 + 256 * 9 * 8 + 8 * 256 * 10
    assert tuple(output.shape) == (1, 10)
    assert not layers[0]._forward_hooks


def test_zeros_are_counted_over_all_weights() -> None:
    layers = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 1), torch.nn.Linear(5, 1))
    for layer in layers:
        layer.weight.data[:] = 1
        layer.bias.data[:] = 0  # biases are no weights
    assert nonzero_fraction(layers) == 1.0
    layers[1].weight.data[0, :2] = 0
    assert nonzero_fraction(layers) == pytest.approx(6 / 8)

from __future__ import annotations

import pytest

from deploymark.backends.base import UnsupportedError
from deploymark.backends.pytorch import dynamic as torch_dynamic

pytestmark = pytest.mark.heavy

torch = pytest.importorskip("torch")


def test_a_model_of_convolutions_has_nothing_to_quantize() -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.SiLU(), torch.nn.Conv2d(4, 4, 3))
    with pytest.raises(UnsupportedError, match=r"quantized 0 of 2 modules .* has 2 Conv2d"):
        torch_dynamic.program(model.eval(), torch.zeros(1, 3, 8, 8))


def test_quantized_layers_that_cannot_be_exported_are_counted() -> None:
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten(), torch.nn.Linear(144, 8)
    )
    with pytest.raises(UnsupportedError, match=r"quantized 1 of 2 modules .* cannot hold them"):
        torch_dynamic.program(model.eval(), torch.zeros(1, 3, 8, 8))

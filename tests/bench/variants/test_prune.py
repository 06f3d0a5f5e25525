from __future__ import annotations

import copy
from typing import Any

import pytest

from deploymark.backends.base import UnsupportedError
from deploymark.bench.variants.prune import (
    l1_unstructured,
    learned_convolutions,
    prunable,
    zero_smallest,
)

pytestmark = pytest.mark.heavy

torch = pytest.importorskip("torch")


class DFL(torch.nn.Module):
    """A stand-in of the same name for Ultralytics' layer of constants."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(16, 1, 1, bias=False)
        self.conv.weight.data[:] = torch.arange(16.0).view(1, 16, 1, 1)


@pytest.fixture
def module() -> Any:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, bias=False),
        torch.nn.BatchNorm2d(8),
        torch.nn.Conv2d(8, 10, 1, bias=False),
        torch.nn.Conv2d(10, 20, 1, bias=False),
        torch.nn.Conv2d(20, 4, 1),
        DFL(),
        torch.nn.Linear(4, 4),
    )


def zeros(layer: Any) -> int:
    return int((layer.weight == 0).sum())


def test_first_output_and_constant_layers_are_kept(module: Any) -> None:
    assert learned_convolutions(module) == [module[0], module[2], module[3], module[4]]
    assert prunable(module) == [module[2], module[3]]
    kept = copy.deepcopy(module)
    l1_unstructured(module, 0.5)
    for index in (0, 1, 4, 6):
        assert torch.equal(module[index].weight, kept[index].weight)
    assert torch.equal(module[5].conv.weight, kept[5].conv.weight)


def test_a_model_without_layers_to_prune_is_refused() -> None:
    fused = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(8, 4, 1))
    with pytest.raises(UnsupportedError, match="none of the 2 convolutions can be pruned"):
        l1_unstructured(fused, 0.5)


def test_some_layers_alone_are_pruned(module: Any) -> None:
    zero_smallest([module[3]], 0.25)
    assert (zeros(module[2]), zeros(module[3])) == (0, 50)


def test_zeros_count_towards_a_larger_amount(module: Any) -> None:
    l1_unstructured(module, 0.3)
    first = module[3].weight == 0
    l1_unstructured(module, 0.6)
    assert zeros(module[3]) == 120
    assert bool((module[3].weight[first] == 0).all())
    l1_unstructured(module, 0.1)
    assert zeros(module[3]) == 120


def test_by_layer_takes_the_share_of_each(module: Any) -> None:
    before = module[3].weight.detach().clone()
    l1_unstructured(module, 0.3)
    assert (zeros(module[2]), zeros(module[3])) == (24, 60)
    gone = module[3].weight == 0
    assert before[gone].abs().max() <= before[~gone].abs().min()
    assert torch.equal(module[3].weight[~gone], before[~gone])


def test_globally_the_smallest_of_all_go(module: Any) -> None:
    module[2].weight.data *= 1000
    l1_unstructured(module, 0.5, scope="global")
    assert (zeros(module[2]), zeros(module[3])) == (0, 140)


def test_no_mask_is_left_behind(module: Any) -> None:
    names = sorted(module.state_dict())
    l1_unstructured(module, 0.5)
    assert sorted(module.state_dict()) == names
    assert not module[2]._forward_pre_hooks
    assert zeros(copy.deepcopy(module)[2]) == zeros(module[2])


def test_zeros_outlive_fusing(module: Any) -> None:
    torch_utils = pytest.importorskip("ultralytics.utils.torch_utils")
    l1_unstructured(module, 0.5)
    normalisation = torch.nn.BatchNorm2d(20).eval()
    normalisation.running_mean.data.normal_()
    normalisation.weight.data.uniform_(0.5, 2)
    fused = torch_utils.fuse_conv_and_bn(module[3], normalisation)
    assert zeros(fused) == zeros(module[3]) == 100

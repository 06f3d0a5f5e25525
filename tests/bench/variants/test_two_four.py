from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from deploymark.backends.base import UnsupportedError
from deploymark.bench.matrix.steps import TwoFourStep
from deploymark.bench.variants.apply import StepContext
from deploymark.bench.variants.two_four import mask_of, run

pytestmark = pytest.mark.heavy

torch = pytest.importorskip("torch")

STEP = TwoFourStep(kind="2:4")


@pytest.fixture
def context(tmp_path: Path) -> StepContext:
    return StepContext(Path("model.pt"), 64, 0, None, tmp_path, lambda _: None)


def of_four_along_inputs(weight: Any) -> Any:
    """Zeros among every four input channels of each output channel and kernel position, as NVIDIA's
    ASP lays a convolution out: rows of (position, output), columns of inputs."""
    rows = weight.permute(2, 3, 0, 1).reshape(-1, weight.shape[1])
    return (rows.reshape(-1, 4) == 0).sum(1)


def test_two_of_four_input_channels_are_zero_at_every_position() -> None:
    weight = torch.randn(6, 8, 3, 3, generator=torch.Generator().manual_seed(0))
    assert (of_four_along_inputs(weight * mask_of(weight)) == 2).all()


def test_the_two_of_largest_magnitude_are_kept() -> None:
    weight = torch.tensor([0.1, -4.0, 3.0, -0.2, 9.0, 8.0, -7.0, 10.0]).view(1, 8, 1, 1)
    assert mask_of(weight).flatten().tolist() == [0, 1, 1, 0, 1, 0, 0, 1]


def test_ties_leave_two_all_the_same() -> None:
    assert (of_four_along_inputs(mask_of(torch.ones(2, 4, 1, 1))) == 2).all()
    assert (of_four_along_inputs(mask_of(torch.zeros(2, 4, 3, 3))) == 2).all()


def test_the_best_of_all_patterns_is_found() -> None:
    """Against a search of all six, as ASP's ``m4n2_1d`` does it."""
    weight = torch.randn(5, 4, 3, 3, generator=torch.Generator().manual_seed(1))
    rows = weight.abs().permute(0, 2, 3, 1).reshape(-1, 4)
    best = torch.stack(
        [rows[:, first] + rows[:, second] for first in range(4) for second in range(first)]
    ).amax(0)
    kept = (weight * mask_of(weight)).abs().permute(0, 2, 3, 1).reshape(-1, 4).sum(1)
    torch.testing.assert_close(kept, best)


def test_layers_that_do_not_fit_are_kept_and_told(context: StepContext) -> None:
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, bias=False),
        torch.nn.Conv2d(8, 8, 3, bias=False),
        torch.nn.Conv2d(8, 8, 3, groups=8, bias=False),
        torch.nn.Conv2d(8, 6, 1, bias=False),
        torch.nn.Conv2d(6, 8, 1, bias=False),
        torch.nn.Conv2d(8, 4, 1),
    )
    before = copy.deepcopy(module)
    pruned, record = run(module, STEP, context)
    for index in (0, 2, 4, 5):
        assert torch.equal(pruned[index].weight, before[index].weight)
    for index in (1, 3):
        assert (of_four_along_inputs(pruned[index].weight) == 2).all()
        left = pruned[index].weight != 0
        assert torch.equal(pruned[index].weight[left], before[index].weight[left])
    assert record == {"notes": ["2:4 in 2 of 4 convolutions"]}


def test_groups_are_pruned_within_themselves(context: StepContext) -> None:
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 1, bias=False), torch.nn.Conv2d(16, 8, 3, groups=2, bias=False)
    )
    run(module, STEP, context)
    assert (of_four_along_inputs(module[1].weight) == 2).all()


def test_without_a_layer_that_fits_it_is_unsupported(context: StepContext) -> None:
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 6, 3, bias=False), torch.nn.Conv2d(6, 8, 3, bias=False)
    )
    with pytest.raises(UnsupportedError, match="none of the 1 convolutions") as caught:
        run(module, STEP, context)
    assert "kind: l1" in caught.value.remedy


def test_the_pattern_outlives_fusing(context: StepContext) -> None:
    torch_utils = pytest.importorskip("ultralytics.utils.torch_utils")
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 1, bias=False), torch.nn.Conv2d(8, 16, 3, bias=False)
    )
    run(module, STEP, context)
    normalisation = torch.nn.BatchNorm2d(16).eval()
    normalisation.weight.data.uniform_(0.5, 2)
    normalisation.running_var.data.uniform_(0.5, 2)
    fused = torch_utils.fuse_conv_and_bn(module[1], normalisation)
    assert (of_four_along_inputs(fused.weight) == 2).all()

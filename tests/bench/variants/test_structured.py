from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from deploymark.backends.base import UnavailableError, UnsupportedError
from deploymark.bench.variants import channels
from deploymark.bench.variants.apply import StepContext, run_step
from deploymark.bench.variants.channels import output_channels, prune_channels, split_widths
from deploymark.bench.variants.checkpoint import describe, exportable
from deploymark.bench.variants.model_counts import count_macs
from deploymark.bench.variants.split_blocks import split_blocks
from deploymark.bench.variants.structured import run
from tests.bench.variants.small_detectors import CONV, SIZE, SMALL, step, untrained

pytestmark = pytest.mark.heavy

torch = pytest.importorskip("torch")
pytest.importorskip("ultralytics")
pytest.importorskip("torch_pruning")

ROOT = Path(__file__).resolve().parents[3]
FAMILIES = ["yolov8n", "yolov9t", "yolov10n", "yolo12n", "yolo26n", "yolov8n-ghost"]


@pytest.fixture(scope="module")
def detector() -> Any:
    return untrained()


@pytest.fixture
def context(tmp_path: Path) -> StepContext:
    return StepContext(tmp_path / "model.pt", SIZE, 0, None, tmp_path, lambda _: None)


def macs_of(module: Any) -> int:
    return count_macs(exportable(copy.deepcopy(module), SIZE), SIZE)[0]


def output(module: Any, pixels: Any) -> Any:
    with torch.inference_mode():
        return module(pixels)[0]


@pytest.mark.parametrize(
    ("config", "scope"), [("yolo11n.yaml", "layer"), (SMALL, "layer"), (SMALL, "global")]
)
def test_macs_fall_with_the_ratio_and_widths_are_multiples(config: Any, scope: Any) -> None:
    whole = untrained(config)
    left = [macs_of(whole)]
    split_blocks(whole)
    before = output_channels(whole)
    head = f"model.{len(whole.model) - 1}."
    for ratio in (0.3, 0.55, 0.8) if isinstance(config, str) else (0.1, 0.3, 0.4, 0.55, 0.8, 0.99):
        pruned = copy.deepcopy(whole)
        widths = prune_channels(pruned, ratio, scope=scope)
        left.append(macs_of(pruned))
        after = output_channels(pruned)
        changed = {name for name in before if after[name] != before[name]}
        assert widths.pruned == len(changed) > 0
        assert widths.kept == len(before) - len(changed)
        assert widths.share_removed == pytest.approx(1 - sum(after.values()) / sum(before.values()))
        assert all(after[name] % 8 == 0 and after[name] > 0 for name in changed)
        # The head's own, and attention's.
        assert not any(name.startswith(head) or ".attn." in name for name in changed)
    assert left == sorted(set(left), reverse=True)
    if isinstance(config, str):
        assert left[1] < 0.65 * left[0]


def test_rounding_down_keeps_at_most_what_the_ratio_leaves(detector: Any) -> None:
    for round_to in (1, 8, 16):
        pruned = copy.deepcopy(detector)
        prune_channels(pruned, 0.4, round_to=round_to)
        widths = output_channels(pruned)
        for name, before in (("model.0.conv", 16), ("model.1.conv", 32), ("model.4.conv", 128)):
            kept = int(before * 0.6) // round_to * round_to
            assert widths[name] == max(kept, round_to)


def test_the_same_arguments_take_the_same_channels(detector: Any) -> None:
    one, other = copy.deepcopy(detector), copy.deepcopy(detector)
    assert prune_channels(one, 0.3) == prune_channels(other, 0.3)
    first, second = one.state_dict(), other.state_dict()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_rounding_does_not_add_up_over_cycles(detector: Any, scope: Any) -> None:
    first, at_once, in_cycles = (copy.deepcopy(detector) for _ in range(3))
    prune_channels(first, 0.3, scope=scope)
    prune_channels(at_once, 0.5, scope=scope)
    start, left = split_widths(detector), []
    for ratio in (0.3, 0.45, 0.5):
        prune_channels(in_cycles, ratio, scope=scope, start=start)
        left.append(macs_of(in_cycles))
    assert macs_of(first) == left[0] >= left[1] >= left[2] >= macs_of(at_once)
    if scope == "layer":
        assert output_channels(in_cycles) == output_channels(at_once)
    assert prune_channels(in_cycles, 0.5, scope=scope, start=start).pruned == 0


def test_dead_channels_go_first_and_nothing_changes(detector: Any) -> None:
    """Channels whose weights are zero give SiLU(0) = 0: without them, all boxes are the same."""
    module = copy.deepcopy(detector)
    split_blocks(module)
    layer = module.get_submodule("model.2.chain.0.cv1")
    dead = torch.arange(0, layer.conv.out_channels, 2)
    for weight in (layer.conv.weight, layer.bn.weight, layer.bn.bias):
        weight.data[dead] = 0
    pruned = copy.deepcopy(module)
    widths = prune_channels(pruned, 0.0, exceptions={"model.2.chain.0.cv1.conv": 0.5})
    assert widths.pruned == 1
    assert output_channels(pruned)["model.2.chain.0.cv1.conv"] == layer.conv.out_channels // 2
    pixels = torch.rand(1, 3, SIZE, SIZE)
    torch.testing.assert_close(output(pruned, pixels), output(module, pixels), atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_pruned_and_learns(family: str) -> None:
    module = untrained(f"{family}.yaml")
    before = count_macs(module, SIZE)[0]
    prune_channels(module, 0.4)
    assert count_macs(module, SIZE)[0] < 0.65 * before
    module.train()
    raw = module(torch.rand(2, 3, SIZE, SIZE))
    raw = raw.get("one2many", raw)
    (raw["boxes"].square().mean() + raw["scores"].square().mean()).backward()
    for name, weight in module.named_parameters():
        if weight.requires_grad and "one2one" not in name:
            assert weight.grad is not None, name


def test_an_input_that_is_cut_in_two_stays_whole() -> None:
    """``ADown`` of YOLOv9c."""
    layers = [
        [-1, 1, CONV, [32, 3, 2]],
        [-1, 1, CONV, [32, 3, 2]],
        [-1, 1, "ADown", [64]],
        [-1, 1, CONV, [64, 3, 2]],
    ]
    head = [[[2, 3], 1, "Detect", ["nc"]]]
    module = untrained({"nc": 3, "backbone": layers, "head": head})
    prune_channels(module, 0.5)
    widths = output_channels(module)
    assert widths["model.0.conv"] == 16
    assert widths["model.1.conv"] == 32
    assert not any("pin" in name for name, _ in module.named_modules())
    assert macs_of(module) > 0


def test_the_record_says_what_was_done(detector: Any, context: StepContext) -> None:
    before = {name: weight.clone() for name, weight in detector.state_dict().items()}
    pruned, record = run_step(detector, step(ratio=0.3), context)
    after = detector.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    counts = [describe(exportable(copy.deepcopy(each), SIZE), SIZE) for each in (detector, pruned)]
    assert (record["macs_before"], record["macs_after"]) == tuple(each.macs for each in counts)
    assert (record["params_before"], record["params_after"]) == tuple(
        each.params for each in counts
    )
    assert record["ratio"] == 0.3
    total = record["layers_pruned"] + record["layers_kept"]
    assert total == len(output_channels(pruned))
    assert f"in {record['layers_pruned']} of {total} convolutions" in record["notes"][0]
    assert "map50_95_after" not in record
    assert json.loads(json.dumps(record)) == record


def test_what_makes_a_checkpoint_is_kept(detector: Any, context: StepContext) -> None:
    pruned, _ = run(detector, step(ratio=0.3), context)
    for name in ("names", "args", "yaml", "save", "nc", "task"):
        assert getattr(pruned, name, None) == getattr(detector, name, None)
    assert torch.equal(pruned.stride, detector.stride)
    assert torch.equal(pruned.model[-1].stride, detector.model[-1].stride)
    assert [(layer.i, layer.f) for layer in pruned.model] == [
        (layer.i, layer.f) for layer in detector.model
    ]


@pytest.mark.parametrize(("scope", "slack"), [("layer", 0.02), ("global", 0.06)])
def test_a_target_of_macs_is_met_and_little_less(
    detector: Any, context: StepContext, scope: Any, slack: float
) -> None:
    _, record = run(detector, step(macs=0.65, scope=scope), context)
    share = record["macs_after"] / record["macs_before"]
    assert 0.65 - slack < share <= 0.65


def test_a_target_out_of_reach_says_what_is_reachable(detector: Any, context: StepContext) -> None:
    with pytest.raises(UnsupportedError, match=r"small keeps \d+\.\d % of its MACs at the least"):
        run(detector, step(macs=0.05), context)


def test_too_low_a_ratio_has_nothing_to_take(detector: Any) -> None:
    with pytest.raises(UnsupportedError, match="takes no channel of small") as caught:
        prune_channels(copy.deepcopy(detector), 0.0)
    assert "higher ratio" in caught.value.remedy


@pytest.mark.parametrize("split", [True, False])
def test_a_search_without_end_is_ended(monkeypatch: pytest.MonkeyPatch, split: bool) -> None:
    """The stock model, which torch-pruning follows for ever."""
    monkeypatch.setattr("deploymark.bench.variants.followable._ATTENTION", frozenset())
    if not split:
        monkeypatch.setattr("deploymark.bench.variants.split_blocks.split_blocks", lambda _: 0)
    with pytest.raises(UnsupportedError, match=r"yolo11n: the layers tied to .* no end") as caught:
        prune_channels(untrained("yolo11n.yaml"), 0.3)
    assert "kind: l1" in caught.value.remedy


def test_all_is_as_it_was_after_an_error(detector: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch_pruning.dependency import graph

    def broken(*_: Any, **__: Any) -> Any:
        raise KeyError("conv")

    group = graph.Group
    module = copy.deepcopy(detector).train()
    module.model[0].requires_grad_(requires_grad=False)
    split_blocks(module)
    state = sorted(module.state_dict())
    learns = [weight.requires_grad for weight in module.parameters()]
    monkeypatch.setattr(graph.DependencyGraph, "get_all_groups", broken)
    with pytest.raises(UnsupportedError, match="cannot follow small: KeyError"):
        prune_channels(module, 0.3)
    assert graph.Group is group
    assert sorted(module.state_dict()) == state
    assert [weight.requires_grad for weight in module.parameters()] == learns
    assert all("forward" not in vars(layer) and layer.training for layer in module.modules())
    monkeypatch.undo()
    prune_channels(module, 0.3)
    assert [weight.requires_grad for weight in module.parameters()] == learns
    assert all("forward" not in vars(layer) and layer.training for layer in module.modules())


def test_without_torch_pruning_it_is_unavailable(
    detector: Any, context: StepContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    with pytest.raises(UnavailableError, match="torch-pruning is not installed") as caught:
        run(detector, step(ratio=0.3), context)
    assert caught.value.remedy == "pip install 'deploymark[torch]'"


def test_a_fused_checkpoint_is_refused(detector: Any) -> None:
    with pytest.raises(UnsupportedError, match="the checkpoint is fused"):
        prune_channels(copy.deepcopy(detector).fuse(verbose=False), 0.3)


def test_a_network_that_no_longer_runs_is_refused(
    detector: Any, context: StepContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def careless(module: Any, *_: Any, **__: Any) -> Any:
        convolution = module.model[1].conv
        convolution.weight = torch.nn.Parameter(convolution.weight[:, :8].detach())
        return channels.Widths(1, 1, 0.5)

    monkeypatch.setattr("deploymark.bench.variants.structured.prune_channels", careless)
    with pytest.raises(UnsupportedError, match="small does not run at 64 pixels"):
        run(detector, step(ratio=0.3), context)

"""Removing channels from a detector, and all that hangs on them.

Which channels belong together is found by torch-pruning's dependency graph (Fang et al., DepGraph:
Towards Any Structural Pruning, CVPR 2023), which follows a forward pass. What it cannot follow is
kept from it while it looks: outputs that are cut in two (``bench.variants.split_blocks``), the
decoding of boxes, and attention, whose reshaping sends the search for a channel's group around a
residual connection for ever, with more channels each time.
"""

from __future__ import annotations

import copy
import dataclasses
import types
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from backends.base import UnavailableError, UnsupportedError
from bench.model_counts import INPUT_CHANNELS
from bench.variants.prune import learned_convolutions

if TYPE_CHECKING:
    from torch import nn

_NORMS = {"l1": 1, "l2": 2}

_LONGEST_GROUP, _MOST_CHANNELS = 2_000, 200_000
"""Layers tied to one another and their channels together, counted each time the search reaches
them: at most 93 and 35,712 in YOLOv3 to YOLO26 of any size (YOLO12x), and ever more where attention
is followed, whose reshaping multiplies the channels in each round."""

_ATTENTION = frozenset({"Attention", "AAttn"})
"""Attention of Ultralytics' blocks: ``pe``, a depthwise convolution, and ``proj`` follow it."""

_REMEDY = "Prune it without changing its shape: kind: l1."

_BRANCHES = ("cv2", "cv3", "one2one_cv2", "one2one_cv3")
"""The convolutions of a ``Detect`` head: boxes and classes, of both heads where it has two."""


@dataclasses.dataclass(frozen=True)
class Widths:
    """What was removed.

    Convolutions that lost output channels (``pruned``), those that kept all of theirs (``kept``),
    and the share of all output channels that is gone.
    """

    pruned: int
    kept: int
    share_removed: float


@dataclasses.dataclass(frozen=True)
class Cycle:
    """One of several prunings, each of which takes a share of what there was before the first.

    ``start`` are the widths at the start, by ``split_widths``, ``done`` is the share asked for in
    the cycle before. Without it, rounding down in each cycle would add up.
    """

    start: Mapping[str, int]
    done: float


def family(module: Any) -> str:
    """The architecture's name, ``yolo11n``, or that of the class where it has none."""
    return Path(str((module.yaml or {}).get("yaml_file", ""))).stem or type(module).__name__


def prune_channels(
    module: Any,
    ratio: float,
    *,
    importance: Literal["l1", "l2"] = "l2",
    scope: Literal["layer", "global"] = "layer",
    round_to: int = 8,
    exceptions: Mapping[str, float] | None = None,
    cycle: Cycle | None = None,
) -> Widths:
    """Remove the share ``ratio`` of the channels of a detector before fusing, in place.

    The channels of smallest norm go, over all weights that are tied to a channel (torch-pruning's
    group importance); ``scope`` says whether the smallest of each layer or of the whole model. A
    layer keeps a multiple of ``round_to`` channels, rounded down, at least one of them; a narrower
    one stays as it is. ``exceptions`` are other ratios for some convolutions, by their names after
    ``split_blocks``, where the scope is ``layer``. The head and attention keep their channels, and
    with them what is added to attention's output and what depthwise convolutions of the head read.
    The same module and arguments give the same result.

    In a ``cycle``, each layer comes to the width that the ratio gives of its width at the start; in
    the scope ``global`` near that, because multiples are then rounded to the nearest.

    Raises UnsupportedError where the architecture cannot be followed or nothing can go, and
    UnavailableError where torch-pruning is not installed.
    """
    from bench.variants.split_blocks import split_blocks

    if module.is_fused():
        raise UnsupportedError(
            "the checkpoint is fused: its batch normalisation, needed to train it, is gone",
            remedy="Give the checkpoint as it was trained.",
        )
    split_blocks(module)
    before = output_channels(module)
    asked = ratio
    if cycle is not None and scope == "layer":
        exceptions, ratio = _to_widths_of(cycle.start, before, ratio, round_to), 0.0
    elif cycle is not None:
        ratio = max(0.0, (ratio - cycle.done) / (1 - cycle.done))
    layers = dict(module.named_modules())
    options = {
        "pruning_ratio": ratio,
        "pruning_ratio_dict": {layers[name]: part for name, part in (exceptions or {}).items()},
        "global_pruning": scope == "global",
        "round_to": round_to,
    }
    with _ready_to_follow(module) as untouched:
        nearest = cycle is not None and scope == "global"
        _prune(module, _NORMS[importance], nearest=nearest, ignored_layers=untouched, **options)
    after = output_channels(module)
    pruned = sum(after[name] < before[name] for name in before)
    if not pruned and cycle is None:
        raise UnsupportedError(
            f"a ratio of {asked:g} in multiples of {round_to} takes no channel of {family(module)}",
            remedy="Use a higher ratio or a smaller round_to.",
        )
    share = 1 - sum(after.values()) / sum(before.values())
    return Widths(pruned, len(before) - pruned, share)


def output_channels(module: nn.Module) -> dict[str, int]:
    """The width of every learned convolution, by its name in ``module``."""
    learned = {id(layer) for layer in learned_convolutions(module)}
    return {
        name: layer.out_channels for name, layer in module.named_modules() if id(layer) in learned
    }


def split_widths(module: nn.Module) -> dict[str, int]:
    """``output_channels`` as ``prune_channels`` names them; the module is left as it is."""
    from bench.variants.split_blocks import split_blocks

    split = copy.deepcopy(module)
    split_blocks(split)
    return output_channels(split)


def _to_widths_of(
    start: Mapping[str, int], now: Mapping[str, int], ratio: float, round_to: int
) -> dict[str, float]:
    """The ratios that bring layers from the widths they have to those that ``ratio`` leaves."""
    ratios = {}
    for name, width in now.items():
        left = int(start[name] * (1 - ratio))
        target = max(left - left % round_to, round_to)
        if target < width:
            # torch-pruning rounds down what is left: half a channel keeps that from losing one
            ratios[name] = 1 - (target + 0.5) / width
    return ratios


def _prune(module: Any, norm: int, *, nearest: bool, **options: Any) -> None:
    """Let torch-pruning build its graph and take the channels; ``options`` are its own."""
    try:
        import torch_pruning
    except ModuleNotFoundError as error:
        raise UnavailableError(
            "torch-pruning is not installed", remedy="pip install 'deploymark[torch]'"
        ) from error
    import torch

    class Pruner(torch_pruning.pruner.BasePruner):  # type: ignore[misc]
        """Keeps one multiple of ``round_to`` where its base would keep a layer whole.

        And the nearest multiple, where its base rounds down, if it is to.
        """

        def _round_to(self, n_pruned: int, current_channels: int, round_to: int) -> int:
            left = current_channels - n_pruned + (round_to // 2 if nearest else 0)
            return current_channels - min(max(left - left % round_to, round_to), current_channels)

    side = 2 * int(max(module.stride))
    try:
        with _bounded_search(), warnings.catch_warnings():
            # It warns of every parameter that belongs to no layer, and takes care of them.
            warnings.simplefilter("ignore")
            Pruner(
                module,
                torch.zeros(1, INPUT_CHANNELS, side, side),
                importance=torch_pruning.importance.MagnitudeImportance(p=norm),
                # Its defaults are two dictionaries that all pruners share.
                in_channel_groups={},
                out_channel_groups={},
                **options,
            ).step()
    except UnsupportedError as error:
        raise UnsupportedError(f"{family(module)}: {error.message}", remedy=_REMEDY) from error
    except Exception as error:
        raise UnsupportedError(
            f"torch-pruning cannot follow {family(module)}: {type(error).__name__}: {error}",
            remedy=_REMEDY,
        ) from error


@contextmanager
def _bounded_search() -> Iterator[None]:
    """Raise UnsupportedError where the search for the layers tied to one another does not end."""
    from torch_pruning.dependency import graph

    base = graph.Group

    class BoundedGroup(base):  # type: ignore[misc, valid-type]
        channels = 0

        def add_dep(self, dep: Any, idxs: Any) -> None:
            self.channels += len(idxs)
            if len(self) >= _LONGEST_GROUP or self.channels > _MOST_CHANNELS:
                # torch-pruning's names go on with the layer's own description
                name = str(self[0].dep.target.name).split(" ")[0]
                raise UnsupportedError(f"the layers tied to the channels of {name} have no end")
            super().add_dep(dep, idxs)

    graph.Group = BoundedGroup
    try:
        yield
    finally:
        graph.Group = base


@contextmanager
def _ready_to_follow(module: Any) -> Iterator[list[nn.Module]]:
    """The module as the graph can follow it; gives the layers that keep their output channels.

    Everything is as it was afterwards, whatever happens.
    """
    head = module.model[-1]
    untouched: list[nn.Module] = [head]
    training = module.training
    learns = {name: weight.requires_grad for name, weight in module.named_parameters()}
    with ExitStack() as stack:
        stack.callback(_set_requires_grad, module, learns)
        stack.callback(module.train, training)
        # The graph is that of the gradients.
        module.requires_grad_(requires_grad=True)
        _replace_forward(stack, head, _raw_convolutions)
        for layer in list(module.modules()):
            name = type(layer).__name__
            if name in _ATTENTION:
                untouched.append(layer)
                _replace_forward(stack, layer, _attention_without_products)
            elif name == "ADown":
                untouched.append(_pinned(stack, layer))
                _replace_forward(stack, layer, _halves_of_pinned)
            elif name == "CBLinear":
                untouched.append(layer)
        yield untouched


def _set_requires_grad(module: nn.Module, learns: dict[str, bool]) -> None:
    for name, weight in module.named_parameters():
        weight.requires_grad_(requires_grad=learns[name])


def _replace_forward(stack: ExitStack, layer: Any, forward: Callable[..., Any]) -> None:
    """Give one layer another forward pass until the stack closes."""
    layer.forward = types.MethodType(forward, layer)
    stack.callback(delattr, layer, "forward")


def _raw_convolutions(head: Any, features: list[Any]) -> list[Any]:
    """Of a ``Detect`` head: what its convolutions give."""
    return [
        convolution(feature)
        for branch in _BRANCHES
        for convolution, feature in zip(getattr(head, branch, None) or (), features, strict=False)
    ]


def _attention_without_products(attention: Any, x: Any) -> Any:
    """As wide as its input, like attention, and tied to it by the depthwise ``pe``."""
    return attention.proj(attention.pe(x))


def _pinned(stack: ExitStack, layer: Any) -> Any:
    """A depthwise convolution before an ``ADown``, until the stack closes.

    ``ADown`` cuts its input in two, which is another layer's output: that stays whole, because it
    is tied to a convolution that keeps its channels.
    """
    from torch import nn

    channels = 2 * layer.cv1.conv.in_channels
    layer.pin = nn.Conv2d(channels, channels, 1, groups=channels)
    stack.callback(delattr, layer, "pin")
    return layer.pin


def _halves_of_pinned(layer: Any, x: Any) -> Any:
    import torch

    first, second = layer.pin(x).chunk(2, 1)
    second = torch.nn.functional.max_pool2d(second, 3, 2, 1)
    return torch.cat((layer.cv1(first), layer.cv2(second)), 1)

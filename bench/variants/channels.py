"""Removing channels from a detector, and all that hangs on them.

Which channels belong together is found by torch-pruning's dependency graph (Fang et al., DepGraph:
Towards Any Structural Pruning, CVPR 2023), which follows a forward pass. What it cannot follow is
kept from it (``bench.variants.split_blocks``, ``bench.variants.followable``).
"""

from __future__ import annotations

import copy
import dataclasses
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from deploymark.backends.base import UnavailableError, UnsupportedError
from deploymark.bench.variants.followable import ready_to_follow
from deploymark.bench.variants.model_counts import INPUT_CHANNELS
from deploymark.bench.variants.prune import learned_convolutions

if TYPE_CHECKING:
    import torch
    from torch import nn

_NORMS = {"l1": 1, "l2": 2}

_LONGEST_GROUP, _MOST_CHANNELS = 2_000, 200_000
"""Layers tied to one another and their channels together, counted each time the search reaches
them: at most 93 and 35,712 in YOLOv3 to YOLO26 of any size (YOLO12x), and ever more where attention
is followed, whose reshaping multiplies the channels in each round."""

_REMEDY = "Prune it without changing its shape: kind: l1."


@dataclasses.dataclass(frozen=True)
class Widths:
    """What was removed.

    Convolutions that lost output channels (``pruned``), those that kept all of theirs (``kept``),
    and the share of all output channels that is gone.
    """

    pruned: int
    kept: int
    share_removed: float


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
    start: Mapping[str, int] | None = None,
) -> Widths:
    """Remove the share ``ratio`` of the channels of a detector before fusing, in place.

    The channels of smallest norm go, over all weights that are tied to a channel (torch-pruning's
    group importance); ``scope`` says whether the smallest of each layer or of the whole model. A
    layer keeps a multiple of ``round_to`` channels, rounded down, at least one of them; a narrower
    one stays as it is. ``exceptions`` are other ratios for some convolutions, by their names after
    ``split_blocks``, where the scope is ``layer``. The head and attention keep their channels, and
    with them what is added to attention's output and what depthwise convolutions of the head read.
    The same module and arguments give the same result.

    ``start`` is for the second of several prunings and those after it: the widths before the first,
    by ``split_widths``, which the ratio is then a share of. Each takes only what is not gone yet,
    nothing at times, so that rounding does not add up.

    Raises UnsupportedError where the architecture cannot be followed or nothing can go, and
    UnavailableError where torch-pruning is not installed.
    """
    from deploymark.bench.variants.split_blocks import split_blocks

    if module.is_fused():
        raise UnsupportedError(
            "the checkpoint is fused: its batch normalisation, needed to train it, is gone",
            remedy="Give the checkpoint as it was trained.",
        )
    split_blocks(module)
    before = output_channels(module)
    layers = dict(module.named_modules())
    asked = ratio
    with ready_to_follow(module) as untouched:
        if start is not None and scope == "layer":
            exceptions, ratio = _to_widths_of(start, before, ratio, round_to), 0.0
        elif start is not None:
            roots = _roots(module, untouched)
            ratio = _of_the_rest(ratio, sum(start[name] for name in roots), sum(roots.values()))
        _prune(
            module,
            _NORMS[importance],
            pruning_ratio=ratio,
            pruning_ratio_dict={layers[name]: part for name, part in (exceptions or {}).items()},
            global_pruning=scope == "global",
            round_to=round_to,
            ignored_layers=untouched,
        )
    after = output_channels(module)
    pruned = sum(after[name] < before[name] for name in before)
    if not pruned and start is None:
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
    from deploymark.bench.variants.split_blocks import split_blocks

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


def _of_the_rest(ratio: float, start: int, now: int) -> float:
    """What to take of ``now`` channels, so that the share ``ratio`` of ``start`` is gone."""
    return max(0.0, 1 - start * (1 - ratio) / now)


def _roots(module: Any, untouched: list[nn.Module]) -> dict[str, int]:
    """One convolution of every group of layers that can be pruned, and its width."""
    graph = _torch_pruning().DependencyGraph()
    ignored = [part for layer in untouched for part in layer.modules()]
    names = {layer: name for name, layer in module.named_modules()}
    with _errors_told(module):
        graph.build_dependency(module, _pixels(module))
        roots = [group[0].dep.target.module for group in graph.get_all_groups(ignored)]
    return {names[layer]: layer.out_channels for layer in roots}


def _pixels(module: Any) -> torch.Tensor:
    """An image, as small as the network takes."""
    import torch

    side = 2 * int(max(module.stride))
    return torch.zeros(1, INPUT_CHANNELS, side, side)


def _torch_pruning() -> Any:
    try:
        import torch_pruning
    except ModuleNotFoundError as error:
        raise UnavailableError(
            "torch-pruning is not installed", remedy="pip install 'deploymark[torch]'"
        ) from error
    return torch_pruning


def _prune(module: Any, norm: int, **options: Any) -> None:
    """Let torch-pruning build its graph and take the channels; ``options`` are its own."""
    torch_pruning = _torch_pruning()

    base: Any = torch_pruning.pruner.BasePruner

    class Pruner(base):  # type: ignore[misc]
        """Keeps one multiple of ``round_to`` where its base would keep a layer whole."""

        def _round_to(self, n_pruned: int, current_channels: int, round_to: int) -> int:
            left = current_channels - n_pruned
            return current_channels - max(left - left % round_to, min(round_to, current_channels))

    with _errors_told(module):
        Pruner(
            module,
            _pixels(module),
            importance=torch_pruning.importance.MagnitudeImportance(p=norm),
            # Its defaults are two dictionaries that all pruners share.
            in_channel_groups={},
            out_channel_groups={},
            **options,
        ).step()


@contextmanager
def _errors_told(module: Any) -> Iterator[None]:
    """Any failure of torch-pruning as UnsupportedError, and no search without end."""
    try:
        with _bounded_search(), warnings.catch_warnings():
            # It warns of every parameter that belongs to no layer, and takes care of them.
            warnings.simplefilter("ignore")
            yield
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

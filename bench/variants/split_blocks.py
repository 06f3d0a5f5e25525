"""Blocks of YOLO whose first convolution gives two halves, rewritten with a convolution for each.

``C2f`` and its kin (YOLOv8, 10, 11, 26), ``RepNCSPELAN4`` (YOLOv9) and the blocks around attention
compute both halves in one convolution and cut its output in the middle. Channels can be taken out
of such an output in equal numbers only, and the cut stays right only as long as nobody takes more
of one half. Two convolutions compute the same values, bit by bit, and each has a width of its own.

Checkpoints name the classes of their modules, so these live in a module that can be imported
wherever Deploymark is installed. They are written for training, fusing and export alike.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

_PLACE = ("i", "f", "type", "np")
"""What Ultralytics writes on a layer of a model: its index, where its input comes from, its name
and its number of parameters."""


class SplitChain(nn.Module):  # type: ignore[misc]
    """``C2f``, ``C3k2``, ``C2fCIB``, ``C2fPSA``, ``RepNCSPELAN4`` and ``ELAN1``.

    Each module of ``chain`` takes what the one before it gave, the first one the second half; both
    halves and all that the chain gave go through ``last``.
    """

    def __init__(
        self, first: nn.Module, second: nn.Module, chain: nn.ModuleList, last: nn.Module
    ) -> None:
        super().__init__()
        self.first, self.second, self.chain, self.last = first, second, chain, last

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Float (batch, in, height, width) to (batch, out, height, width)."""
        parts = [self.first(x), self.second(x)]
        for link in self.chain:
            parts.append(link(parts[-1]))
        return self.last(torch.cat(parts, 1))


class SplitPair(nn.Module):  # type: ignore[misc]
    """``C2PSA`` and ``PSA``: the second half goes through ``inner``, then both through ``last``."""

    def __init__(
        self, first: nn.Module, second: nn.Module, inner: nn.Module, last: nn.Module
    ) -> None:
        super().__init__()
        self.first, self.second, self.inner, self.last = first, second, inner, last

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Float (batch, in, height, width) to (batch, out, height, width)."""
        parts = (self.first(x), self.inner(self.second(x)))
        return self.last(torch.cat(parts, 1))


class Residual(nn.Module):  # type: ignore[misc]
    """The inner part of ``PSA``: each of ``steps`` adds to what it is given."""

    def __init__(self, *steps: nn.Module) -> None:
        super().__init__()
        self.steps = nn.ModuleList(steps)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Float (batch, channels, height, width), the same shape out."""
        for step in self.steps:
            x = x + step(x)
        return x


def split_blocks(module: nn.Module) -> int:
    """Replace every block that cuts a convolution's output in two; returns how many there were.

    In place. The module computes what it did. ``module`` is a detector of Ultralytics before
    fusing.
    """
    makers = _makers()
    count = 0
    for parent in list(module.modules()):
        for name, block in list(parent.named_children()):
            make = makers.get(type(block))
            if make is None:
                continue
            replacement = make(block)
            for key in _PLACE:
                if hasattr(block, key):
                    setattr(replacement, key, getattr(block, key))
            replacement.train(block.training)
            setattr(parent, name, replacement)
            count += 1
    return count


def _makers() -> dict[type, Callable[[Any], nn.Module]]:
    """By Ultralytics' classes. A subclass may do something else, so only these are meant."""
    from ultralytics.nn.modules import block

    return {
        block.C2f: _chain_of_c2f,
        block.C3k2: _chain_of_c2f,
        block.C2fCIB: _chain_of_c2f,
        block.C2fPSA: _chain_of_c2f,
        block.RepNCSPELAN4: _chain_of_elan,
        block.ELAN1: _chain_of_elan,
        block.C2PSA: _pair_of_c2psa,
        block.PSA: _pair_of_psa,
    }


def _chain_of_c2f(block: Any) -> nn.Module:
    return SplitChain(*_halves(block.cv1), block.m, block.cv2)


def _chain_of_elan(block: Any) -> nn.Module:
    return SplitChain(*_halves(block.cv1), nn.ModuleList([block.cv2, block.cv3]), block.cv4)


def _pair_of_c2psa(block: Any) -> nn.Module:
    return SplitPair(*_halves(block.cv1), block.m, block.cv2)


def _pair_of_psa(block: Any) -> nn.Module:
    return SplitPair(*_halves(block.cv1), Residual(block.attn, block.ffn), block.cv2)


def _halves(layer: Any) -> tuple[nn.Module, nn.Module]:
    """Ultralytics' ``Conv`` (convolution, normalisation, activation) as one for each half."""
    width = layer.conv.out_channels // 2
    return _part(layer, slice(0, width)), _part(layer, slice(width, 2 * width))


def _part(layer: Any, channels: slice) -> nn.Module:
    """A copy of ``layer`` with some of its output channels."""
    part: Any = copy.deepcopy(layer)
    part.conv.weight = _taken(part.conv.weight, channels)
    part.conv.out_channels = part.bn.num_features = part.conv.weight.shape[0]
    part.bn.weight, part.bn.bias = (
        _taken(part.bn.weight, channels),
        _taken(part.bn.bias, channels),
    )
    part.bn.running_mean = part.bn.running_mean[channels].clone()
    part.bn.running_var = part.bn.running_var[channels].clone()
    return part


def _taken(parameter: nn.Parameter, channels: slice) -> nn.Parameter:
    return nn.Parameter(parameter.detach()[channels].clone(), requires_grad=parameter.requires_grad)

"""A detector while torch-pruning looks at it: what it cannot follow does something simpler.

The decoding of boxes mixes all channels. Attention reshapes them, which sends the search for what
hangs on a channel around a residual connection for ever, with more channels each time. Blocks that
cut another layer's output in two need as many channels on both sides.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

_ATTENTION = frozenset({"Attention", "AAttn"})
"""Attention of Ultralytics' blocks: ``pe``, a depthwise convolution, and ``proj`` follow it."""

_BRANCHES = ("cv2", "cv3", "one2one_cv2", "one2one_cv3")
"""The convolutions of a ``Detect`` head: boxes and classes, of both heads where it has two."""


@contextmanager
def ready_to_follow(module: Any) -> Iterator[list[nn.Module]]:
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

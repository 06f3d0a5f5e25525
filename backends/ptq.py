"""Choices of post-training quantization (PTQ) that backends share: which images, which layers.

A layer is what a reader of the model takes for one: a convolution with its activation, named by its
module, ``model.2.cv1``; or an operator that a module of several layers computes by itself, named by
both, ``model.2.Concat``.
"""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from deploymark.backends.base import ExportError
from deploymark.backends.options import OpenOption, is_count

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

OPTIONS: dict[str, OpenOption] = {
    "calibration_images": OpenOption(
        None, "null or a whole number from 1", lambda value: value is None or is_count(value)
    ),
    "float_layers": OpenOption(
        [],
        "a list of names of layers",
        lambda value: isinstance(value, (list, tuple)) and all(isinstance(x, str) for x in value),
    ),
}
"""Options of an INT8 export. ``calibration_images``: the first so many of the calibration images,
null for all of them. ``float_layers``: layers that stay in float, see ``chosen``."""

PARTS = frozenset({"conv", "bn", "act"})
"""Modules that are parts of one layer: what Ultralytics' ``Conv`` is made of."""

CLOSE_NAMES = 3
"""Names of layers to propose in place of one that is not there."""


def first_images(
    images: Sequence[npt.NDArray[np.float32]], count: int | None
) -> Sequence[npt.NDArray[np.float32]]:
    """The first ``count`` images, all for None. Raises ExportError if there are fewer."""
    if count is None:
        return images
    if count > len(images):
        raise ExportError(
            f"calibration_images asks for {count}, and {len(images)} were given",
            remedy="Raise `images` under `calibration`, or give the data set more to calibrate on.",
        )
    return images[:count]


def layers(nodes: Iterable[str]) -> dict[str, list[str]]:
    """The nodes of each layer, in the order given.

    ``nodes`` are the names of all operators of a graph exported by ``write_onnx``: the path of the
    modules, and the operator, ``/model.2/m.0/cv1/conv/Conv``.
    """
    places = {node: _place(node) for node in nodes}
    modules = {module for module, _ in places.values()}
    containers = {
        module[:end] for module in modules for end, letter in enumerate(module) if letter == "."
    }
    found: dict[str, list[str]] = {}
    for node, (module, operator) in places.items():
        layer = f"{module}.{operator}" if module in containers else module
        found.setdefault(layer, []).append(node)
    return found


def _place(node: str) -> tuple[str, str]:
    """The path of a node's module, and the node's own name within it.

    The exporter names the member of a list after the list itself: ``/cv3.0/cv3.0.1/conv``.
    """
    *modules, operator = node.strip("/").split("/")
    path: list[str] = []
    for module in modules:
        if path and module.startswith(path[-1] + "."):
            path.pop()
        path.append(module)
    while len(path) > 1 and path[-1] in PARTS:
        path.pop()
    return ".".join(path) or operator, operator


def chosen(known: Mapping[str, Sequence[str]], patterns: Iterable[str]) -> list[str]:
    """The layers that ``patterns`` name, in the order of the model.

    ``known`` is what ``layers`` gives. A pattern is the name of a layer (``model.2.cv1``), of a
    module, for all layers in it (``model.23``), or of a node (``/model.2/cv1/conv/Conv``), with
    ``*`` and ``?`` for any characters (``model.23.cv3.*``). Raises ExportError for one that names
    none.
    """
    found: set[str] = set()
    for pattern in patterns:
        hits = [layer for layer in known if _names(pattern, layer, known[layer])]
        if not hits:
            near = difflib.get_close_matches(pattern, list(known), n=CLOSE_NAMES)
            raise ExportError(
                f"float_layers: no layer is named like {pattern!r}",
                remedy=f"Close to it are {', '.join(near)}." if near else "",
            )
        found.update(hits)
    return [layer for layer in known if layer in found]


def note(patterns: Sequence[str], kept: Sequence[str]) -> tuple[str, ...]:
    """A sentence for people on the layers that ``float_layers`` named, none where it is empty."""
    if not patterns:
        return ()
    return (f"kept in float by float_layers: {', '.join(patterns)} ({len(kept)} layers)",)


def _names(pattern: str, layer: str, nodes: Sequence[str]) -> bool:
    whole = any(fnmatch.fnmatchcase(layer, form) for form in (pattern, f"{pattern}.*"))
    return whole or any(fnmatch.fnmatchcase(node, pattern) for node in nodes)

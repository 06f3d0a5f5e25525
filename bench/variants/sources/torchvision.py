"""torchvision's detectors, from a state file and the name of their architecture."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploymark.backends.inputs import PLAIN_INPUT, Size
from deploymark.backends.layout import OutputSpec
from deploymark.backends.model import LoadedModel
from deploymark.bench.data.coco_names import NO_CLASS
from deploymark.bench.errors import BadInputError
from deploymark.bench.yaml_source import did_you_mean

if TYPE_CHECKING:
    from torch import nn

MORE_THAN_BOXES = ("maskrcnn", "keypointrcnn")
"""Beginnings of the names of architectures that give more than boxes."""

NESTED = ("model", "model_state_dict", "state_dict")
"""Keys under which training scripts put the state (torchvision's own ``references`` the first)."""

NAMED_KEYS = 5
"""Keys of weights that a message names."""

FLOAT_NODES = (r"^/(model/)?((head|rpn|roi_heads)/(?!.*/(Conv|Gemm)$).*|[A-Z].*)",)
"""What stays in float: all but convolutions and fully connected layers behind the backbone."""


def architectures() -> list[str]:
    """The names of torchvision's builders of detectors that give boxes."""
    from torchvision import models

    names = models.list_models(module=models.detection)
    return [name for name in names if not name.startswith(MORE_THAN_BOXES)]


def load(path: Path, architecture: str) -> LoadedModel:
    """The detector of a state file. Raises BadInputError where the two do not fit."""
    known = architectures()
    if architecture not in known:
        raise BadInputError(
            f"torchvision has no detector {architecture!r} that gives boxes"
            f"{did_you_mean(architecture, known)}",
            remedy=f"Write one of {', '.join(known)}.",
        )
    state, names = _state(path)
    classes = _classes(path, architecture, state)
    module = built(architecture, classes)
    _check(path, architecture, state, module.state_dict())
    module.load_state_dict(state)
    return loaded(module, architecture, names or _names(classes))


def loaded(module: Any, architecture: str, names: tuple[str, ...]) -> LoadedModel:
    """A detector of torchvision as it is to be exported.

    Its own resizing is an identity at the size exported; its normalisation stays in the graph. SSD
    is stretched to its size as by its own, others keep the ratio, and lie at the top left.
    """
    own = module.transform
    stretched = own.fixed_size is not None
    spec = (
        dataclasses.replace(PLAIN_INPUT, resize="stretch")
        if stretched
        else dataclasses.replace(PLAIN_INPUT, placement="top-left")
    )

    def at(size: Size) -> None:
        own.min_size, own.max_size = (min(size),), max(size)
        own.fixed_size = (size.width, size.height)

    return LoadedModel(
        module=wrapped(module),
        names=names,
        input=spec,
        output=OutputSpec("torchvision"),
        float_nodes=FLOAT_NODES,
        family=architecture,
        at=at,
    )


def wrapped(module: Any) -> nn.Module:
    """The module as one of a batch of one that gives boxes, labels and scores."""
    from torch import nn

    class Detector(nn.Module):  # type: ignore[misc]
        """Images (1, 3, height, width) in; boxes (n, 4), labels (n,) and scores (n,) out."""

        def __init__(self) -> None:
            super().__init__()
            self.model = module

        def forward(self, images: Any) -> tuple[Any, Any, Any]:
            with _exportable_suppression(max(images.shape[2:])):
                found = self.model([images[0]])[0]
            return found["boxes"], found["labels"], found["scores"]

    ready = Detector().eval()
    for parameter in ready.parameters():
        parameter.requires_grad_(requires_grad=False)
    return ready


@contextlib.contextmanager
def _exportable_suppression(side: int) -> Iterator[None]:
    """Under ``torch.export``, suppression by class that does not ask how many boxes there are.

    torchvision's own asks, which no program can hold. Boxes of classes are moved apart by more than
    ``side``, the longer one of the input in pixels, as its own moves them by the farthest corner.
    """
    import torch
    from torchvision.ops import boxes as operators

    if not torch.compiler.is_exporting():
        yield
        return
    own = operators.batched_nms

    def batched_nms(boxes: Any, scores: Any, idxs: Any, iou_threshold: float) -> Any:
        moved = boxes + idxs.to(boxes)[:, None] * (side + 1.0)
        return operators.nms(moved, scores, iou_threshold)

    operators.batched_nms = batched_nms
    try:
        yield
    finally:
        operators.batched_nms = own


def built(architecture: str, classes: int, device: str = "cpu") -> Any:
    """A detector with weights as its builder draws them, in evaluation mode."""
    import torch
    from torchvision import models

    with torch.device(device):
        return models.get_model(
            architecture, weights=None, weights_backbone=None, num_classes=classes
        ).eval()


@functools.cache
def _shapes(architecture: str, classes: int) -> dict[str, tuple[int, ...]]:
    """The shapes of the weights for a number of classes, without making them."""
    state = built(architecture, classes, "meta").state_dict()
    return {key: tuple(value.shape) for key, value in state.items()}


def _classes(path: Path, architecture: str, state: Mapping[str, Any]) -> int:
    """The number of classes, background included, from the weights that grow with it."""
    two, three = _shapes(architecture, 2), _shapes(architecture, 3)
    for key, shape in two.items():
        growth = three[key][0] - shape[0] if shape else 0
        if growth and key in state:
            count, rest = divmod(int(state[key].shape[0]) - shape[0], growth)
            if rest == 0 and count >= 0:
                return 2 + count
    grows = [key for key, shape in two.items() if shape != three[key]]
    raise BadInputError(
        f"{path} is no state of {architecture}: it has none of {', '.join(grows[:NAMED_KEYS])}",
        remedy="Give the architecture that the state was saved from.",
    )


def _state(path: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The weights in a file, and class names where it has a list ``names`` or ``categories``."""
    import torch

    if not path.is_file():
        raise BadInputError(f"{path}: no such file")
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise BadInputError(
            f"{path} is no file of weights: {type(error).__name__}",
            remedy="Save the state alone: torch.save(model.state_dict(), path).",
        ) from error
    names: tuple[str, ...] = ()
    if isinstance(held, dict):
        given = held.get("names") or held.get("categories") or ()
        names = tuple(map(str, given)) if isinstance(given, (list, tuple)) else ()
        inner = next((held[key] for key in NESTED if isinstance(held.get(key), dict)), held)
        state = {key: value for key, value in inner.items() if isinstance(value, torch.Tensor)}
        if state:
            return state, names
    raise BadInputError(
        f"{path} holds no weights",
        remedy="Save the state: torch.save(model.state_dict(), path).",
    )


def _check(
    path: Path, architecture: str, state: Mapping[str, Any], wanted: Mapping[str, Any]
) -> None:
    """Raise BadInputError, naming the keys, unless a state is that of the architecture."""
    faults = {
        "lacks": [key for key in wanted if key not in state],
        "has besides": [key for key in state if key not in wanted],
        "has of another shape": [
            f"{key} {tuple(state[key].shape)} for {tuple(value.shape)}"
            for key, value in wanted.items()
            if key in state and state[key].shape != value.shape
        ],
    }
    told = [
        f"{what} {', '.join(keys[:NAMED_KEYS])}"
        + (f" and {len(keys) - NAMED_KEYS} more" if len(keys) > NAMED_KEYS else "")
        for what, keys in faults.items()
        if keys
    ]
    if told:
        raise BadInputError(
            f"{path} is no state of {architecture}: it {'; it '.join(told)}",
            remedy="Give the architecture that the state was saved from.",
        )


def _names(classes: int) -> tuple[str, ...]:
    """Torchvision's names of COCO's 91 classes; else numbers, which a data set may name."""
    from torchvision.models.detection import SSDLite320_MobileNet_V3_Large_Weights

    coco = tuple(SSDLite320_MobileNet_V3_Large_Weights.COCO_V1.meta["categories"])
    if classes == len(coco):
        return (NO_CLASS, *coco[1:])
    return (NO_CLASS, *(f"class_{index}" for index in range(1, classes)))

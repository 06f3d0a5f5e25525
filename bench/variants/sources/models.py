"""Any model by its source: opened for one size, described, ready to be exported."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from deploymark.backends.base import Detector
from deploymark.backends.errors import ExportError
from deploymark.backends.exporting import require_outputs
from deploymark.backends.layout import (
    BOX_CHANNELS,
    DETECTION_COLUMNS,
    OutputSpec,
    Size,
)
from deploymark.backends.model import LoadedModel
from deploymark.bench.errors import BadInputError
from deploymark.bench.matrix.model_source import ModelSource
from deploymark.bench.variants.checkpoint import check_stride
from deploymark.bench.variants.model_counts import count_macs, nonzero_fraction
from deploymark.bench.variants.sources import hugging_face, loader, torchvision, ultralytics


def open_model(source: ModelSource, size: Size, *, fake_quantized: bool = False) -> LoadedModel:
    """The model of a source, set up for one size.

    Raises BadInputError where it cannot be opened, is no detector, or does not take the size.
    """
    path = None if source.path is None else Path(source.path)
    if source.kind == "ultralytics":
        model = ultralytics.load(
            Path(source.path or ""), size, source.head, fake_quantized=fake_quantized
        )
    elif source.kind == "hugging-face":
        model = hugging_face.load(Path(source.path or ""))
    elif source.kind == "torchvision":
        model = torchvision.load(Path(source.path or ""), source.architecture or "")
    else:
        model = loader.load(source.loader or "", path)
    check_stride(source.told, size, model.stride)
    if model.input.height is not None and model.input.size != size:
        raise BadInputError(
            f"{source.told} takes images of {model.input.size} alone, not of {size}",
            remedy=f"Write imgsz: [{model.input.size}].",
        )
    if model.at is not None:
        model.at(size)
    return model


def factory(model: LoadedModel) -> Callable[[], Any]:
    """A function that returns a fresh module on every call; the modules share nothing."""
    return lambda: copy.deepcopy(model.module)


def describe(model: LoadedModel, size: Size) -> Detector:
    """What is known of a model, at a size.

    ``params`` counts its parameters, ``macs`` are those of ``count_macs``, ``nonzero_fraction`` is
    the share of the learned weights of convolutions and linear layers that are not 0. Raises
    BadInputError where what it gives is not what its output contract says.
    """
    module = copy.deepcopy(model.module)
    macs, found = count_macs(module, size, model.input)
    _check(model, found)
    return Detector(
        names=model.names,
        stride=model.stride,
        output=model.output,
        spec=model.input,
        family=model.family,
        params=sum(parameter.numel() for parameter in module.parameters()),
        macs=macs,
        nonzero_fraction=nonzero_fraction(module),
    )


def _check(model: LoadedModel, found: Any) -> None:
    try:
        require_outputs(found, model.output)
    except ExportError as error:
        raise BadInputError(error.message, remedy=error.remedy) from error
    arrays = found if isinstance(found, tuple) else (found,)
    shapes = [tuple(array.shape) for array in arrays]
    wanted = _shapes(model.output, len(model.names))
    fits = all(
        expected is None
        or (
            len(shape) == len(expected)
            and all(size in (None, is_) for is_, size in zip(shape, expected, strict=True))
        )
        for shape, expected in zip(shapes, wanted, strict=True)
    )
    if not fits:
        raise BadInputError(
            f"the model's output of shape {_told(shapes)} is no {model.output.layout} of "
            f"{len(model.names)} classes",
            remedy=f"Expected is {_told([shape for shape in wanted if shape is not None])}, with "
            "any number in place of None.",
        )


def _shapes(output: OutputSpec, classes: int) -> Sequence[tuple[int | None, ...] | None]:
    """The shapes of a layout's arrays for one image: None for a size, or a shape, that is open."""
    scores, objects = BOX_CHANNELS + classes, BOX_CHANNELS + 1 + classes
    logits = classes + (output.scores == "softmax")
    one: dict[str, Sequence[tuple[int | None, ...] | None]] = {
        "anchors": [(1, scores, None)],
        "anchors-last": [(1, None, scores)],
        "yolov5": [(1, None, objects)],
        "yolox": [(1, None, objects)],
        "detections": [(1, None, DETECTION_COLUMNS)],
        "queries": [(1, None, scores)],
        "detr": [(1, None, logits), (1, None, BOX_CHANNELS)],
        "rtdetr": [(1, None), (1, None, BOX_CHANNELS), (1, None)],
        "nms-in-graph": [None, (1, None, BOX_CHANNELS), (1, None), (1, None)],
        "ssd": [(1, None, BOX_CHANNELS), (1, None), (1, None), None],
        "torchvision": [(None, BOX_CHANNELS), (None,), (None,)],
        "paddle": [(None, DETECTION_COLUMNS), (None,)],
    }
    return one[output.layout]


def _told(shapes: Sequence[tuple[int | None, ...]]) -> str:
    return " and ".join(map(str, shapes))

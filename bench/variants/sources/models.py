"""Any model by its source: opened for one size, described, ready to be exported."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from deploymark.backends.base import Detector
from deploymark.backends.errors import ExportError
from deploymark.backends.exporting import require_outputs
from deploymark.backends.layout import BOX_CHANNELS, OutputLayout, Size
from deploymark.backends.model import LoadedModel
from deploymark.backends.outputs import images_of
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
    """What is known of a model, at a size, which its input contract then has.

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
        # a file of ours has its arrays in the order of the layout
        output=dataclasses.replace(model.output, names=()),
        spec=model.input.at(size),
        family=model.family,
        licence=model.licence,
        params=sum(parameter.numel() for parameter in module.parameters()),
        macs=macs,
        nonzero_fraction=nonzero_fraction(module),
    )


def _check(model: LoadedModel, found: Any) -> None:
    try:
        require_outputs(found, model.output)
    except ExportError as error:
        raise BadInputError(error.message, remedy=error.remedy) from error
    arrays = [item.numpy() for item in (found if isinstance(found, tuple) else (found,))]
    shapes = " and ".join(str(array.shape) for array in arrays)
    try:
        images_of(tuple(arrays) if len(arrays) > 1 else arrays[0], model.output)
    except ValueError as error:
        raise BadInputError(f"the model's output is not what its contract says: {error}") from error
    layout, classes = model.output.layout, len(model.names)
    if layout not in _CLASS_AXES:
        return
    array, axis, besides = _CLASS_AXES[layout]
    besides += layout == "detr" and model.output.scores == "softmax"
    if arrays[array].shape[axis] != besides + classes:
        raise BadInputError(
            f"the model's output of shape {shapes} is no {layout} of {classes} classes",
            remedy="Give as many class names as the model has classes.",
        )


_CLASS_AXES: Mapping[OutputLayout, tuple[int, int, int]] = {
    "anchors": (0, 1, BOX_CHANNELS),
    "anchors-last": (0, 2, BOX_CHANNELS),
    "yolov5": (0, 2, BOX_CHANNELS + 1),
    "yolox": (0, 2, BOX_CHANNELS + 1),
    "queries": (0, 2, BOX_CHANNELS),
    "detr": (0, 2, 0),
}
"""Where a layout has one score a class: which array, its axis, and how many values are besides."""

"""Networks of random weights, from a picture to its boxes: as their own libraries find them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deploymark.backends.base import ExportRequest, LoadOptions, Size
from deploymark.backends.model import LoadedModel
from deploymark.backends.registry import BUILTIN, resolve
from deploymark.bench.variants.sources import random_models
from deploymark.bench.variants.sources.models import describe, factory
from deploymark.bench.worker.detections import Detections, decode
from deploymark.bench.worker.letterbox import geometry, letterbox, to_input, unletterbox_boxes

pytestmark = pytest.mark.heavy

torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")

SIZE = Size(96, 160)
"""Neither square, nor of the picture's ratio."""

SHOWN = 0.3
MARGIN = 1e-4
"""How far a score is from ``SHOWN``, and the last query that is chosen from the first that is not:
float32 in another order of sums errs by some 1e-6, so that neither turns over."""

EXCHANGED = ("onnxruntime", "openvino")
BACKENDS = {"yolos": ("torch", "torchscript", *EXCHANGED)}
"""Of the other families, ``EXCHANGED``: what differs between them is in the graph."""


def picture() -> Any:
    """100 x 120 pixels of red, green and blue patches: turned round, or in BGR, it is another."""
    from PIL import Image

    drawn = np.random.default_rng(3).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(drawn).resize((120, 100), Image.Resampling.BILINEAR)


def ours(
    model: LoadedModel, backend_name: str, folder: Path, precision: str = "fp32"
) -> Detections:
    """The boxes of the picture, in its pixels, through a backend."""
    if model.at is not None:
        model.at(SIZE)
    detector = describe(model, SIZE)
    image, spec = picture(), detector.spec
    pixels = to_input(letterbox(image, spec)[None], spec)
    backend = resolve(BUILTIN[backend_name])
    request = ExportRequest(
        model=factory(model),
        detector=detector,
        precision=precision,
        device="cpu",
        imgsz=SIZE,
        batch=1,
        folder=folder,
        calibration=(lambda: [pixels]) if precision == "int8" else None,
        float_nodes=model.float_nodes,
        options=backend.resolve_options(precision, {}),
    )
    options = LoadOptions(
        "cpu", precision, 1, request.input_shape, spec=spec, output=detector.output
    )
    session = backend.load(backend.export(request), options)
    (found,) = decode(session.infer(pixels), detector.output, SIZE, conf=SHOWN, multi_label=True)
    place = geometry(*image.size, spec)
    return dataclasses.replace(found, boxes=unletterbox_boxes(found.boxes, place))


def hugging_face(model: LoadedModel) -> dict[str, Any]:
    """By the image processor of RT-DETR or DETR, Pillow's."""
    import transformers

    softmax = model.output.scores == "softmax"
    name = "DetrImageProcessorPil" if softmax else "RTDetrImageProcessorPil"
    processor = getattr(transformers, name)(
        size={"height": SIZE.height, "width": SIZE.width}, do_pad=False
    )
    image = picture()
    given = processor(images=image, return_tensors="pt")
    with torch.no_grad():
        found = factory(model)().model(pixel_values=given["pixel_values"])
    if (ranks := found.get("enc_outputs_class")) is not None:
        best, count = ranks.max(-1).values[0].sort(descending=True).values, found.logits.shape[1]
        assert best[count - 1] - best[count] > MARGIN
    (result,) = processor.post_process_object_detection(
        found, threshold=SHOWN, target_sizes=[(image.height, image.width)]
    )
    sides = [image.width, image.height] * 2  # ours end where the picture does
    return {
        "boxes": np.clip(result["boxes"].numpy(), 0, sides),
        "scores": result["scores"].numpy(),
        "labels": result["labels"].numpy(),
    }


def torchvision(model: LoadedModel) -> dict[str, Any]:
    """By the module itself, of the picture in its size."""
    image = picture()
    spec = model.input.at(SIZE)
    assert model.at is not None
    model.at(SIZE)
    given = to_input(letterbox(image, spec)[None], spec)
    with torch.no_grad():
        (result,) = factory(model)().model([torch.from_numpy(given[0])])
    shown = result["scores"] > SHOWN
    boxes = result["boxes"][shown].numpy()
    place = geometry(*image.size, spec)
    return {
        "boxes": unletterbox_boxes(boxes, place),
        "scores": result["scores"][shown].numpy(),
        "labels": result["labels"][shown].numpy(),
    }


FAMILIES: dict[str, Callable[[LoadedModel], dict[str, Any]]] = {
    "rtdetr": hugging_face,
    "dfine": hugging_face,
    "detr": hugging_face,
    "yolos": hugging_face,
    "ssdlite": torchvision,
    "faster_rcnn": torchvision,
}


@pytest.mark.parametrize("family", FAMILIES)
def test_boxes_are_those_of_the_library(family: str, tmp_path: Path) -> None:
    library = FAMILIES[family]
    if library is hugging_face:
        pytest.importorskip("transformers")
    model = getattr(random_models, family)()
    expected = library(model)
    assert len(expected["scores"]) > 3
    assert np.ptp(expected["scores"]) > 0.1
    assert np.abs(expected["scores"] - SHOWN).min() > MARGIN
    for name in BACKENDS.get(family, EXCHANGED):
        folder = tmp_path / name
        folder.mkdir()
        found = ours(model, name, folder)
        same_boxes(name, found, expected)


def same_boxes(name: str, found: Detections, expected: dict[str, Any]) -> None:
    """Each box has one of its class within 1 pixel and 1e-3 of score on the other side."""
    assert len(found) == len(expected["scores"]), name
    free = list(range(len(found)))
    for box, score, label in zip(
        expected["boxes"], expected["scores"], expected["labels"], strict=True
    ):
        near = [
            index
            for index in free
            if found.classes[index] == label
            and abs(found.scores[index] - score) < 1e-3
            and np.abs(found.boxes[index] - box).max() < 1
        ]
        assert near, f"{name}: no box of class {label} at {box} with {score}"
        free.remove(near[0])


def test_what_torch_export_cannot_hold_is_told_by_its_operator(tmp_path: Path) -> None:
    from deploymark.backends.base import UnsupportedError

    with pytest.raises(UnsupportedError, match="_multiscale_roi_align"):
        ours(random_models.faster_rcnn(), "torch", tmp_path)


@pytest.mark.parametrize(
    ("family", "name"),
    [("rtdetr", "onnxruntime"), ("rtdetr", "openvino")],
)
def test_int8_keeps_decoders_in_float(family: str, name: str, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    pytest.importorskip("nncf")
    model = getattr(random_models, family)()
    folders = [tmp_path / precision for precision in ("fp32", "int8")]
    for folder in folders:
        folder.mkdir()
    full, rounded = (ours(model, name, folder, folder.name) for folder in folders)
    assert np.isfinite(rounded.boxes).all()
    assert len(rounded) > 0.5 * len(full) > 2


@pytest.mark.parametrize("family", ["rtdetr", "detr"])
def test_several_outputs_are_refused_by_name_elsewhere(family: str, tmp_path: Path) -> None:
    from deploymark.backends.base import UnsupportedError

    pytest.importorskip("transformers")
    with pytest.raises(UnsupportedError, match=r"mnn .*logits, boxes"):
        ours(getattr(random_models, family)(), "mnn", tmp_path)

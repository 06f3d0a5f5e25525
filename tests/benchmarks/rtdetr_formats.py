"""Ultralytics' RT-DETR-l of random weights: how far formats and INT8 agree with PyTorch.

    python tests/benchmarks/rtdetr_formats.py IMAGES [SIDE]

IMAGES is a folder of pictures, of which 16 are taken; SIDE is 320 by default. Prints the agreement
(``backends.agreement``) of each with eager PyTorch, and of INT8 with its FP32.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deploymark.backends.agreement import agreement
from deploymark.backends.base import ExportRequest, LoadOptions, Size
from deploymark.backends.registry import BUILTIN, resolve
from deploymark.bench.data.image_lists import list_images
from deploymark.bench.data.images import letterboxed
from deploymark.bench.variants.sources import random_models
from deploymark.bench.variants.sources.models import describe, factory
from deploymark.bench.worker.letterbox import to_input

CELLS = (
    ("torch", "fp32"),
    ("torchscript", "fp32"),
    ("onnxruntime", "fp32"),
    ("openvino", "fp32"),
    ("onnxruntime", "int8"),
    ("openvino", "int8"),
)
IMAGES = 16
SHOWN = 0.25


def main(folder: Path, size: Size) -> None:
    """Export, infer, compare."""
    model = random_models.ultralytics_rtdetr()
    detector = describe(model, size)
    pictures = [letterboxed(path, detector.spec)[0] for path in list_images(folder)[:IMAGES]]
    inputs = [to_input(pixels[None], detector.spec) for pixels in pictures]
    module = factory(model)()
    with torch.inference_mode():
        expected: list[Any] = [module(torch.from_numpy(images)).numpy() for images in inputs]
    boxes = sum(int((raw[..., 4] > SHOWN).sum()) for raw in expected)
    print(f"{len(inputs)} pictures, {boxes} boxes above {SHOWN}")
    found: dict[tuple[str, str], list[Any]] = {}
    for name, precision in CELLS:
        backend = resolve(BUILTIN[name])
        with tempfile.TemporaryDirectory() as scratch:
            request = ExportRequest(
                model=factory(model),
                detector=detector,
                precision=precision,
                device="cpu",
                imgsz=size,
                batch=1,
                folder=Path(scratch),
                calibration=(lambda: inputs) if precision == "int8" else None,
                float_nodes=model.float_nodes,
                options=backend.resolve_options(precision, {}),
            )
            options = LoadOptions(
                "cpu",
                precision,
                1,
                request.input_shape,
                spec=detector.spec,
                output=detector.output,
            )
            session = backend.load(backend.export(request), options)
            raw = [np.array(session.infer(images)) for images in inputs]
        found[name, precision] = raw
        finite = all(np.isfinite(each).all() for each in raw)
        with_torch = agreement(expected, raw, detector.output, size)
        line = f"{name} {precision}: finite {finite}, agrees with PyTorch by {with_torch:.3f}"
        if precision != "fp32":
            own = agreement(found[name, "fp32"], raw, detector.output, size)
            line += f", with its FP32 by {own:.3f}"
        print(line, flush=True)


if __name__ == "__main__":
    side = int(sys.argv[2]) if len(sys.argv) > 2 else 320
    main(Path(sys.argv[1]), Size(side, side))

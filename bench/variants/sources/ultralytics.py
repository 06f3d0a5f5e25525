"""Ultralytics' checkpoints: YOLO, and RT-DETR."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deploymark.backends.families import FAMILIES
from deploymark.backends.layout import MAX_DETECTIONS, OutputSpec, Size
from deploymark.backends.model import LoadedModel
from deploymark.bench.errors import BadInputError
from deploymark.bench.variants import checkpoint


def load(
    path: Path, size: Size, head: str = "auto", *, fake_quantized: bool = False
) -> LoadedModel:
    """The detector of a ``.pt``, ready for export at a size.

    ``head`` and ``fake_quantized`` are those of ``checkpoint.model_factory``, of a YOLO. Raises
    BadInputError.
    """
    module = checkpoint.load_any(path)
    if type(checkpoint.head_of(module)).__name__ == "RTDETRDecoder":
        if head != "auto":
            raise BadInputError(f"{path}: an RT-DETR has one head", remedy="Leave out `head`.")
        checkpoint.check_stride(str(path), size, checkpoint.stride_of(module))
        return rtdetr(module)
    ready = checkpoint.prepared(path, module, size, head, fake_quantized=fake_quantized)
    return LoadedModel(
        module=ready,
        names=checkpoint.class_names(ready),
        output=OutputSpec(checkpoint.output_layout(ready)),
        stride=checkpoint.stride_of(ready),
        float_nodes=checkpoint.float_nodes(ready),
        family=checkpoint.family_of(ready),
    )


def rtdetr(module: Any) -> LoadedModel:
    """An RT-DETR before fusing as it is to be exported.

    Its output is what Ultralytics' own export gives: from 8.4.190 on the best boxes of all queries,
    before that all queries with all their scores.
    """
    head = checkpoint.head_of(checkpoint.fused(module))
    head.export, head.format, head.dynamic = True, "onnx", False
    head.max_det = MAX_DETECTIONS
    head.shapes = None  # anchors are made anew for the size
    ranked = hasattr(head, "postprocess")
    return LoadedModel(
        module=module,
        names=checkpoint.class_names(module),
        input=FAMILIES["ultralytics-rtdetr"].input,
        output=OutputSpec("queries-ranked" if ranked else "queries", boxes="normalised"),
        stride=checkpoint.stride_of(module),
        # all of the decoder but what projects the features into it
        float_nodes=(rf"^/model\.{len(module.model) - 1}/(?!input_proj).*",),
        family=checkpoint.family_of(module),
    )

"""Ultralytics' checkpoints: YOLO, and RT-DETR."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deploymark.backends.families import FAMILIES
from deploymark.backends.layout import OutputSpec, Size
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
        return _rtdetr(module)
    ready = checkpoint.prepared(path, module, size, head, fake_quantized=fake_quantized)
    return LoadedModel(
        module=ready,
        names=checkpoint.class_names(ready),
        output=OutputSpec(checkpoint.output_layout(ready)),
        stride=checkpoint.stride_of(ready),
        float_nodes=checkpoint.float_nodes(ready),
        family=checkpoint.family_of(ready),
    )


def _rtdetr(module: Any) -> LoadedModel:
    """An RT-DETR whose output is all queries with all their scores, as its layout has them.

    From 8.4 on Ultralytics' head picks the best scores itself, which every reader of the layout
    does anyhow; without that, all versions give the same.
    """
    head = checkpoint.head_of(checkpoint.fused(module))
    head.export, head.format, head.dynamic = True, "onnx", False
    head.shapes = None  # anchors are made anew for the size
    head.postprocess = _all_queries
    family = FAMILIES["ultralytics-rtdetr"]
    return LoadedModel(
        module=module,
        names=checkpoint.class_names(module),
        input=family.input,
        output=family.outputs[0],
        stride=checkpoint.stride_of(module),
        # all of the decoder but what projects the features into it
        float_nodes=(rf"^/model\.{len(module.model) - 1}/(?!input_proj).*",),
        family=checkpoint.family_of(module),
    )


def _all_queries(boxes: Any, scores: Any) -> Any:
    """Boxes (batch, n, 4) and scores (batch, n, classes) side by side."""
    import torch

    return torch.cat([boxes, scores], -1)

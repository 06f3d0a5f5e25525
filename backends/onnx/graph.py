"""From a torch module to an ONNX file: the common first step of several exporters."""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from deploymark.backends import exporting
from deploymark.backends.base import ExportError, ExportRequest
from deploymark.backends.exporting import quiet as quiet  # noqa: PLC0414 - handed on

OPSET = 17
"""The newest opset of the TorchScript-based exporter that every consumer here reads."""

INPUT_NAME = "images"
OUTPUT_NAME = "output0"


def write_onnx(model: Any, path: Path, *, batch: int, imgsz: int, opset: int = OPSET) -> None:
    """Write a module as an FP32 ONNX file of fixed shape, (batch, 3, imgsz, imgsz).

    The TorchScript-based exporter is taken on purpose: it names nodes by module path
    (``/model.23/dfl/conv/Conv``), which is what ``ExportRequest.float_nodes`` speaks of, and gives
    the same bytes each time. ``opset`` is up to 20 with this exporter. Raises ExportError.
    """
    import torch

    example = torch.zeros(batch, 3, imgsz, imgsz)
    with exporting.failures("torch.onnx.export"), torch.no_grad(), quiet("torch.onnx"):
        exporting.forward_once(model, example)
        torch.onnx.export(
            model,
            (example,),
            str(path),
            dynamo=False,
            opset_version=opset,
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
        )


@contextlib.contextmanager
def onnx_file(request: ExportRequest, model: Any = None) -> Iterator[Path]:
    """The requested model as an FP32 ONNX file, in a folder of its own that is gone afterwards.

    ``model`` is taken in place of the request's, where an exporter has changed it before.
    """
    with tempfile.TemporaryDirectory(prefix="deploymark-") as folder:
        source = Path(folder, "fp32.onnx")
        asked = request.model() if model is None else model
        write_onnx(asked, source, batch=request.batch, imgsz=request.imgsz)
        yield source


def matching(names: Iterable[str], patterns: Iterable[str]) -> list[str]:
    """The names that one of the regular expressions matches in full.

    Raises ExportError for an expression that matches none: quantizing would round the very nodes
    that it was to spare.
    """
    found: list[str] = []
    known = list(names)
    for pattern in patterns:
        hits = [name for name in known if re.fullmatch(pattern, name)]
        if not hits:
            raise ExportError(f"no node of the exported graph is named like {pattern!r}")
        found += [name for name in hits if name not in found]
    return found

"""From a torch module to an ONNX file: the common first step of several exporters."""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from deploymark.backends import exporting
from deploymark.backends.base import (
    PLAIN_INPUT,
    PLAIN_OUTPUT,
    ExportError,
    ExportRequest,
    InputSpec,
    OutputSpec,
    Size,
)
from deploymark.backends.exporting import quiet as quiet  # noqa: PLC0414 - handed on
from deploymark.backends.layout import ROLES

OPSET = 17
"""The newest opset of the TorchScript-based exporter that every consumer here reads."""

INPUT_NAME = "images"
OUTPUT_NAME = "output0"


def write_onnx(
    model: Any,
    path: Path,
    *,
    batch: int,
    imgsz: Size,
    spec: InputSpec = PLAIN_INPUT,
    output: OutputSpec = PLAIN_OUTPUT,
    opset: int = OPSET,
) -> None:
    """Write a module as an FP32 ONNX file of fixed shape, (batch, 3, height, width).

    Inputs are ``INPUT_NAME`` and the extra ones of ``spec`` by their names, outputs as
    ``output_names`` has them. The TorchScript-based exporter is taken on purpose: it names nodes by
    module path (``/model.23/dfl/conv/Conv``), which is what ``ExportRequest.float_nodes`` speaks
    of, and gives the same bytes each time. ``opset`` is up to 20 with this exporter. Raises
    ExportError, and UnsupportedError naming an operator that ONNX does not have.
    """
    import torch

    shape = (batch, 3, *imgsz)
    given = exporting.examples(spec, shape)
    with exporting.failures("torch.onnx.export"), torch.no_grad(), quiet("torch.onnx"):
        exporting.forward_once(model, *given, output=output)
        torch.onnx.export(
            model,
            given,
            str(path),
            dynamo=False,
            opset_version=opset,
            input_names=[INPUT_NAME, *(item.name for item in spec.extra)],
            output_names=list(output_names(output)),
        )


def output_names(output: OutputSpec) -> tuple[str, ...]:
    """The names of a file's outputs: those of the contract, ``OUTPUT_NAME`` for one of no name."""
    return output.names or ROLES.get(output.layout, (OUTPUT_NAME,))


@contextlib.contextmanager
def onnx_file(request: ExportRequest, model: Any = None) -> Iterator[Path]:
    """The requested model as an FP32 ONNX file, in a folder of its own that is gone afterwards.

    ``model`` is taken in place of the request's, where an exporter has changed it before.
    """
    with tempfile.TemporaryDirectory(prefix="deploymark-") as folder:
        source = Path(folder, "fp32.onnx")
        write_onnx(
            request.model() if model is None else model,
            source,
            batch=request.batch,
            imgsz=request.imgsz,
            spec=request.detector.spec,
            output=request.detector.output,
        )
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

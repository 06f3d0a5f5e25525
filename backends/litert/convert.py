"""From a torch module to an FP32 LiteRT file, quietly."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path

from deploymark.backends.base import ExportRequest
from deploymark.backends.exporting import forward_once, quiet
from deploymark.backends.litert import file as litert_file
from deploymark.backends.litert import quantize as litert_quantize


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Hold back what converter and quantizer print: progress of both, on both streams."""
    with (
        quiet("absl", "jax", "torch"),
        io.StringIO() as sink,
        contextlib.redirect_stdout(sink),
        contextlib.redirect_stderr(sink),
    ):
        yield


def convert(request: ExportRequest, target: Path) -> list[str]:
    """Write the FP32 file; gives the scopes that are to stay in float.

    Raises ExportError.
    """
    import litert_torch
    import torch

    model = request.model()
    example = torch.zeros(request.input_shape)
    with torch.no_grad():
        forward_once(model, example)
        quantized = request.precision.startswith("int8")
        patterns = request.float_nodes if quantized else ()
        floats = litert_quantize.float_scopes(model, example, patterns)
        converter = litert_torch.signature(litert_file.SIGNATURE, model, (example,))
        converter.convert().export(str(target))
    return floats

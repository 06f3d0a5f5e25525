"""From a torch module to an ONNX file: the common first step of several exporters."""

from __future__ import annotations

import contextlib
import logging
import re
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from deploymark.backends.base import ExportError

OPSET = 17
"""The newest opset of the TorchScript-based exporter that every consumer here reads."""

INPUT_NAME = "images"
OUTPUT_NAME = "output0"


@contextlib.contextmanager
def quiet(*loggers: str) -> Iterator[None]:
    """Hold back warnings, and log records below ERROR of these loggers.

    An exporter's deprecation notes and tracer warnings are addressed to its developers; a failure
    still raises.
    """
    levels = {name: logging.getLogger(name).level for name in loggers}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for name in loggers:
                logging.getLogger(name).setLevel(logging.ERROR)
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)


def write_onnx(model: Any, path: Path, *, batch: int, imgsz: int, opset: int = OPSET) -> None:
    """Write a module as an FP32 ONNX file of fixed shape, (batch, 3, imgsz, imgsz).

    The TorchScript-based exporter is taken on purpose: it names nodes by module path
    (``/model.23/dfl/conv/Conv``), which is what ``ExportRequest.float_nodes`` speaks of, and gives
    the same bytes each time. ``opset`` is up to 20 with this exporter. Raises ExportError.
    """
    import torch

    example = torch.zeros(batch, 3, imgsz, imgsz)
    try:
        with torch.no_grad(), quiet("torch.onnx"):
            # Heads build their anchors at the first forward: done before, they are constants.
            output = model(example)
            if not isinstance(output, torch.Tensor):
                raise ExportError(
                    f"the model returns {type(output).__name__}, not one tensor of predictions"
                )
            torch.onnx.export(
                model,
                (example,),
                str(path),
                dynamo=False,
                opset_version=opset,
                input_names=[INPUT_NAME],
                output_names=[OUTPUT_NAME],
            )
    except ExportError:
        raise
    except Exception as error:
        raise ExportError(f"torch.onnx.export failed: {type(error).__name__}: {error}") from error


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

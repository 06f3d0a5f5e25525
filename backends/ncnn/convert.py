"""From a torch module to ncnn's two files, by way of TorchScript and pnnx."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

from deploymark.backends import converter, exporting
from deploymark.backends.base import ExportError, Size, UnavailableError, UnsupportedError
from deploymark.backends.ncnn.files import read_layers, unconverted, with_size

ONE_TO_MANY = "Take the model's one-to-many head (head: one-to-many)."


def pnnx_program() -> Path:
    """The converter that pnnx's wheel carries, found without importing it.

    Raises UnavailableError.
    """
    spec = importlib.util.find_spec("pnnx")
    name = "pnnx.exe" if sys.platform == "win32" else "pnnx"
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        program = Path(folder, name)
        if program.is_file():
            return program
    raise UnavailableError("pnnx is not installed", remedy="pip install 'deploymark[ncnn]'")


def write_torchscript(model: Any, path: Path, size: Size) -> None:
    """Trace a module at (1, 3, height, width). Raises ExportError.

    The batch is one whatever is asked: a graph of ncnn has no axis for it.
    """
    import torch

    example = torch.zeros(1, 3, *size)
    with exporting.failures("torch.jit.trace"), torch.no_grad(), exporting.quiet("torch"):
        exporting.forward_once(model, example)
        torch.jit.trace(model, (example,), check_trace=False).save(str(path))


def convert(source: Path, graph: Path, weights: Path, *, size: Size, half: bool) -> None:
    """Run pnnx on a TorchScript file; ``half`` stores weights in float16.

    Works in the folder of ``source``, which pnnx litters. The image size is noted in the graph.
    Raises ExportError, UnavailableError, or UnsupportedError for operators that ncnn lacks.
    """
    made = source.with_name("made.ncnn.param")
    command = [
        str(pnnx_program()),
        source.name,
        f"inputshape=[1,3,{size.height},{size.width}]",
        f"fp16={int(half)}",
        f"ncnnparam={made.name}",
        f"ncnnbin={weights}",
        "device=cpu",
    ]
    done = converter.run(command, source.parent, called="pnnx")
    if done.returncode != 0 or not made.is_file() or not weights.is_file():
        raise converter.failure("pnnx", done, done.stderr or done.stdout)
    left = unconverted(read_layers(made))
    if left:
        raise UnsupportedError(f"ncnn has no operator for {', '.join(left)}", remedy=ONE_TO_MANY)
    text = made.read_text(encoding="utf-8")
    try:
        graph.write_text(with_size(text, size), encoding="utf-8", newline="\n")
    except ValueError as error:
        raise ExportError(f"pnnx wrote a graph that cannot be read: {error}") from error

"""From an ONNX file to an MNN file, with MNN's converter in a process of its own.

The converter prints to the process's standard output, leaves scratch files in the working
directory, and its Python wrapper (``MNN.tools.mnnconvert``) installs a package and calls home when
it is imported. So the extension module beneath that wrapper is called, and by a child.
"""

from __future__ import annotations

import hashlib
import re
import sys
import uuid
from pathlib import Path
from typing import Any

from deploymark.backends import converter

PROGRAM = "import sys, MNN, _tools; sys.exit(0 if _tools.mnnconvert(sys.argv) else 1)"
"""MNN first: it finds the libraries that both extension modules are linked to."""

UUID = re.compile(rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""The random ``mnn_uuid`` that the converter writes near the start of a file."""


def round_weights(model: Any) -> None:
    """Round a torch module's floating parameters and buffers to float16 values, in place.

    MNN's converter cuts the surplus bits of a float16 weight off. That pulls all of them towards
    zero: a YOLO11n's boxes were 0.11 px off in the mean on COCO photos, where rounding to the
    nearest gives 0.002. Nothing is left to cut off weights that are rounded before.
    """
    import torch

    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.is_floating_point():
                tensor.copy_(tensor.half())


def convert(source: Path, target: Path, arguments: tuple[str, ...]) -> None:
    """Convert an ONNX file; the same one gives the same bytes. Raises ExportError.

    ``arguments`` are the converter's own, for precision. Works in the folder of ``source``.
    """
    made = source.with_name("made.mnn")
    command = [
        *(sys.executable, "-c", PROGRAM, "-f", "ONNX", "--modelFile", source.name),
        *("--MNNModel", made.name, "--bizCode", "deploymark", "--optimizeLevel", "1", *arguments),
    ]
    done = converter.run(command, source.parent, called="MNN's converter")
    if done.returncode != 0 or not made.is_file():
        raise converter.failure("MNN's converter", done, f"{done.stdout}\n{done.stderr}")
    target.write_bytes(with_fixed_uuid(made.read_bytes()))


def with_fixed_uuid(data: bytes) -> bytes:
    """The bytes of an MNN file with a ``mnn_uuid`` made from its contents in place of a random one.

    The format wants one, and nothing but MNN's own statistics reads it.
    """
    found = UUID.search(data)
    if found is None:
        return data
    before, after = data[: found.start()], data[found.end() :]
    digest = hashlib.sha256(before + after).digest()
    return before + str(uuid.UUID(bytes=digest[:16], version=4)).encode("ascii") + after

"""The loader that ships with an artifact: one script of the runtime, numpy and Pillow.

Its lines for the runtime are the backend's own; between them and a picture stands the very source
of the functions that the artifact was measured with (``source``), cut to what its contracts need.
"""

from __future__ import annotations

import string
import textwrap
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from deploymark.backends.base import Backend, Detector
from deploymark.backends.inputs import InputSpec, Size, extra_inputs
from deploymark.backends.layout import OutputSpec
from deploymark.bench.choose.source import Source, source_of
from deploymark.bench.worker.detections import DEPLOYMENT_CONFIDENCE, decode
from deploymark.bench.worker.letterbox import (
    geometry,
    letterbox,
    read_rgb,
    to_input,
    unletterbox_boxes,
)
from deploymark.bench.worker.resize import RESIZERS

if TYPE_CHECKING:
    import numpy.typing as npt

WIDTH = 96
"""Columns of what is written."""

SHIPPED = (read_rgb, geometry, letterbox, to_input, decode, unletterbox_boxes)

NOT_OF_A_LOADER = {"InputSpec": ("height", "width", "extra"), "OutputSpec": ("names",)}
"""Fields of the contracts that have another place in a loader."""

HEAD = '''\
"""Runs the detector beside this file on pictures: python $file picture.jpg [--conf $conf]

detect(path) gives a list of (class name, score, x1, y1, x2, y2), best first, in pixels of the
picture. prepare(path), infer(images) and boxes(outputs, place) are its three steps.
Imports $needs, numpy and Pillow, and nothing else. Written by Deploymark.

$contracts
"""

from __future__ import annotations

$imports

import numpy as np

if TYPE_CHECKING:
    $typing

NAMES = $names
BATCH = $batch
EXTRA = $extra  # the inputs besides the images
OUTPUTS = $outputs  # the outputs that are read, in the order of the layout


class Size(NamedTuple):
    height: int
    width: int


class InputSpec:
    """What the model takes."""

    size = $size
$input_fields


class OutputSpec:
    """What the model gives."""

$output_fields


PLAIN_INPUT, PLAIN_OUTPUT = InputSpec(), OutputSpec()


# The model, as its runtime loads it.

'''

TAIL = '''

# From a picture to the input, and from the output to boxes: as the model was measured.


$source


# The whole way.


def prepare(path):
    """A picture as infer() takes it, and how it lies in it."""
    pixels = read_rgb(Path(path))
    place = geometry(pixels.shape[1], pixels.shape[0], PLAIN_INPUT)
    return to_input(np.stack([letterbox(pixels, PLAIN_INPUT)] * BATCH), PLAIN_INPUT), place


def boxes(outputs, place, conf=$conf):
    """The boxes of the first picture of a batch, in pixels of it, best first."""
    raw = tuple(outputs) if len(OUTPUTS) > 1 else np.asarray(outputs, np.float32)
    found = decode(raw, PLAIN_OUTPUT, PLAIN_INPUT.size, conf=conf)[0]
    corners = unletterbox_boxes(found.boxes, place)
    return [
        (NAMES[index] if index < len(NAMES) else str(index), float(score), *map(float, box))
        for index, score, box in zip(found.classes, found.scores, corners)
    ]


def detect(path, conf=$conf):
    """What is on a picture: a list of (class name, score, x1, y1, x2, y2)."""
    images, place = prepare(path)
    return boxes(infer(images), place, conf)


def main():
    parser = argparse.ArgumentParser(description="Detect what is on pictures.")
    parser.add_argument("pictures", nargs="+", metavar="picture")
    parser.add_argument("--conf", type=float, default=$conf, help="lowest score shown")
    asked = parser.parse_args()
    for picture in asked.pictures:
        for name, score, *corners in detect(picture, asked.conf):
            print(f"{name} {score:.3f}", *(f"{value:.1f}" for value in corners))


if __name__ == "__main__":
    main()
'''

IMPORTS = (
    "import argparse",
    "from pathlib import Path",
    "from typing import TYPE_CHECKING, NamedTuple",
)

NUMPY = "import numpy as np"


def written(
    backend: Backend,
    detector: Detector,
    size: Size,
    *,
    file: str,
    entry: str,
    device: str,
    precision: str,
    threads: int,
    batch: int,
) -> str:
    """The script ``file`` that runs ``entry``, which lies beside it.

    Empty where the backend has no lines for it.
    """
    if not backend.loader:
        return ""
    spec, output = detector.spec.at(size), detector.output
    source = _source(spec, output)
    shape = (batch, 3, *size)
    runtime = string.Template(backend.loader).safe_substitute(
        entry=_within_quotes(entry),
        device=_within_quotes(device),
        precision=_within_quotes(precision),
        threads=threads,
    )
    contracts = f"Input: {spec.dtype} {spec.shape(shape)}, {spec.told()}.\nOutput: {output.told()}."
    lines = [textwrap.fill(_within_quotes(line), WIDTH) for line in contracts.split("\n", 1)]
    modules = dict.fromkeys(name.partition(".")[0] for name in backend.runtime_modules)
    values = {
        "file": file,
        "conf": DEPLOYMENT_CONFIDENCE,
        "needs": ", ".join(modules),
        "contracts": "\n".join(lines),
        "imports": "\n".join(_sorted({*IMPORTS, *source.imports} - {NUMPY})),
        "typing": "\n    ".join(line for line in source.typing if line not in IMPORTS),
        "names": _python(detector.names),
        "batch": batch,
        "extra": _arrays(extra_inputs(spec, shape)),
        "outputs": _python(output.names or tuple(range(output.arrays))),
        "size": f"Size({size.height}, {size.width})",
        "input_fields": _fields(spec),
        "output_fields": _fields(output),
        "source": source.text,
    }
    head, tail = (string.Template(part).substitute(values) for part in (HEAD, TAIL))
    return head + runtime.rstrip() + "\n" + tail


def _source(spec: InputSpec, output: OutputSpec) -> Source:
    """What is between a picture and its boxes, of what the contracts leave open."""
    resizer = RESIZERS[spec.interpolation].__name__
    return source_of(
        SHIPPED,
        instead={"RESIZERS": f'RESIZERS = {{"{spec.interpolation}": {resizer}}}'},
        given=frozenset({"InputSpec", "OutputSpec", "Size", "PLAIN_INPUT", "PLAIN_OUTPUT"}),
        facts={"InputSpec": spec, "OutputSpec": output},
    )


def _fields(contract: InputSpec | OutputSpec) -> str:
    """The fields of a contract as attributes of a class."""
    left_out = NOT_OF_A_LOADER[type(contract).__name__]
    return "\n".join(
        f"    {name} = {_python(value)}"
        for name, value in vars(contract).items()
        if name not in left_out
    )


def _python(value: object) -> str:
    """Python of a value, in ASCII: whatever a name is made of, it is text there."""
    if isinstance(value, str):
        return f'"{_within_quotes(value)}"'
    if isinstance(value, tuple):
        return f"({', '.join(map(_python, value))}{',' if len(value) == 1 else ''})"
    return repr(value)


def _within_quotes(text: str) -> str:
    """Text as it stands between double quotes, or three of them, in Python, in ASCII."""
    return ascii(text)[1:-1].replace('"', r"\"")


def _arrays(arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    """Python of arrays by name."""
    pairs = (f"{_python(name)}: {_array(array)}" for name, array in arrays.items())
    return f"{{{', '.join(pairs)}}}"


def _array(array: npt.NDArray[Any]) -> str:
    if array.ndim > 2:  # noqa: PLR2004 - a mask
        return f'np.full({array.shape}, {array.flat[0].item()}, "{array.dtype.name}")'
    return f'np.array({array.tolist()}, "{array.dtype.name}")'


def _sorted(imports: Iterable[str]) -> list[str]:
    """``import`` lines before those that begin with ``from``."""
    return sorted(imports, key=lambda line: (line.startswith("from"), line))

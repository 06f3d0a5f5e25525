"""ncnn's two files: the graph, a text ``.param``, and the weights beside it, a ``.bin``.

Read here because ncnn itself does not say which image size a graph was made for, and runs it at any
other one: with a wrong result, or off the end of its memory.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from deploymark.backends.base import LoadError, Size
from deploymark.backends.foreign import METADATA_FILE

MAGIC = "7767517"
"""First line of a ``.param`` (ncnn's wiki, "param and model file structure")."""

INPUT_WIDTH, INPUT_HEIGHT, INPUT_CHANNELS = 0, 1, 2
"""Parameters of the layer type ``Input`` (``ncnn/src/layer/input.cpp``). A hint only: ncnn takes
any size."""

WEIGHT_TAGS = {0: "fp32", 0x0002C056: "fp32", 0x01306B47: "fp16", 0x000D4B38: "int8"}
"""The 32 bits, low byte first, that stand before a convolution's weights and the precision they are
stored in (``ModelBinFromDataReader::load`` in ``ncnn/src/modelbin.cpp``)."""

CONVOLUTIONS = ("Convolution", "ConvolutionDepthWise")

METADATA_SIZE = re.compile(r"^imgsz:\s*\[?\s*(?:-\s*)?(\d+)\s*(?:,|\n-)\s*(\d+)", re.MULTILINE)
"""``imgsz`` in Ultralytics' ``metadata.yaml``, height and width, in YAML's block or flow style.

Read without a YAML parser, which a worker need not have."""

SAMPLE_SIZE = re.compile(r"torch\.rand\(\d+, *3, *(\d+), *(\d+)")
"""The input of the sample script that pnnx writes beside its files."""


@dataclasses.dataclass(frozen=True)
class Layer:
    """One line of a ``.param``. ``parameters`` are those with a single value, as text."""

    kind: str
    name: str
    parameters: dict[int, str]


def read_graph(path: Path) -> tuple[Layer, ...]:
    """The layers of a ``.param`` that ncnn can run.

    Raises LoadError as ``read_layers`` does, and for an operator that its converter left as it was.
    """
    layers = read_layers(path)
    foreign = unconverted(layers)
    if foreign:
        raise LoadError(f"{path} has operators that ncnn does not have: {', '.join(foreign)}")
    return layers


def read_layers(path: Path) -> tuple[Layer, ...]:
    """The layers of a ``.param``. Raises LoadError where it is missing or no whole ncnn graph."""
    if not path.is_file():
        raise LoadError(f"there is no file {path}")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise LoadError(f"{path} cannot be read: {error}") from error
    if not lines or lines[0].strip() != MAGIC:
        raise LoadError(f"{path} is no text graph of ncnn: its first line is not {MAGIC}")
    rows = [line.split() for line in lines[1:] if line.strip()]
    try:
        count = int(rows[0][0])
        layers = tuple(_layer(row) for row in rows[1:])
    except (IndexError, ValueError) as error:
        raise LoadError(f"{path} is damaged: it has a line that is no layer") from error
    if len(layers) != count:
        raise LoadError(f"{path} is damaged: it has {len(layers)} layers and says {count}")
    return layers


def unconverted(layers: tuple[Layer, ...]) -> tuple[str, ...]:
    """Operators that pnnx left under their name in torch: ``torch.topk``, ``pnnx.Expression``."""
    return tuple(dict.fromkeys(layer.kind for layer in layers if "." in layer.kind))


def _layer(row: list[str]) -> Layer:
    """``kind name inputs outputs, names of both, key=value …`` as a layer.

    Raises IndexError or ValueError where it is none.
    """
    start = 4 + int(row[2]) + int(row[3])
    if len(row) < start:
        raise ValueError(row)
    pairs = [item.split("=", 1) for item in row[start:]]
    # Lists have keys below -23300.
    single = {int(key): value for key, value in pairs if int(key) >= 0}
    return Layer(kind=row[0], name=row[1], parameters=single)


def image_size(path: Path, layers: tuple[Layer, ...]) -> Size:
    """The image size that the graph ``path`` was made for.

    Told by the graph's own input, as ``with_size`` notes it; by Ultralytics' ``metadata.yaml``; or
    by the sample script of pnnx. Raises LoadError where none of them tells.
    """
    for layer in layers:
        if layer.kind == "Input":
            try:
                width, height = (
                    int(layer.parameters.get(key, "0")) for key in (INPUT_WIDTH, INPUT_HEIGHT)
                )
            except ValueError:
                raise LoadError(f"{path} is damaged: the size of its input is no number") from None
            if width > 0 and height > 0:
                return Size(height, width)
    for file, pattern in zip(companions(path), (METADATA_SIZE, SAMPLE_SIZE), strict=True):
        if file.is_file():
            found = pattern.search(file.read_text(encoding="utf-8", errors="replace"))
            if found is not None:
                return Size(int(found[1]), int(found[2]))
    raise LoadError(
        f"nothing beside {path} says which image size it was made for, and ncnn would not notice "
        "another one",
        remedy=f"Write it into {METADATA_FILE} beside it: imgsz: [320, 320]",
    )


def companions(path: Path) -> tuple[Path, Path]:
    """Files that may lie beside a graph: Ultralytics' metadata and pnnx's sample script."""
    stem = path.name.removesuffix(".param").removesuffix(".ncnn")
    return path.with_name(METADATA_FILE), path.with_name(f"{stem}_ncnn.py")


def with_size(text: str, size: Size) -> str:
    """The text of a ``.param`` with the size of RGB images noted at its input.

    Raises ValueError where it has no input layer that says no size yet.
    """
    hint = f"{INPUT_WIDTH}={size.width} {INPUT_HEIGHT}={size.height} {INPUT_CHANNELS}=3"
    text, changed = re.subn(
        r"^(Input +\S+ +0 1 \S+) *$", rf"\g<1> {hint}", text, count=1, flags=re.MULTILINE
    )
    if not changed:
        raise ValueError("it has no layer Input")
    return text


def weights_file(path: Path) -> Path:
    """The ``.bin`` that belongs to a ``.param``. Raises LoadError where there is none."""
    weights = path.with_suffix(".bin")
    if weights.is_file():
        return weights
    for near in path.parent.iterdir():
        if near.name.lower() == weights.name.lower():
            return near
    raise LoadError(f"there is no file {weights}")


def stored_precision(weights: Path, layers: tuple[Layer, ...]) -> str | None:
    """The precision that the first convolution's weights are stored in.

    None where weights of another kind of layer come first. Raises LoadError where the file does not
    begin as weights of ncnn do.
    """
    first = next((layer for layer in layers if layer.kind != "Input"), None)
    if first is None or first.kind not in CONVOLUTIONS:
        return None
    with weights.open("rb") as file:
        tag = int.from_bytes(file.read(4), "little")
    if tag not in WEIGHT_TAGS:
        raise LoadError(f"{weights} does not begin as weights of ncnn do")
    return WEIGHT_TAGS[tag]

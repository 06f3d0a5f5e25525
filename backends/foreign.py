"""Exported files that were made elsewhere: what they say of themselves.

Ultralytics writes the same mapping into every format, as YAML beside the file, as JSON in it, or as
strings of Python literals (``ultralytics.engine.exporter.Exporter.metadata``). Written for Python
3.10 and numpy alone; ruamel.yaml is imported where a YAML file is read.
"""

from __future__ import annotations

import ast
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deploymark.backends.base import Artifact, ArtifactFacts, LoadError, UnavailableError
from deploymark.backends.layout import BOX_CHANNELS, DETECTION_COLUMNS, OutputLayout

METADATA_FILE = "metadata.yaml"
"""Ultralytics' name of the file that it puts beside formats that are folders."""

RGB = 3

QUANTIZE_PRECISIONS = {
    "16": "fp16",
    "8": "int8",
    "w8a32": "int8-weights",
    "w8a16": "int8-weights",
    "32": "fp32",
    "None": "fp32",
}
"""Ultralytics' export argument ``quantize`` as a precision (``engine/exporter.py``)."""


@dataclasses.dataclass(frozen=True)
class Metadata:
    """What Ultralytics' exporter noted. ``precision`` is None where it noted nothing of it."""

    names: tuple[str, ...] = ()
    task: str = ""
    stride: int = 32
    end_to_end: bool = False
    precision: str | None = None


def _literal(value: Any) -> Any:
    """A value that some formats keep as the text of a Python literal."""
    if not isinstance(value, str):
        return value
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return value


def _names(value: Any) -> tuple[str, ...]:
    if isinstance(value, Mapping):
        return tuple(str(name) for _, name in sorted(value.items(), key=lambda item: int(item[0])))
    if isinstance(value, (list, tuple)):
        return tuple(str(name) for name in value)
    return ()


def _precision(arguments: Any) -> str | None:
    """The precision that export arguments ask for; older versions wrote ``half`` and ``int8``."""
    if not isinstance(arguments, Mapping):
        return None
    if "quantize" in arguments:
        return QUANTIZE_PRECISIONS.get(str(arguments["quantize"]))
    if arguments.get("int8"):
        return "int8"
    if arguments.get("half"):
        return "fp16"
    return "fp32" if {"int8", "half"} & set(arguments) else None


def read_metadata(values: Mapping[str, Any]) -> Metadata:
    """Ultralytics' metadata from a mapping whose values may be texts of Python literals."""
    plain = {str(key): _literal(value) for key, value in values.items()}
    stride = plain.get("stride", 32)
    return Metadata(
        names=_names(plain.get("names")),
        task=str(plain.get("task", "")),
        stride=stride if isinstance(stride, int) else 32,
        end_to_end=plain.get("end2end") is True,
        precision=_precision(plain.get("args")),
    )


def metadata_from_json(text: str) -> Metadata:
    """Ultralytics' metadata from JSON; empty where the text is none."""
    try:
        values = json.loads(text)
    except ValueError:
        return Metadata()
    return read_metadata(values) if isinstance(values, Mapping) else Metadata()


def metadata_beside(folder: Path) -> Metadata:
    """Ultralytics' metadata from ``metadata.yaml`` in a folder; empty where there is none.

    Raises LoadError if the file is no YAML, UnavailableError where ruamel.yaml is not installed.
    """
    path = folder / METADATA_FILE
    if not path.is_file():
        return Metadata()
    try:
        from ruamel.yaml import YAML
        from ruamel.yaml.error import YAMLError
    except ImportError as error:
        raise UnavailableError(
            f"{path} cannot be read without ruamel.yaml", remedy="pip install ruamel.yaml"
        ) from error
    try:
        values = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        first = str(error).splitlines()[0]
        raise LoadError(f"{path} cannot be read: {first}") from error
    return read_metadata(values) if isinstance(values, Mapping) else Metadata()


def sizes(shape: Sequence[Any]) -> tuple[int | None, ...]:
    """A shape with None for each size that is left open: a name, -1, None."""
    return tuple(size if isinstance(size, int) and size > 0 else None for size in shape)


def fits(found: Sequence[Any], wanted: Sequence[int]) -> bool:
    """True if arrays of the shape ``wanted`` can be given where a file says ``found``."""
    known = sizes(found)
    return len(known) == len(wanted) and all(
        size in (None, want) for size, want in zip(known, wanted, strict=True)
    )


def layout_of(path: Path, output_shape: Sequence[Any], metadata: Metadata) -> OutputLayout:
    """How an output reads, from its shape and what the file's maker noted.

    Raises LoadError where the shape is no list of boxes.
    """
    shape = sizes(output_shape)
    if len(shape) == 3:  # noqa: PLR2004 - batch, rows, columns
        _, rows, columns = shape
        # No image is so small that an anchor head has six places.
        if columns == DETECTION_COLUMNS:
            return "detections"
        if not metadata.end_to_end and (rows is None or rows > BOX_CHANNELS):
            return "anchors"
    raise LoadError(
        f"{path} gives an output of shape {tuple(output_shape)}, which is no list of boxes",
        remedy="Deploymark reads (batch, 4 + classes, places) and (batch, n, 6).",
    )


def facts(
    artifact: Artifact,
    files: Sequence[Path],
    input_shape: Sequence[Any],
    output_shapes: Sequence[Sequence[Any]],
    metadata: Metadata,
    *,
    precision: str | None = None,
) -> ArtifactFacts:
    """The facts of a file, checked: one image input of three channels, one output of boxes.

    ``input_shape`` in the order (batch, 3, height, width). ``precision`` is what the file itself
    shows, and wins over the note of its maker. Raises LoadError saying what does not fit.
    """
    path = artifact.path
    if metadata.task not in ("", "detect"):
        raise LoadError(f"{path} is a {metadata.task!r} model, Deploymark measures detectors")
    shape = sizes(input_shape)
    if len(shape) != 4 or shape[1] not in (None, RGB):  # noqa: PLR2004 - batch, channels, rows, columns
        raise LoadError(
            f"{path} takes an input of shape {tuple(input_shape)}, not images (batch, 3, h, w)"
        )
    if shape[2] != shape[3]:
        raise LoadError(
            f"{path} takes images of {shape[3]} x {shape[2]} pixels, Deploymark gives square ones"
        )
    if len(output_shapes) != 1:
        raise LoadError(f"{path} has {len(output_shapes)} outputs, Deploymark reads one")
    layout = layout_of(path, output_shapes[0], metadata)
    rows = sizes(output_shapes[0])[1]
    classes = len(metadata.names) or None
    if layout == "anchors" and rows is not None:
        classes = rows - BOX_CHANNELS
    return ArtifactFacts(
        artifact=artifact,
        files=tuple(sorted(file.relative_to(artifact.folder).as_posix() for file in files)),
        input_shape=(shape[0], RGB, shape[2], shape[3]),
        layout=layout,
        classes=classes,
        names=metadata.names,
        stride=metadata.stride,
        precision=precision or metadata.precision,
    )


def the_file(path: Path, pattern: str) -> Path:
    """``path`` itself, or the one file in the folder ``path`` that the pattern finds.

    Raises LoadError where there is none, or more than one.
    """
    if path.is_file():
        return path
    if not path.is_dir():
        raise LoadError(f"there is no file {path}")
    found = sorted(path.glob(pattern))
    if len(found) != 1:
        raise LoadError(f"{path} holds {len(found)} files {pattern}, not one")
    return found[0]

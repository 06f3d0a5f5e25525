"""Exported files that were made elsewhere: what they say of themselves.

Ultralytics writes the same mapping into every format, as YAML beside the file, as JSON in it, or as
strings of Python literals (``ultralytics.engine.exporter.Exporter.metadata``). Written for Python
3.10 and numpy alone; ruamel.yaml is imported where a YAML file is read.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deploymark.backends.base import Artifact, ArtifactFacts, LoadError, UnavailableError
from deploymark.backends.layout import AS_SEEN, PLAIN_INPUT, InputSpec, ReadAs
from deploymark.backends.recognise import Metadata, reading, several, sizes

METADATA_FILE = "metadata.yaml"
"""Ultralytics' name of the file that it puts beside formats that are folders."""

RGB = 3

NMS_CONFIDENCE = 0.25
"""Lowest score that a file with suppression in it keeps, unless ``conf`` was given to the export:
its notes do not tell (``Exporter.__call__``)."""

QUANTIZE_PRECISIONS = {
    "16": "fp16",
    "8": "int8",
    "w8a32": "int8-weights",
    "w8a16": "int8-weights",
    "32": "fp32",
    "None": "fp32",
}
"""Ultralytics' export argument ``quantize`` as a precision (``engine/exporter.py``)."""


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


def _argument(arguments: Any, name: str) -> Any:
    return arguments.get(name) if isinstance(arguments, Mapping) else None


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
    confidence = _argument(plain.get("args"), "conf")
    return Metadata(
        names=_names(plain.get("names")),
        task=str(plain.get("task", "")),
        stride=stride if isinstance(stride, int) else 32,
        end_to_end=plain.get("end2end") is True,
        precision=_precision(plain.get("args")),
        nms=_argument(plain.get("args"), "nms") is True,
        confidence=confidence if isinstance(confidence, float) else None,
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


def fits(found: Sequence[Any], wanted: Sequence[int]) -> bool:
    """True if arrays of the shape ``wanted`` can be given where a file says ``found``."""
    known = sizes(found)
    return len(known) == len(wanted) and all(
        size in (None, want) for size, want in zip(known, wanted, strict=True)
    )


def image_input(shape: Sequence[Any], *, of_bytes: bool) -> tuple[InputSpec, tuple[Any, ...]]:
    """How a file takes images, from its input's shape and type, and the shape channels first."""
    known = tuple(shape)
    last = len(known) == 4 and known[3] == RGB and known[1] != RGB  # noqa: PLR2004 - four axes
    spec = InputSpec(
        dtype="uint8" if of_bytes else "float32",
        channels_last=last,
        range=(0, 255) if of_bytes else (0, 1),
    )
    return spec, (known[0], known[3], known[1], known[2]) if last else known


def facts(
    artifact: Artifact,
    files: Sequence[Path],
    input_shape: Sequence[Any],
    output_shapes: Sequence[Sequence[Any]],
    metadata: Metadata,
    *,
    precision: str | None = None,
    told: ReadAs = AS_SEEN,
    spec: InputSpec = PLAIN_INPUT,
    output_names: Sequence[str] = (),
) -> ArtifactFacts:
    """The facts of a file, checked: one image input of three channels, one output of boxes.

    ``input_shape`` in the order (batch, 3, height, width), ``spec`` how the session takes images.
    ``precision`` is what the file itself shows, and wins over the note of its maker. Raises
    LoadError saying what does not fit.
    """
    path = artifact.path
    if metadata.task not in ("", "detect"):
        raise LoadError(
            f"{path} is a {metadata.task!r} model, Deploymark measures detectors",
            remedy="Give the file of a model that was trained to detect.",
        )
    shape = sizes(input_shape)
    if len(shape) != 4 or shape[1] not in (None, RGB):  # noqa: PLR2004 - batch, channels, rows, columns
        last = len(shape) == 4 and shape[3] == RGB  # noqa: PLR2004 - four axes
        raise LoadError(
            f"{path} takes an input of shape {tuple(input_shape)}, not images (batch, 3, h, w)",
            remedy="onnxruntime and openvino read files that take the channels last."
            if last
            else "Export the detector for pictures of three channels.",
        )
    if shape[2] != shape[3]:
        raise LoadError(
            f"{path} takes images of {shape[3]} x {shape[2]} pixels, Deploymark gives square ones",
            remedy="Export the detector with one size for both sides: imgsz=640.",
        )
    if len(output_shapes) != 1:
        raise several(path, output_names, output_shapes)
    found = reading(path, output_shapes[0], metadata, size=shape[2], told=told)
    return ArtifactFacts(
        artifact=artifact,
        files=tuple(sorted(file.relative_to(artifact.folder).as_posix() for file in files)),
        input_shape=(shape[0], RGB, shape[2], shape[3]),
        layout=found.layout,
        classes=found.classes or len(metadata.names) or None,
        names=metadata.names,
        stride=metadata.stride,
        precision=precision or metadata.precision,
        spec=spec,
        score_floor=(metadata.confidence or NMS_CONFIDENCE) if metadata.nms else None,
    )


def the_file(path: Path, pattern: str) -> Path:
    """``path`` itself, or the one file in the folder ``path`` that the pattern finds.

    Raises LoadError where there is none, or more than one.
    """
    if path.is_file():
        return path
    if not path.is_dir():
        raise LoadError(f"there is no file {path}")
    ending = pattern.removeprefix("*")
    found = sorted(file for file in path.iterdir() if file.name.lower().endswith(ending))
    if len(found) != 1:
        raise LoadError(
            f"{path} holds {len(found)} files {pattern}, not one",
            remedy="Name the file itself." if found else "",
        )
    return found[0]

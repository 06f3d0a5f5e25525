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
from deploymark.backends.ends import (
    RGB,
    End,
    batched,
    channels_last,
    extras_of,
    image_of,
    sizes,
)
from deploymark.backends.inputs import Size
from deploymark.backends.layout import AS_SEEN, ReadAs
from deploymark.backends.recognise import Metadata, reading
from deploymark.backends.recognise_input import input_contract
from deploymark.backends.recognise_several import reading_of_several
from deploymark.backends.untrusted import LITERAL_ERRORS
from deploymark.backends.yaml_limits import check_limits

METADATA_FILE = "metadata.yaml"
"""Ultralytics' name of the file that it puts beside formats that are folders."""

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
    except LITERAL_ERRORS:
        return value


def _names(value: Any) -> tuple[str, ...]:
    if isinstance(value, Mapping):
        try:
            ordered = sorted(value.items(), key=lambda item: int(item[0]))
        except (ValueError, TypeError, OverflowError):
            return ()  # by no numbers: nobody knows which class is which
        return tuple(str(name) for _, name in ordered)
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
        maker=f"{plain.get('description', '')} {plain.get('head', '')}",
    )


def metadata_from_json(text: str) -> Metadata:
    """Ultralytics' metadata from JSON; empty where the text is none."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
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
        text = path.read_text(encoding="utf-8")
        check_limits(text)
        values = YAML(typ="safe", pure=True).load(text)
    except (OSError, ValueError, YAMLError) as error:
        first = str(error).splitlines()[0]
        raise LoadError(f"{path} cannot be read: {first}") from error
    return read_metadata(values) if isinstance(values, Mapping) else Metadata()


def fits(found: Sequence[Any], wanted: Sequence[int]) -> bool:
    """True if arrays of the shape ``wanted`` can be given where a file says ``found``."""
    known = sizes(found)
    return len(known) == len(wanted) and all(
        size in (None, want) for size, want in zip(known, wanted, strict=True)
    )


def facts(
    artifact: Artifact,
    files: Sequence[Path],
    inputs: Sequence[End],
    outputs: Sequence[End],
    metadata: Metadata,
    *,
    precision: str | None = None,
    told: ReadAs = AS_SEEN,
) -> ArtifactFacts:
    """The facts of a file, checked: one input of images, outputs of a known contract.

    ``precision`` is what the file itself shows, and wins over the note of its maker. Raises
    LoadError saying what does not fit.
    """
    path = artifact.path
    if metadata.task not in ("", "detect"):
        raise LoadError(
            f"{path} is a {metadata.task!r} model, Deploymark measures detectors",
            remedy="Give the file of a model that was trained to detect.",
        )
    image = image_of(path, inputs)
    shape = sizes(batched(image.shape))
    if channels_last(shape):
        shape = (shape[0], shape[3], shape[1], shape[2])
    if shape[1] not in (None, RGB):
        raise LoadError(
            f"{path} takes an input of shape {image.shape}, not images (batch, 3, h, w)",
            remedy="Export the detector for pictures of three channels.",
        )
    size = None if shape[2] is None or shape[3] is None else Size(shape[2], shape[3])
    if len(outputs) == 1:
        found = reading(path, outputs[0].shape, metadata, size=size, told=told)
    else:
        found = reading_of_several(
            path,
            outputs,
            extra=[item.kind for item in extras_of(path, inputs, image)],
            of_bytes=image.element == "uint8",
            told=told,
        )
    family = found.family or None
    # Boxes of this layout have no batch.
    batch = 1 if found.output.layout == "torchvision" else shape[0]
    boxes = told.boxes or found.output.boxes
    return ArtifactFacts(
        artifact=artifact,
        files=tuple(sorted(file.relative_to(artifact.folder).as_posix() for file in files)),
        input_shape=(batch, RGB, shape[2], shape[3]),
        output=dataclasses.replace(found.output, boxes=boxes),
        classes=found.classes or len(metadata.names) or None,
        names=metadata.names,
        stride=metadata.stride,
        precision=precision or metadata.precision,
        spec=input_contract(path, inputs, image, told.family or family, told),
        family=told.family or found.family,
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

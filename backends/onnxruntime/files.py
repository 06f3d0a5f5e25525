"""ONNX files as ONNX Runtime sees them: their inputs and outputs, and what their maker noted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deploymark.backends import foreign
from deploymark.backends.base import (
    AS_SEEN,
    Artifact,
    ArtifactFacts,
    InputSpec,
    LoadError,
    ReadAs,
)
from deploymark.backends.ends import End, image_of, sizes
from deploymark.backends.onnx import content as onnx_content

TYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(uint8)": "uint8",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
}
"""ONNX Runtime's names of the element types that a session gives and takes, and NumPy's."""

_IMAGES = ("float32", "float16", "uint8")
_PREDICTIONS = ("float32", "float16", "int64", "int32")


def ends(session: Any, path: Path) -> tuple[list[End], list[End]]:
    """The inputs and the outputs of a session.

    Raises LoadError where their elements are no numbers that are read.
    """
    inputs, outputs = (
        [End(value.name, sizes(value.shape), TYPES.get(value.type, value.type)) for value in values]
        for values in (session.get_inputs(), session.get_outputs())
    )
    _require_types(path, "input", [image_of(path, inputs)], _IMAGES)
    whole = _PREDICTIONS if len(outputs) > 1 else _PREDICTIONS[:2]
    _require_types(path, "output", outputs, whole)
    return inputs, outputs


def _require_types(path: Path, kind: str, ends: Sequence[End], read: Sequence[str]) -> None:
    for end in ends:
        if end.element not in read:
            raise LoadError(
                f"{path} has an {kind} of {end.element}, Deploymark reads {', '.join(read)}",
                remedy="Export it with floating ends: quantizers can leave both of them so.",
            )


def require_input(path: Path, image: End, spec: InputSpec) -> None:
    """Raise LoadError where the input is of bytes and images come as others, or the reverse."""
    if (image.element == "uint8") != (spec.dtype == "uint8"):
        raise LoadError(f"{path} takes {image.element}, and images come as {spec.dtype}")


def facts(session: Any, path: Path, told: ReadAs = AS_SEEN) -> ArtifactFacts:
    """What a file says of itself: its ends, its maker's metadata, its operators and weights."""
    inputs, outputs = ends(session, path)
    content = onnx_content.read_content(path)
    return foreign.facts(
        Artifact(path.parent, path.name),
        onnx_content.files_of(path, content),
        inputs,
        outputs,
        foreign.read_metadata(session.get_modelmeta().custom_metadata_map),
        precision=content.precision,
        told=told,
    )

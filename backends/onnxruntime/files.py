"""ONNX files as ONNX Runtime sees them: their one input and output, and what their maker noted."""

from __future__ import annotations

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
from deploymark.backends.onnx import content as onnx_content
from deploymark.backends.recognise import several

SINGLE, HALF = "tensor(float)", "tensor(float16)"
"""ONNX Runtime's names of the element types that a session gives and takes."""


BYTES = "tensor(uint8)"


def ends(session: Any, path: Path) -> tuple[Any, Any]:
    """The one input and the one output of a session (``NodeArg``: name, shape, type).

    Raises LoadError where there are more, or their elements are no numbers that are read.
    """
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1:
        listed = ", ".join(f"{value.name} {tuple(value.shape)}" for value in inputs)
        raise LoadError(
            f"{path} has {len(inputs)} inputs, Deploymark gives one: {listed}",
            remedy="Export the detector with the image as its only input.",
        )
    if len(outputs) != 1:
        names, shapes = [value.name for value in outputs], [value.shape for value in outputs]
        raise several(path, names, shapes)
    for value, kind, read in (
        (inputs[0], "input", (SINGLE, HALF, BYTES)),
        (outputs[0], "output", (SINGLE, HALF)),
    ):
        if value.type not in read:
            raise LoadError(
                f"{path} has an {kind} of {value.type}, Deploymark reads {', '.join(read)}",
                remedy="Export it with floating ends: quantizers can leave both of them so.",
            )
    return inputs[0], outputs[0]


def require_input(path: Path, image: Any, spec: InputSpec) -> None:
    """Raise LoadError where the input is of bytes and images come as others, or the reverse."""
    if (image.type == BYTES) != (spec.dtype == "uint8"):
        raise LoadError(f"{path} takes {image.type}, and images come as {spec.dtype}")


def facts(session: Any, path: Path, told: ReadAs = AS_SEEN) -> ArtifactFacts:
    """What a file says of itself: its ends, its maker's metadata, its operators and weights."""
    image, predictions = ends(session, path)
    content = onnx_content.read_content(path)
    spec, shape = foreign.image_input(image.shape, of_bytes=image.type == BYTES)
    return foreign.facts(
        Artifact(path.parent, path.name),
        onnx_content.files_of(path, content),
        shape,
        [predictions.shape],
        foreign.read_metadata(session.get_modelmeta().custom_metadata_map),
        precision=content.precision,
        told=told,
        spec=spec,
    )

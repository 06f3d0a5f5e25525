"""ONNX files as ONNX Runtime sees them: their one input and output, and what their maker noted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deploymark.backends import foreign
from deploymark.backends.base import Artifact, ArtifactFacts, LoadError
from deploymark.backends.onnx import content as onnx_content

SINGLE, HALF = "tensor(float)", "tensor(float16)"
"""ONNX Runtime's names of the element types that a session gives and takes."""


def ends(session: Any, path: Path) -> tuple[Any, Any]:
    """The one input and the one output of a session (``NodeArg``: name, shape, type).

    Raises LoadError where there are more, or their elements are no floating numbers.
    """
    inputs, outputs = session.get_inputs(), session.get_outputs()
    for values, kind in ((inputs, "input"), (outputs, "output")):
        if len(values) != 1:
            raise LoadError(f"{path} has {len(values)} {kind}s, Deploymark reads one")
        if values[0].type not in {SINGLE, HALF}:
            raise LoadError(
                f"{path} has an {kind} of {values[0].type}, Deploymark reads {SINGLE} and {HALF}"
            )
    return inputs[0], outputs[0]


def facts(session: Any, path: Path) -> ArtifactFacts:
    """What a file says of itself: its ends, its maker's metadata, its operators and weights."""
    image, predictions = ends(session, path)
    content = onnx_content.read_content(path)
    return foreign.facts(
        Artifact(path.parent, path.name),
        onnx_content.files_of(path, content),
        image.shape,
        [predictions.shape],
        foreign.read_metadata(session.get_modelmeta().custom_metadata_map),
        precision=content.precision,
    )

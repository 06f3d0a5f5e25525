"""OpenVINO's IR files and ONNX files as OpenVINO reads them, whoever made them."""

from __future__ import annotations

import collections
from pathlib import Path
from typing import Any

from deploymark.backends import foreign
from deploymark.backends.base import Artifact, ArtifactFacts, LoadError
from deploymark.backends.loading import require_file
from deploymark.backends.onnx import content as onnx_content
from deploymark.backends.onnx import wire as onnx_wire

CONSTANT_PRECISIONS = {
    "f32": "fp32",
    "f16": "fp16",
    "bf16": "bf16",
    "i8": "int8-weights",
    "u8": "int8-weights",
}
"""Element types of constants and the precision of a model whose weights are mostly of it."""

FLOATING = ("f32", "f16")
"""Element types of inputs and outputs that are converted from and to float32."""


def files_of(path: Path) -> list[Path]:
    """A model's own files: ``.xml`` and ``.bin``, or ``.onnx`` and what lies beside it.

    Raises LoadError where one of them is not there.
    """
    require_file(path)
    if path.suffix == ".onnx":
        return onnx_content.files_of(path, onnx_content.read_content(path))
    weights = path.with_suffix(".bin")
    if not weights.is_file():
        raise LoadError(f"there is no file {weights}, which holds the weights of {path.name}")
    return [path, weights]


def read(core: Any, path: Path) -> Any:
    """The model of a file, checked to have one floating input and one floating output.

    Raises LoadError where a file is not there, or OpenVINO refuses it.
    """
    files_of(path)
    try:
        model = core.read_model(path)
    except Exception as error:
        raise LoadError(f"OpenVINO refuses {path}: {first_line(error)}") from error
    for ends, kind in ((model.inputs, "input"), (model.outputs, "output")):
        if len(ends) != 1:
            raise LoadError(f"{path} has {len(ends)} {kind}s, Deploymark reads one")
        element = ends[0].get_element_type().get_type_name()
        if element not in FLOATING:
            raise LoadError(
                f"{path} has an {kind} of {element}, Deploymark reads {' and '.join(FLOATING)}"
            )
    return model


def shape_of(end: Any) -> tuple[int | None, ...]:
    """The shape of an input or output, with None for a size that is left open.

    Empty where even the number of sizes is.
    """
    shape = end.get_partial_shape()
    if shape.rank.is_dynamic:
        return ()
    return tuple(None if size.is_dynamic else size.get_length() for size in shape)


def fix(model: Any, path: Path, wanted: tuple[int, int, int, int]) -> Any:
    """The model for float32 images of the shape ``wanted``, and with a float32 output.

    Sizes that the file leaves open are set, and 16-bit ends get a conversion inside of the model.
    Raises LoadError where the file fixes another shape.
    """
    from openvino import Type
    from openvino.preprocess import PrePostProcessor

    found = shape_of(model.input(0))
    if not foreign.fits(found, wanted):
        raise LoadError(f"{path} takes images of shape {found}, not {wanted}")
    if None in found:
        try:
            model.reshape(list(wanted))
        except Exception as error:
            raise LoadError(f"{path} cannot take {wanted}: {first_line(error)}") from error
    ends = (model.input(0), model.output(0))
    if any(end.get_element_type() != Type.f32 for end in ends):
        processor = PrePostProcessor(model)
        processor.input().tensor().set_element_type(Type.f32)
        processor.output().tensor().set_element_type(Type.f32)
        model = processor.build()
    return model


def precision_of(model: Any) -> str | None:
    """The precision that a model's operators and constants show, None where it has no weights."""
    counts: collections.Counter[str] = collections.Counter()
    for node in model.get_ops():
        kind = node.get_type_name()
        if kind == "FakeQuantize":
            return "int8"
        element = node.get_element_type().get_type_name() if kind == "Constant" else ""
        if element in CONSTANT_PRECISIONS:
            size = 1
            for length in node.get_output_shape(0):
                size *= length
            counts[CONSTANT_PRECISIONS[element]] += size
    return counts.most_common(1)[0][0] if counts else None


def facts(core: Any, path: Path) -> ArtifactFacts:
    """What a file says of itself: ``.xml``, a folder with one, or ``.onnx``.

    Metadata is Ultralytics' ``metadata.yaml`` beside the ``.xml``, or what the ``.onnx`` keeps.
    """
    file = foreign.the_file(path, "*.xml")
    model = read(core, file)
    files = files_of(file)
    if file.suffix == ".onnx":
        metadata = foreign.read_metadata(onnx_wire.read_header(file).metadata)
        precision = onnx_content.read_content(file).precision
    else:
        metadata = foreign.metadata_beside(file.parent)
        precision = precision_of(model)
        files += [beside for beside in [file.parent / foreign.METADATA_FILE] if beside.is_file()]
    return foreign.facts(
        Artifact(file.parent, file.name),
        files,
        shape_of(model.input(0)),
        [shape_of(model.output(0))],
        metadata,
        precision=precision,
    )


def first_line(error: Exception) -> str:
    """An OpenVINO exception without the lines that quote its own source files."""
    lines = [line.strip() for line in str(error).splitlines()]
    said = [line for line in lines if line and not line.startswith(("Exception from", "Check '"))]
    return next(iter(said), type(error).__name__)

"""OpenVINO's IR files and ONNX files as OpenVINO reads them, whoever made them."""

from __future__ import annotations

import collections
import glob
import shutil
import tempfile
from pathlib import Path
from typing import Any

from deploymark.backends import foreign
from deploymark.backends.base import (
    AS_SEEN,
    PLAIN_INPUT,
    Artifact,
    ArtifactFacts,
    InputSpec,
    LoadError,
    ReadAs,
)
from deploymark.backends.loading import require_file
from deploymark.backends.onnx import content as onnx_content
from deploymark.backends.onnx import wire as onnx_wire
from deploymark.backends.recognise import several

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

BYTES = "u8"
"""Element type of an input that takes images as they are."""


def files_of(path: Path) -> list[Path]:
    """A model's own files: ``.xml`` and ``.bin``, or ``.onnx`` and what lies beside it.

    Raises LoadError where one of them is not there.
    """
    require_file(path)
    if is_onnx(path):
        return onnx_content.files_of(path, onnx_content.read_content(path))
    beside = path.with_suffix(".bin")
    found = [beside, *path.parent.glob(f"{glob.escape(path.stem)}.*")]
    weights = next((f for f in found if f.suffix.lower() == ".bin" and f.is_file()), None)
    if weights is None:
        raise LoadError(
            f"there is no file {beside}, which holds the weights of {path.name}",
            remedy="Keep the two files of an IR together.",
        )
    return [path, weights]


def is_onnx(path: Path) -> bool:
    """Whether a file is read as ONNX, by its name."""
    return path.suffix.lower() == ".onnx"


def _opened(core: Any, path: Path) -> Any:
    """The model of a file. OpenVINO tells kinds of files by their endings, in lower case alone."""
    files = files_of(path)
    if path.suffix == path.suffix.lower() and files[-1].suffix == files[-1].suffix.lower():
        return core.read_model(path)
    with tempfile.TemporaryDirectory(prefix="deploymark-") as folder:
        for file in files:
            renamed = file in (path, *([] if is_onnx(path) else files))
            name = f"{path.stem}{file.suffix.lower()}" if renamed else file.name
            target = Path(folder) / name
            if not target.exists():
                shutil.copyfile(file, target)
        return core.read_model(Path(folder) / f"{path.stem}{path.suffix.lower()}").clone()


def read(core: Any, path: Path) -> Any:
    """The model of a file, checked to have one floating input and one floating output.

    Raises LoadError where a file is not there, or OpenVINO refuses it.
    """
    if is_onnx(path):
        onnx_wire.read_header(path)  # which says what is wrong with it in words of ours
    files_of(path)
    try:
        model = _opened(core, path)
    except Exception as error:
        raise LoadError(f"OpenVINO refuses {path}: {first_line(error)}") from error
    if len(model.inputs) != 1:
        raise LoadError(
            f"{path} has {len(model.inputs)} inputs, Deploymark gives one",
            remedy="Export the detector with the image as its only input.",
        )
    if len(model.outputs) != 1:
        names = [end.get_any_name() if end.get_names() else "" for end in model.outputs]
        raise several(path, names, [shape_of(end) for end in model.outputs])
    for end, kind, known in (
        (model.input(0), "input", (*FLOATING, BYTES)),
        (model.output(0), "output", FLOATING),
    ):
        element = end.get_element_type().get_type_name()
        if element not in known:
            raise LoadError(
                f"{path} has an {kind} of {element}, Deploymark reads {', '.join(known)}",
                remedy="Export it with floating ends: quantizers can leave both of them so.",
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


def fix(
    model: Any, path: Path, images: tuple[int, int, int, int], spec: InputSpec = PLAIN_INPUT
) -> Any:
    """The model for images of the shape ``images``, given as ``spec`` says, with a float32 output.

    Sizes that the file leaves open are set, and 16-bit ends get a conversion inside of the model.
    Raises LoadError where the file fixes another shape, or takes images otherwise.
    """
    wanted = spec.shape(images)
    if (input_type(model) == BYTES) != (spec.dtype == "uint8"):
        raise LoadError(f"{path} takes {input_type(model)}, and images come as {spec.dtype}")
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
    halves = (model.input(0), model.output(0))
    if any(end.get_element_type() == Type.f16 for end in halves):
        processor = PrePostProcessor(model)
        if input_type(model) != BYTES:
            processor.input().tensor().set_element_type(Type.f32)
        processor.output().tensor().set_element_type(Type.f32)
        model = processor.build()
    return model


def input_type(model: Any) -> str:
    """The element type of a model's one input."""
    return str(model.input(0).get_element_type().get_type_name())


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


def facts(core: Any, path: Path, told: ReadAs = AS_SEEN) -> ArtifactFacts:
    """What a file says of itself: ``.xml``, a folder with one, or ``.onnx``.

    Metadata is Ultralytics' ``metadata.yaml`` beside the ``.xml``, or what the ``.onnx`` keeps.
    """
    file = foreign.the_file(path, "*.xml")
    model = read(core, file)
    files = files_of(file)
    if is_onnx(file):
        metadata = foreign.read_metadata(onnx_wire.read_header(file).metadata)
        precision = onnx_content.read_content(file).precision
    else:
        metadata = foreign.metadata_beside(file.parent)
        precision = precision_of(model)
        files += [beside for beside in [file.parent / foreign.METADATA_FILE] if beside.is_file()]
    spec, shape = foreign.image_input(shape_of(model.input(0)), of_bytes=input_type(model) == BYTES)
    return foreign.facts(
        Artifact(file.parent, file.name),
        files,
        shape,
        [shape_of(model.output(0))],
        metadata,
        precision=precision,
        told=told,
        spec=spec,
    )


def first_line(error: Exception) -> str:
    """An OpenVINO exception without the lines that quote its own source files."""
    lines = [line.strip() for line in str(error).splitlines()]
    said = [line for line in lines if line and not line.startswith(("Exception from", "Check '"))]
    return next(iter(said), type(error).__name__)

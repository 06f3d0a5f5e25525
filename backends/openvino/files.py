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
from deploymark.backends.ends import End, batched, image_of, require_extras
from deploymark.backends.inputs import extra_inputs
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

ELEMENTS = {"f32": "float32", "f16": "float16", "u8": "uint8", "i64": "int64", "i32": "int32"}
"""OpenVINO's names of the element types of inputs and outputs, and NumPy's."""

FLOATING = ("float32", "float16")
"""Inputs and outputs that are converted from and to float32."""

WHOLE = ("int64", "int32")
"""Outputs of labels and counts, which stay as they are."""

HALF, BYTES = "float16", "uint8"


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
    """The model of a file, checked to take images and to give numbers.

    Raises LoadError where a file is not there, or OpenVINO refuses it.
    """
    if is_onnx(path):
        onnx_wire.read_header(path)  # which says what is wrong with it in words of ours
    files_of(path)
    try:
        model = _opened(core, path)
    except Exception as error:
        raise LoadError(f"OpenVINO refuses {path}: {first_line(error)}") from error
    inputs, outputs = ends(model)
    whole = WHOLE if len(outputs) > 1 else ()
    for end, kind, known in (
        (image_of(path, inputs), "input", (*FLOATING, BYTES)),
        *((end, "output", (*FLOATING, *whole)) for end in outputs),
    ):
        if end.element not in known:
            raise LoadError(
                f"{path} has an {kind} of {end.element}, Deploymark reads {', '.join(known)}",
                remedy="Export it with floating ends: quantizers can leave both of them so.",
            )
    return model


def ends(model: Any) -> tuple[list[End], list[End]]:
    """The inputs and the outputs of a model."""
    inputs, outputs = (
        [End(_name(end, index), shape_of(end), _element(end)) for index, end in enumerate(group)]
        for group in (model.inputs, model.outputs)
    )
    return inputs, outputs


def _name(end: Any, index: int) -> str:
    """The first of an end's names, its place where it has none."""
    return min(end.get_names(), default=str(index))


def _element(end: Any) -> str:
    name = str(end.get_element_type().get_type_name())
    return ELEMENTS.get(name, name)


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
    """The model for images of the shape ``images``, given as ``spec`` says, with float32 ends.

    Sizes that the file leaves open are set, and 16-bit ends get a conversion inside of the model.
    Raises LoadError where the file fixes another shape, or takes images otherwise.
    """
    wanted = spec.shape(images)
    inputs, outputs = ends(model)
    image = image_of(path, inputs)
    if (image.element == BYTES) != (spec.dtype == BYTES):
        raise LoadError(f"{path} takes {image.element}, and images come as {spec.dtype}")
    from openvino.preprocess import PrePostProcessor

    if not foreign.fits(batched(image.shape), wanted):
        raise LoadError(f"{path} takes images of shape {image.shape}, not {wanted}")
    require_extras(path, (end.name for end in inputs if end is not image), spec)
    given = {name: array.shape for name, array in extra_inputs(spec, images).items()}
    given[image.name] = wanted[4 - len(image.shape) :]
    if any(None in end.shape for end in inputs):
        try:
            model.reshape({index: list(given[end.name]) for index, end in enumerate(inputs)})
        except Exception as error:
            raise LoadError(f"{path} cannot take {wanted}: {first_line(error)}") from error
    if HALF in {image.element, *(end.element for end in outputs)}:
        processor = PrePostProcessor(model)
        if image.element == HALF:
            processor.input(inputs.index(image)).tensor().set_element_type(_single())
        for index, end in enumerate(outputs):
            if end.element == HALF:
                processor.output(index).tensor().set_element_type(_single())
        model = processor.build()
    return model


def _single() -> Any:
    from openvino import Type

    return Type.f32


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
    inputs, outputs = ends(model)
    return foreign.facts(
        Artifact(file.parent, file.name),
        files,
        inputs,
        outputs,
        metadata,
        precision=precision,
        told=told,
    )


def first_line(error: Exception) -> str:
    """An OpenVINO exception without the lines that quote its own source files."""
    lines = [line.strip() for line in str(error).splitlines()]
    said = [line for line in lines if line and not line.startswith(("Exception from", "Check '"))]
    return next(iter(said), type(error).__name__)

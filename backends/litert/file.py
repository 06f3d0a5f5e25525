"""What a ``.tflite`` file holds: its tensors, its maker's notes, the types that it computes in.

Everything here is read through the runtime, so it needs ``ai_edge_litert`` and numpy alone.
"""

from __future__ import annotations

import ast
import dataclasses
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploymark.backends.base import Artifact, ArtifactFacts, LoadError, ReadAs
from deploymark.backends.ends import End, channels_last, sizes
from deploymark.backends.foreign import facts, metadata_from_json, read_metadata
from deploymark.backends.layout import (
    AS_SEEN,
    BOX_CHANNELS,
    DETECTION_COLUMNS,
    ROLES,
    OutputLayout,
    OutputSpec,
)
from deploymark.backends.recognise import Metadata
from deploymark.backends.short_types import SHORT_TYPES
from deploymark.backends.untrusted import ARCHIVE_ERRORS, LITERAL_ERRORS, read_part

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

SIGNATURE = "deploymark_pixels"
"""Name of the signature of our own exports. It tells that boxes are in pixels, in every precision;
quantizers keep it, and runtimes that do not ask for a signature never see it."""

METADATA_ENTRY = "metadata.json"
"""Ultralytics' entry in the zip archive behind the model; older versions wrote a Python literal."""

TYPES = {**SHORT_TYPES, "int16": "i16", "int32": "i32", "int64": "i64"}

OPERANDS = {
    "CONV_2D": (0, 1),
    "DEPTHWISE_CONV_2D": (0, 1),
    "FULLY_CONNECTED": (0, 1),
    "TRANSPOSE_CONV": (2, 1),
}
"""Where operators with weights keep (activations, weights) among their inputs (``schema.fbs``)."""

POSTPROCESS = "TFLite_Detection_PostProcess"
"""TensorFlow's operator that ends an SSD: boxes, classes, scores and their number, in this order
(``tensorflow/lite/kernels/detection_postprocess.cc``)."""

DELEGATE = "DELEGATE"
"""Name of the nodes that stand for what XNNPACK took over."""

HALF_NOTE = b"reduced_precision_support"
"""Metadata that lets XNNPACK compute in float16 where the processor can (``xnnpack/README.md``)."""

NORMALISED_LIMIT = 2.0
"""Boxes of an image reach across it: a largest coordinate below this is a share of its size."""


@dataclasses.dataclass(frozen=True)
class Tensor:
    """An input or output. ``shape`` has None for a size that is left open.

    ``scale`` and ``zero_point`` make real values of integers: (value - zero_point) * scale, where
    it is ``scaled``.
    """

    index: int
    shape: tuple[int | None, ...]
    data_type: str
    scale: float = 1.0
    zero_point: int = 0
    name: str = ""
    scaled: bool = False

    @property
    def is_float(self) -> bool:
        """True where the values are real ones already."""
        return self.data_type.startswith("float")


def tensor(details: dict[str, Any]) -> Tensor:
    """A tensor from the interpreter's details of it.

    Raises LoadError where integers have more than one scale.
    """
    import numpy as np

    found = Tensor(
        index=int(details["index"]),
        shape=sizes([int(size) for size in details["shape_signature"]])
        or sizes([int(size) for size in details["shape"]]),
        data_type=np.dtype(details["dtype"]).name,
        name=str(details["name"]),
    )
    parameters = details["quantization_parameters"]
    if found.is_float or not len(parameters["scales"]):
        return found
    if len(parameters["scales"]) != 1:
        raise LoadError(
            f"tensor {details['name']} of {found.data_type} has {len(parameters['scales'])} scales,"
            " images and boxes need one"
        )
    return dataclasses.replace(
        found,
        scale=float(parameters["scales"][0]),
        zero_point=int(parameters["zero_points"][0]),
        scaled=True,
    )


@dataclasses.dataclass(frozen=True)
class Form:
    """How a file takes images and what it gives; ``ours`` are our own exports.

    ``outputs`` are those of the file, ``roles`` what each is by the operator that makes it, empty
    where none tells.
    """

    images: Tensor
    outputs: tuple[Tensor, ...]
    roles: tuple[str, ...]
    metadata: Metadata
    ours: bool

    @property
    def channels_last(self) -> bool:
        """Whether images are (batch, height, width, 3)."""
        return channels_last(self.images.shape)

    @property
    def of_bytes(self) -> bool:
        """Whether images go in as bytes, without a scale that makes numbers of them."""
        return self.images.data_type == "uint8" and not self.images.scaled

    @property
    def image_shape(self) -> tuple[int | None, ...]:
        """The input's shape in the order (batch, 3, height, width)."""
        shape = self.images.shape
        return (shape[0], shape[3], shape[1], shape[2]) if self.channels_last else shape


def read_notes(path: Path) -> Metadata:
    """What Ultralytics noted in the zip archive behind the model; empty where there is none."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if METADATA_ENTRY in names:
                return metadata_from_json(read_part(archive, METADATA_ENTRY).decode())
            values = ast.literal_eval(read_part(archive, names[0]).decode()) if names else None
    except (*ARCHIVE_ERRORS, *LITERAL_ERRORS):
        return Metadata()
    return read_metadata(values) if isinstance(values, dict) else Metadata()


def read_form(path: Path, interpreter: Any) -> Form:
    """How an opened file takes images and what it gives.

    Raises LoadError where it takes anything but images.
    """
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    if len(inputs) != 1 or not outputs:
        raise LoadError(f"{path} has {len(inputs)} inputs and {len(outputs)} outputs, not images")
    images, given = tensor(inputs[0]), tuple(tensor(details) for details in outputs)
    numbers = [images] if images.data_type != "uint8" else []
    for item in numbers + list(given if len(given) == 1 else ()):
        if not (item.is_float or item.scaled):
            raise LoadError(
                f"tensor {item.name} of {item.data_type} has 0 scales, images and boxes need one"
            )
    return Form(
        images=images,
        outputs=given,
        roles=_roles(interpreter, [item.index for item in given]),
        metadata=read_notes(path),
        ours=SIGNATURE in interpreter.get_signature_list(),
    )


def _roles(interpreter: Any, outputs: Sequence[int]) -> tuple[str, ...]:
    """What outputs are that TensorFlow's post-processing gives: the operator has them in order."""
    made = {
        int(index): role
        for operator in data_types(interpreter)
        if operator["op_name"] == POSTPROCESS
        for index, role in zip(operator["outputs"], ROLES["ssd"], strict=False)
    }
    return tuple(made.get(index, "") for index in outputs)


def own_contract(form: Form) -> OutputSpec | None:
    """The output contract of an export of our own, None where it is none."""
    if not form.ours or len(form.outputs) != 1:
        return None
    finished = form.outputs[0].shape[-1] == DETECTION_COLUMNS
    return OutputSpec("detections" if finished else "anchors")


def normalised(form: Form, output: OutputSpec) -> bool | None:
    """Whether boxes are shares of the image; None where nothing tells.

    Ultralytics' files give shares, but those of a one-to-one head that keeps the order of axes,
    which are in pixels (``ultralytics/nn/backends/litert.py``). Of several outputs, and of YOLOX's,
    which are raw, the layout tells.
    """
    if form.ours or output.boxes == "normalised" or output.arrays > 1 or output.layout == "yolox":
        return output.boxes == "normalised"
    if form.metadata.task or form.metadata.names:
        return output.layout == "anchors" or form.channels_last
    return None


def looks_normalised(predictions: npt.NDArray[np.float32], layout: OutputLayout) -> bool:
    """True if the boxes of predictions for any image are shares of its size, not pixels.

    An anchor head gives a box for every place of the image, whatever it shows. Where an image gave
    no box at all, nothing tells, and pixels are meant.
    """
    boxes = predictions[:, :BOX_CHANNELS] if layout == "anchors" else predictions[..., :4]
    largest = float(abs(boxes).max())
    return 0 < largest < NORMALISED_LIMIT


def data_types(interpreter: Any) -> list[dict[str, Any]]:
    """The operators of the file, those included that XNNPACK took over."""
    operators: list[dict[str, Any]] = interpreter._get_ops_details()  # noqa: SLF001 - no other way
    return [operator for operator in operators if operator["op_name"] != DELEGATE]


def compute_type(name: str, operand_types: Sequence[Any], result_types: Sequence[Any]) -> str:
    """The type an operator computes in.

    Float activations over 8-bit weights are quantized as they come, and multiplied in 8 bits, by
    XNNPACK (``qd8``) as by LiteRT's own hybrid kernels. Weights that a DEQUANTIZE widens arrive
    here as float32, and are multiplied so.
    """
    import numpy as np

    places = OPERANDS.get(name)
    if places is None or len(operand_types) <= max(places):
        chosen = (result_types or operand_types or ["none"])[0]
    else:
        activations, weights = (operand_types[place] for place in places)
        hybrid = np.dtype(activations).kind == "f" and np.dtype(weights).kind in "iu"
        chosen = weights if hybrid else activations
    if chosen == "none":
        return "none"
    wide = str(np.dtype(chosen).name)
    return TYPES.get(wide, wide)


def count_types(interpreter: Any) -> dict[str, int]:
    """Operators by name and the type that they compute in: ``CONV_2D:i8``."""
    counts: dict[str, int] = {}
    for operator in data_types(interpreter):
        name = operator["op_name"]
        key = f"{name}:{compute_type(name, operator['operand_types'], operator['result_types'])}"
        counts[key] = counts.get(key, 0) + 1
    return dict(sorted(counts.items()))


def taken_over(interpreter: Any) -> tuple[int, int]:
    """How many convolutions XNNPACK took over, and how many there are.

    A node of a delegate lists the constants of what it replaces among its inputs, weights included.
    """
    operators = interpreter._get_ops_details()  # noqa: SLF001 - no other way
    inside: set[int] = set()
    sources: dict[int, int] = {}
    for operator in operators:
        if operator["op_name"] == DELEGATE:
            inside.update(int(index) for index in operator["inputs"])
        elif operator["op_name"] == "DEQUANTIZE":
            sources[int(operator["outputs"][0])] = int(operator["inputs"][0])
    weights = [
        int(operator["inputs"][OPERANDS[operator["op_name"]][1]])
        for operator in operators
        if "CONV" in operator["op_name"] and operator["op_name"] in OPERANDS
    ]
    taken = [index for index in weights if index in inside or sources.get(index) in inside]
    return len(taken), len(weights)


def stored_precision(interpreter: Any) -> str | None:
    """The precision of most convolutions of a file, None where it is none of ours."""
    import numpy as np

    operators = data_types(interpreter)
    widened = {
        int(operator["outputs"][0]): np.dtype(operator["operand_types"][0]).name
        for operator in operators
        if operator["op_name"] == "DEQUANTIZE"
    }
    kinds = {
        ("float32", "float32"): "fp32",
        ("float32", "float16"): "fp16",
        ("float16", "float16"): "fp16",
        ("float32", "int8"): "int8-dynamic",
        ("int8", "int8"): "int8",
        ("uint8", "uint8"): "int8",
    }
    found: dict[str | None, int] = {}
    for operator in operators:
        name = operator["op_name"]
        if "CONV" not in name or name not in OPERANDS:
            continue
        weights = int(operator["inputs"][OPERANDS[name][1]])
        kept = widened.get(weights)
        types = [np.dtype(operator["operand_types"][place]).name for place in OPERANDS[name]]
        kind = kinds.get((types[0], kept or types[1]))
        if kept == "int8":
            kind = "int8-weights"
        found[kind] = found.get(kind, 0) + 1
    return max(found, key=lambda kind: found[kind]) if found else None


def file_facts(
    artifact: Artifact, form: Form, interpreter: Any, told: ReadAs = AS_SEEN
) -> ArtifactFacts:
    """The facts of a file made elsewhere. Raises LoadError where it is no detector.

    Images with a scale of their own are given as real numbers, which the session makes whole.
    """
    images = End(form.images.name, form.images.shape, "uint8" if form.of_bytes else "float32")
    outputs = [
        End(output.name, output.shape, "float32" if output.scaled else output.data_type, role)
        for output, role in zip(form.outputs, form.roles, strict=True)
    ]
    return facts(
        artifact,
        [artifact.path],
        [images],
        outputs,
        form.metadata,
        precision=stored_precision(interpreter),
        told=told,
    )

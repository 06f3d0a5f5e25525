"""Core ML packages as files: what their specification says, and saving them reproducibly.

Everything here reads or writes the package's protobuf and JSON files, so it works wherever
coremltools is installed, on Linux too; running a model is Core ML's part and needs macOS.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deploymark.backends.base import LoadError, UnavailableError
from deploymark.backends.exporting import quiet

CONVERSION_DATE = "com.github.apple.coremltools.conversion_date"
"""coremltools' note of the day, the one part of a specification that is not made of the model."""

DATA_TYPES = {10: "f16", 11: "f32", 21: "i8", 31: "u8"}
"""Numbers of ``MILSpec.DataType`` (``MIL.proto``) and their short names."""

COMPRESSED = {
    "constexpr_lut_to_dense": "palettized",
    "constexpr_affine_dequantize": "int8-weights",
    "constexpr_blockwise_shift_scale": "int8-weights",
}
"""Operators that unpack weights when a model is loaded, and the precision they are a sign of."""


def coremltools() -> Any:
    """The package, imported without its notes on untested versions of other packages.

    Raises UnavailableError where it is not installed.
    """
    try:
        with quiet("coremltools"):
            import coremltools as ct
            import coremltools.models.compute_plan
    except ImportError as error:
        raise UnavailableError(
            f"coremltools cannot be imported: {error}", remedy="pip install 'deploymark[coreml]'"
        ) from error
    return ct


def save(model: Any, path: Path) -> None:
    """Write an ``MLModel`` so that the same model gives the same bytes.

    coremltools notes the day of conversion and names a package's parts by random identifiers; here
    the note is dropped, and a part's identifier is made of its path.
    """
    model.user_defined_metadata.pop(CONVERSION_DATE, None)
    model.save(str(path))
    manifest_path = path / "Manifest.json"
    manifest = json.loads(manifest_path.read_text(encoding="utf-8"))
    items = manifest["itemInfoEntries"]
    names = {
        name: str(uuid.uuid5(uuid.NAMESPACE_URL, item["path"])) for name, item in items.items()
    }
    manifest["itemInfoEntries"] = {
        names[name]: item for name, item in sorted(items.items(), key=lambda pair: names[pair[0]])
    }
    manifest["rootModelIdentifier"] = names[manifest["rootModelIdentifier"]]
    manifest_path.write_text(json.dumps(manifest, indent=4) + "\n", encoding="utf-8")
    for file in files(path):  # coremltools lets nobody else read the specification
        file.chmod(0o644)


def files(path: Path) -> list[Path]:
    """All files of a package, or the one file that ``path`` is."""
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def read(path: Path) -> Any:
    """The specification of a package or ``.mlmodel`` file, a ``Model_pb2.Model``.

    Raises LoadError where there is none or it cannot be read, UnavailableError where coremltools is
    not installed.
    """
    if not path.exists():
        raise LoadError(f"there is no file {path}")
    ct = coremltools()
    try:
        with quiet("coremltools"):
            specification = ct.models.MLModel(str(path), skip_model_load=True).get_spec()
    except Exception as error:
        raise LoadError(
            f"coremltools refuses {path}: {type(error).__name__}: {_one_line(error)}"
        ) from error
    kind = specification.WhichOneof("Type")
    if kind is None:
        raise LoadError(f"{path} is no Core ML model")
    if kind == "pipeline":
        raise LoadError(
            f"{path} is a pipeline, with NMS behind the detector; Deploymark reduces boxes itself",
            remedy="Export it without NMS.",
        )
    weights = path / "Data/com.apple.CoreML/weights/weight.bin"
    if kind == "mlProgram" and weights.is_file() and weights.stat().st_size < _blob_end(weights):
        raise LoadError(f"{path} is cut off: its weights end before the last of them")
    return specification


def _one_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "")


def _blob_end(weights: Path) -> int:
    """Bytes that a file of weights must have at least, by what it says of its last blob.

    The layout is that of ``MLModel/src/MILBlob/Blob/StorageFormat.hpp`` in coremltools: a header of
    64 bytes that begins with the count of blobs, then blobs at multiples of 64, each after
    metadata of 64 bytes: sentinel, type, size in bytes, offset of the data. Returns 0 where the
    file reads otherwise.
    """
    alignment, sentinel = 64, 0xDEADBEEF
    size = weights.stat().st_size
    with weights.open("rb") as file:
        count = int.from_bytes(file.read(alignment)[:4], "little")
        position, end = alignment, alignment
        for _ in range(count):
            file.seek(position)
            metadata = file.read(alignment)
            if len(metadata) < alignment:
                return max(end, size + 1)
            if int.from_bytes(metadata[:4], "little") != sentinel:
                return 0
            data_bytes = int.from_bytes(metadata[8:16], "little")
            end = int.from_bytes(metadata[16:24], "little") + data_bytes
            position = -(-end // alignment) * alignment
    return end


def operations(specification: Any) -> Iterator[Any]:
    """The operations of an ML program, constants among them, in order."""
    for function in specification.mlProgram.functions.values():
        yield from function.block_specializations[function.opset].operations


def argument(operation: Any, name: str) -> str:
    """Name of the value that an operation takes as ``name``, empty where it takes a literal."""
    bindings = operation.inputs[name].arguments if name in operation.inputs else ()
    return str(bindings[0].name) if bindings else ""


def type_of(operation: Any) -> str:
    """Data type of an operation's first output: ``f16``, ``f32`` and so on."""
    number = operation.outputs[0].type.tensorType.dataType
    return DATA_TYPES.get(number, f"type {number}")


def precision(specification: Any) -> str | None:
    """The precision that most convolutions of an ML program show; None where none is known."""
    producers = {
        output.name: operation.type
        for operation in operations(specification)
        for output in operation.outputs
    }
    counts: dict[str, int] = {}
    for operation in operations(specification):
        if operation.type != "conv":
            continue
        data_type = {"f16": "fp16", "f32": "fp32"}.get(type_of(operation))
        found = COMPRESSED.get(producers.get(argument(operation, "weight"), ""), data_type)
        if found == "int8-weights" and producers.get(argument(operation, "x")) == "dequantize":
            found = "int8"
        if found is not None:
            counts[found] = counts.get(found, 0) + 1
    return max(counts, key=lambda name: counts[name]) if counts else None


def output_shapes(specification: Any) -> list[tuple[int | None, ...]]:
    """Shapes of the outputs, None for a size that is left open.

    A description may leave a shape out where it depends on the input's; the program's type then
    tells what is fixed.
    """
    made = {
        output.name: output.type.tensorType.dimensions
        for operation in operations(specification)
        for output in operation.outputs
    }
    shapes = []
    for output in specification.description.output:
        shape: tuple[int | None, ...] = tuple(output.type.multiArrayType.shape)
        if not shape:
            shape = tuple(
                size.constant.size if size.WhichOneof("dimension") == "constant" else None
                for size in made.get(output.name, ())
            )
        shapes.append(shape)
    return shapes


def input_shape(specification: Any, path: Path) -> tuple[int | None, ...]:
    """Shape of the one input, (batch, 3, height, width), None for a size that is left open.

    An image input is one RGB image. Raises LoadError for several inputs, and other images.
    """
    inputs = list(specification.description.input)
    if len(inputs) != 1:
        raise LoadError(f"{path} has {len(inputs)} inputs, Deploymark gives images alone")
    feature = inputs[0].type
    if feature.WhichOneof("Type") == "imageType":
        image = feature.imageType
        if image.ColorSpace.Name(image.colorSpace) != "RGB":
            raise LoadError(f"{path} takes images that are not RGB")
        fixed = image.WhichOneof("SizeFlexibility") is None
        return (1, 3, image.height if fixed else None, image.width if fixed else None)
    array = feature.multiArrayType
    flexibility = array.WhichOneof("ShapeFlexibility")
    if flexibility == "shapeRange":
        return tuple(
            size.lowerBound if size.lowerBound == size.upperBound else None
            for size in array.shapeRange.sizeRanges
        )
    if flexibility == "enumeratedShapes":
        shapes = [list(choice.shape) for choice in array.enumeratedShapes.shapes]
        return tuple(
            sizes[0] if len(set(sizes)) == 1 else None for sizes in zip(*shapes, strict=True)
        )
    return tuple(array.shape)

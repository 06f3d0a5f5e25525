"""TorchScript files: the note in them, and what they take and give.

Ultralytics' exporter leaves a note of JSON in the archive; a file of ours has the same one with a
line more. The program itself tells no shapes: where there is no note, trying does.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploymark.backends.base import ExportRequest, LoadError, UnavailableError
from deploymark.backends.ends import End, extras_of, require_extras
from deploymark.backends.exporting import quiet
from deploymark.backends.inputs import InputSpec, extra_inputs

NOTE = "config.txt"
"""Ultralytics' name of the note (``ultralytics/utils/export/torchscript.py``)."""

INPUT_DTYPE = "input_dtype"
"""Our line: the type that the program takes. Without it the type is that of the weights, as where
a module was halved as a whole."""

TRIED_SIZES = (640, 320, 416, 512, 1280, 256)
"""Image sizes that a file without a note is tried with: Ultralytics' default first."""

PRECISIONS = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}


@dataclasses.dataclass(frozen=True)
class Opened:
    """A file that was read. ``precision`` is that of its weights, None where it shows none."""

    module: Any
    note: Mapping[str, Any]
    input_dtype: Any
    precision: str | None


def note(request: ExportRequest) -> dict[str, Any]:
    """What Ultralytics notes, as far as it is read again, and the input's type."""
    detector = request.detector
    return {
        "task": "detect",
        "batch": request.batch,
        "imgsz": list(request.imgsz),
        "stride": detector.stride,
        "names": dict(enumerate(detector.names)),
        "end2end": detector.output.layout == "detections",
        INPUT_DTYPE: "float32",
    }


def open_file(torch: Any, path: Path, device: str) -> Opened:
    """Read a file onto a device. Raises LoadError, or UnavailableError where it needs more."""
    extra = {NOTE: ""}
    try:
        with quiet("torch"):
            module = _load(torch, path, device, extra).eval()
    except UnavailableError:
        raise
    except Exception as error:
        raise LoadError(
            f"torch.jit.load refuses {path}: {type(error).__name__}: {_first_line(error)}"
        ) from error
    noted = _parsed(extra[NOTE])
    weights = next((item for item in module.parameters() if item.is_floating_point()), None)
    dtype = torch.float32 if weights is None else weights.dtype
    stated = getattr(torch, str(noted.get(INPUT_DTYPE, "")), None)
    return Opened(
        module=module,
        note=noted,
        input_dtype=dtype if stated is None else stated,
        precision=None
        if weights is None
        else PRECISIONS.get(str(weights.dtype).removeprefix("torch.")),
    )


def noted_shape(noted: Mapping[str, Any]) -> tuple[int | None, ...] | None:
    """The input's shape after the note: None for sizes it leaves open, None where it has none."""
    size, batch = noted.get("imgsz"), noted.get("batch")
    if not isinstance(size, (list, tuple)) or len(size) != 2 or not isinstance(batch, int):  # noqa: PLR2004 - height, width
        return None
    arguments = noted.get("args")
    if isinstance(arguments, Mapping) and arguments.get("dynamic"):
        return (None, 3, None, None)
    return (batch, 3, int(size[0]), int(size[1]))


def ends(torch: Any, path: Path, opened: Opened) -> tuple[list[End], list[End]]:
    """Inputs, with None for sizes that are left open, and outputs, of one inference.

    Raises LoadError where no images fit.
    """
    noted = noted_shape(opened.note)
    if noted is not None:
        batch, height, width = noted[0] or 1, *map(int, opened.note["imgsz"])
        return _inputs(opened, noted), run(torch, path, opened, (batch, 3, height, width))
    fitting: list[tuple[int, list[End]]] = []
    said: LoadError | None = None
    for size in TRIED_SIZES:
        try:
            fitting.append((size, run(torch, path, opened, (1, 3, size, size))))
        except LoadError as error:
            said = said or error
        if len(fitting) > 1:  # a traced size takes no other
            return _inputs(opened, (None, 3, None, None)), fitting[0][1]
    if not fitting:
        sizes = ", ".join(map(str, TRIED_SIZES))
        raise LoadError(
            f"{path} does not note the images it takes, and fails on those of {sizes} pixels"
        ) from said
    size, outputs = fitting[0]
    return _inputs(opened, (1, 3, size, size)), outputs


def _inputs(opened: Opened, images: tuple[int | None, ...]) -> list[End]:
    """The images, and what the program's own names tell of the inputs that follow them."""
    first, *others = _arguments(opened)
    return [End(first, images, "float32"), *(End(name, ()) for name in others)]


def _arguments(opened: Opened) -> list[str]:
    """Names of the arguments that have no default."""
    arguments = list(opened.module.forward.schema.arguments)[1:]
    names = [item.name for item in arguments if not item.has_default_value()]
    return names or ["images"]


def run(
    torch: Any, path: Path, opened: Opened, shape: tuple[int, ...], spec: InputSpec | None = None
) -> list[End]:
    """The outputs of one inference for images of a shape: a tensor, a tuple or a dictionary.

    Without ``spec`` the inputs besides the images are told by their names. Raises LoadError where
    the program fails on them, or gives something else.
    """
    device = next((item.device for item in opened.module.parameters()), torch.device("cpu"))
    first, *names = _arguments(opened)
    if spec is None:
        image = End(first, shape)
        extra = extras_of(path, [image, *(End(name, ()) for name in names)], image)
        spec = InputSpec(extra=extra)
    else:
        require_extras(path, names, spec)
    images = torch.zeros(shape, dtype=opened.input_dtype, device=device)
    given = extra_inputs(spec, (shape[0], 3, shape[2], shape[3]))
    others = [torch.from_numpy(given[item.name]).to(device) for item in spec.extra]
    try:
        output = opened.module(images, *others)
    except Exception as error:
        raise LoadError(f"{path} fails on images of shape {shape}: {_last_line(error)}") from error
    return _outputs(torch, path, output, shape)


def _outputs(torch: Any, path: Path, output: Any, shape: tuple[int, ...]) -> list[End]:
    """What a program gave. Outputs without names are called by their places."""
    named: dict[str, Any]
    if isinstance(output, torch.Tensor):
        named = {"0": output}
    elif isinstance(output, Mapping):
        named = {str(name): value for name, value in output.items()}
    elif isinstance(output, (tuple, list)):
        named = {str(index): value for index, value in enumerate(output)}
    else:
        named = {}
    if not named or not all(isinstance(item, torch.Tensor) for item in named.values()):
        raise LoadError(
            f"{path} gives {type(output).__name__}, Deploymark reads a tensor, or a tuple or "
            "dictionary of tensors"
        )
    found = [
        End(name, tuple(item.shape), str(item.dtype).removeprefix("torch."))
        for name, item in named.items()
    ]
    # A burnt-in batch shows; boxes of any number have none, and none were found in these images.
    if len(found) == 1 and found[0].shape[:1] != shape[:1]:
        raise LoadError(f"{path} gives {found[0].shape} for images of shape {shape}")
    if len(found) > 1 and all(len(end.shape) < 3 for end in found):  # noqa: PLR2004 - boxes of a batch
        found = [dataclasses.replace(end, shape=(None, *end.shape[1:])) for end in found]
    return found


def _load(torch: Any, path: Path, device: str, extra: dict[str, str]) -> Any:
    """``torch.jit.load``; a file with NMS in it brings torchvision in for its operator."""
    try:
        return torch.jit.load(path, map_location=device, _extra_files=extra)
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    try:
        import torchvision  # noqa: F401 - registers the operator
    except ImportError as error:
        raise UnavailableError(
            f"{path} holds torchvision's NMS, and torchvision cannot be imported: {error}",
            remedy="pip install torchvision, or export with nms=False",
        ) from error
    return torch.jit.load(path, map_location=device, _extra_files=extra)


def _parsed(text: str | bytes) -> Mapping[str, Any]:
    """The note as a mapping; empty where it is none."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return values if isinstance(values, Mapping) else {}


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), "")


def _last_line(error: Exception) -> str:
    """What TorchScript's error says, after the traceback of the program."""
    return next(iter(reversed(str(error).strip().splitlines())), type(error).__name__)

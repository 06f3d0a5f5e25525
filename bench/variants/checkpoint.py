"""Ultralytics' checkpoints as torch modules: YOLO ready to be exported. For the build child only.

Other families are in ``bench.variants.sources``.

A ``.pt`` file is a pickle: opening it runs what it says, so it is opened in a child process and
nowhere else. Everything heavy is imported inside functions, after ``quiet_ultralytics``.
"""

from __future__ import annotations

import atexit
import contextlib
import copy
import functools
import importlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from deploymark.backends.base import Detector, OutputLayout, OutputSpec, Size
from deploymark.bench.errors import BadInputError
from deploymark.bench.variants.model_counts import INPUT_CHANNELS, count_macs, nonzero_fraction
from deploymark.bench.worker.detections import BOX_CHANNELS, DETECTION_COLUMNS, MAX_DETECTIONS

if TYPE_CHECKING:
    from torch import nn

_TASKS = {
    "ClassificationModel": "classify",
    "OBBModel": "obb",
    "PoseModel": "pose",
    "SegmentationModel": "segment",
}
"""Classes of ``ultralytics.nn.tasks`` that are no box detectors, and Ultralytics' word for each."""

_DEFAULT_IMGSZ = 640
"""Of a checkpoint that does not tell what it was trained at (Ultralytics' default)."""

_FORMER_PACKAGE = "bench.variants"
_OWN_CLASSES = ("qat_modules", "split_blocks")
"""Modules with classes that recipes put into checkpoints, and the name that pickles of before
``deploymark`` was the one import name have for their package."""

_GIVE_DETECTOR = (
    "Give the .pt of a detector of Ultralytics (YOLOv8, YOLO11, YOLO26, RT-DETR, …), or another "
    "family as docs/models.md has it."
)


@functools.cache
def quiet_ultralytics() -> None:
    """Make Ultralytics stay offline, install nothing and print nothing. Call before importing it.

    Its settings go to a temporary folder, removed when the process ends.
    """
    config = tempfile.mkdtemp(prefix="deploymark-ultralytics-")
    atexit.register(shutil.rmtree, config, ignore_errors=True)
    os.environ.update(
        YOLO_AUTOINSTALL="false",
        YOLO_OFFLINE="1",
        YOLO_VERBOSE="false",
        YOLO_CONFIG_DIR=config,
    )
    from ultralytics import settings

    settings.update({"sync": False})


def describe(module: nn.Module, size: Size | int) -> Detector:
    """What is known of a module made by ``model_factory``, at a size.

    ``params`` counts the fused model's parameters, ``macs`` the multiply-accumulates of its
    convolutions and linear layers for one image, ``nonzero_fraction`` is the share of their learned
    weights that are not 0. Raises BadInputError if its output is no list of boxes.
    """
    macs, output = count_macs(module, size)
    return Detector(
        names=class_names(module),
        stride=stride_of(module),
        output=OutputSpec(_layout(module, output)),
        family=family_of(module),
        params=sum(parameter.numel() for parameter in module.parameters()),
        macs=macs,
        nonzero_fraction=nonzero_fraction(module),
    )


def model_factory(
    path: Path, size: Size | int, *, head: str = "auto", fake_quantized: bool = False
) -> Callable[[], nn.Module]:
    """A function that returns a fresh module of the checkpoint, on every call.

    The module is an Ultralytics ``DetectionModel`` on the CPU in float32, fused, in evaluation
    mode, and maps float32 (batch, 3, height, width) in [0, 1] to one tensor. ``head``: a model with
    a one-to-one branch (YOLOv10, YOLO26) uses that branch, which needs no suppression, unless it is
    ``one-to-many``; ``one-to-one`` insists on it. The modules share nothing. ``fake_quantized``
    keeps the rounding that quantization-aware training put into a checkpoint, which only the
    precision ``int8-qat`` is to have; without it, the module has the trained weights alone.

    Raises BadInputError where the file is missing or is no checkpoint of a YOLO detector, or a side
    of the size is no multiple of its stride, before it returns.
    """
    module = prepared(path, load_detector(path), size, head, fake_quantized=fake_quantized)
    return lambda: copy.deepcopy(module)


def load_detector(path: Path) -> Any:
    """The checkpoint's YOLO ``DetectionModel`` in float32, before fusing, to be trained or pruned.

    Raises BadInputError where the file is missing or is no checkpoint of such a detector.
    """
    module = load_any(path)
    from ultralytics.nn.modules.head import Detect

    if not isinstance(head_of(module), Detect):
        raise BadInputError(
            f"{path} ends in a {type(head_of(module)).__name__}, recipes take YOLO's Detect head",
            remedy=_GIVE_DETECTOR,
        )
    return module


def training_imgsz(module: Any) -> int:
    """The size in pixels that a checkpoint was trained at, to a multiple of its stride."""
    args = module.args if isinstance(module.args, dict) else vars(module.args)
    stride = stride_of(module)
    return max(stride, int(args.get("imgsz") or _DEFAULT_IMGSZ) // stride * stride)


def save_detector(module: Any, path: Path) -> None:
    """Write a detector before fusing as a checkpoint that ``load_detector`` and Ultralytics open.

    Weights are kept in float32: half-precision ones would round what a recipe trained.
    """
    import torch

    args = module.args if isinstance(module.args, dict) else dict(vars(module.args))
    torch.save({"model": module, "ema": None, "train_args": args, "epoch": -1}, path)


def exportable(module: Any, size: Size | int, *, head: str = "auto") -> Any:
    """``module`` made ready for export at ``size`` with one of its heads, in place; returns it.

    ``module`` is a detector before fusing. Raises BadInputError for a head that it does not have.
    """
    if hasattr(module, "end2end") and getattr(head_of(module), "one2one_cv2", None) is not None:
        # before fusing, which removes the branch that is not used
        module.end2end = head != "one-to-many"
    elif head == "one-to-one":
        raise BadInputError(
            "the model has no one-to-one head", remedy="Leave out `head`, or write one-to-many."
        )
    fused(module)
    _set_up_head(module, Size.of(size))
    return module


def fused(module: Any) -> Any:
    """The module with its normalisation folded into convolutions, for inference; in place."""
    module.fuse(verbose=False)
    module.eval()
    for parameter in module.parameters():
        parameter.requires_grad_(requires_grad=False)
    return module


def output_layout(module: Any) -> OutputLayout:
    """The layout of the output of a module that ``exportable`` made."""
    return "detections" if bool(getattr(head_of(module), "end2end", False)) else "anchors"


def float_nodes(module: Any) -> tuple[str, ...]:
    """Patterns of the exported node names that decode boxes and scores, for quantizers to skip.

    Boxes (hundreds of pixels) and scores (below 1) share the output tensor, and one 8-bit scale for
    both leaves no score: everything of the head but its convolutions stays in float.
    """
    head = len(module.model) - 1
    return (rf"^/model\.{head}/(?!(one2one_)?cv[23]).*",)


def prepared(
    path: Path, module: Any, size: Size | int, head: str = "auto", *, fake_quantized: bool = False
) -> Any:
    """The YOLO detector of a checkpoint made ready for export, in place: see ``model_factory``."""
    if not fake_quantized:
        from deploymark.bench.variants.qat_modules import without_fake_quantization

        without_fake_quantization(module)
    check_stride(str(path), Size.of(size), stride_of(module))
    try:
        return exportable(module, size, head=head)
    except BadInputError as error:
        raise BadInputError(f"{path}: {error.message}", remedy=error.remedy) from error


def _set_up_head(module: Any, size: Size) -> None:
    """As ``ultralytics.engine.exporter.Exporter`` sets it for ONNX."""
    head = head_of(module)
    places = sum(
        (size.height // int(stride)) * (size.width // int(stride)) for stride in module.stride
    )
    head.export = True
    head.format = "onnx"
    head.dynamic = False
    head.max_det = min(MAX_DETECTIONS, places)
    head.shape = None  # anchors are made anew for the size


def load_any(path: Path) -> Any:
    """The checkpoint's detector in float32, not fused; its moving average where it has one.

    A YOLO, or Ultralytics' RT-DETR. Raises BadInputError where the file is missing or holds none.
    """
    _check_file(path)
    quiet_ultralytics()
    from ultralytics.nn.tasks import load_checkpoint

    # Ultralytics edits some file names before it opens them (yolov5n.pt becomes yolov5nu.pt), and
    # downloads what it then does not find.
    with tempfile.TemporaryDirectory(prefix="deploymark-") as folder:
        alias = Path(folder) / "checkpoint.pt"
        alias.symlink_to(path.resolve())
        try:
            with _former_names():
                module, _ = load_checkpoint(alias)
        except Exception as error:
            if isinstance(error, AttributeError) and error.obj is not None:
                raise _no_model(path, error.obj) from error
            raise BadInputError(
                f"{path} is not a checkpoint with a model: {_first_line(error, alias, path)}",
                remedy=_GIVE_DETECTOR,
            ) from error
    _check_detector(path, module)
    return module


@contextlib.contextmanager
def _former_names() -> Iterator[None]:
    """Have pickles find our classes by the names that they had in former versions, too."""
    here = __name__.rpartition(".")[0]
    former = {
        f"{_FORMER_PACKAGE}.{name}": importlib.import_module(f"{here}.{name}")
        for name in _OWN_CLASSES
    }
    # The parents are asked for on the way; whatever a user has by these names is left alone.
    former |= {name: ModuleType(name) for name in ("bench", _FORMER_PACKAGE)}
    lent = {name: module for name, module in former.items() if name not in sys.modules}
    sys.modules.update(lent)
    try:
        yield
    finally:
        for name in lent:
            del sys.modules[name]


def _check_file(path: Path) -> None:
    if path.suffix.lower() != ".pt":
        raise BadInputError(f"{path} is not a .pt checkpoint", remedy=_GIVE_DETECTOR)
    if not path.is_file():
        raise BadInputError(f"{path}: no such file")


def _check_detector(path: Path, module: Any) -> None:
    from torch import nn
    from ultralytics.nn.modules.head import Detect, RTDETRDecoder

    if not isinstance(getattr(module, "model", None), nn.Sequential):
        raise _no_model(path, module)
    task = _task(module)
    if task != "detect":
        raise BadInputError(
            f"{path} is a {task!r} model, Deploymark measures detectors", remedy=_GIVE_DETECTOR
        )
    head = head_of(module)
    if not isinstance(head, (Detect, RTDETRDecoder)):
        raise BadInputError(
            f"{path} ends in a {type(head).__name__}, not in a head of YOLO or RT-DETR",
            remedy=_GIVE_DETECTOR,
        )
    channels = next(module.parameters()).shape[1]
    if channels != INPUT_CHANNELS:
        raise BadInputError(
            f"{path} takes images of {channels} channels, Deploymark gives it RGB",
            remedy=_GIVE_DETECTOR,
        )


def _task(module: Any) -> str:
    """What the model is for. Its class is asked first: its own word may be a default."""
    for cls in type(module).__mro__:
        if cls.__name__ in _TASKS:
            return _TASKS[cls.__name__]
    return str(getattr(module, "task", "unknown"))


def check_stride(what: str, size: Size, stride: int) -> None:
    """Raise BadInputError unless both sides are multiples of the stride of ``what``."""
    if all(side > 0 and side % stride == 0 for side in size):
        return
    below = Size(*(max(side // stride, 1) * stride for side in size))
    above = Size(
        *(side if side == low else low + stride for side, low in zip(size, below, strict=True))
    )
    raise BadInputError(
        f"imgsz {size} is no multiple of {stride}, the stride of {what}",
        remedy=f"Use {below} or {above}.",
    )


def head_of(module: Any) -> Any:
    """The last module of a detector."""
    return module.model[-1]


def stride_of(module: Any) -> int:
    """The largest stride, in pixels."""
    return int(max(module.stride))


def class_names(module: Any) -> tuple[str, ...]:
    """The class names by index."""
    names = module.names
    count = int(head_of(module).nc)
    if isinstance(names, dict):
        return tuple(str(names.get(index, f"class_{index}")) for index in range(count))
    return tuple(str(name) for name in names)


def family_of(module: Any) -> str:
    """The architecture's name, ``yolo11n``, from the file name in its own configuration."""
    config = getattr(module, "yaml", None) or {}
    return Path(str(config.get("yaml_file", ""))).stem


def _layout(module: Any, output: Any) -> OutputLayout:
    """The layout of ``output``, checked against what the head says it is."""
    shape = tuple(getattr(output, "shape", ()))
    classes, layout = len(class_names(module)), output_layout(module)
    match shape:
        case (_, _, columns) if layout == "detections" and columns == DETECTION_COLUMNS:
            return layout
        case (_, channels, _) if layout == "anchors" and channels == BOX_CHANNELS + classes:
            return layout
    raise BadInputError(
        f"the model's output of shape {shape} is no list of boxes of {classes} classes",
        remedy=_GIVE_DETECTOR,
    )


def _no_model(path: Path, held: object) -> BadInputError:
    """What is said of another library's model."""
    return BadInputError(
        f"{path} holds a {type(held).__name__}, no model of Ultralytics", remedy=_GIVE_DETECTOR
    )


def _first_line(error: Exception, alias: Path, path: Path) -> str:
    """The error's first line, about the file that the user knows."""
    lines = str(error).strip().splitlines()
    if not lines:
        return type(error).__name__
    line = lines[0].removeprefix("ERROR ❌️ ").replace(str(alias), path.name)
    return f"{type(error).__name__}: {line}"

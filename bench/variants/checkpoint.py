"""Trained checkpoints as torch modules, ready to be exported. For the build child only.

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

from deploymark.backends.base import Detector, OutputLayout
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

_GIVE_DETECTOR = "Give the .pt of an Ultralytics YOLO detector (YOLOv8, YOLO11, YOLO26, …)."


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


def inspect_checkpoint(path: Path, imgsz: int, *, head: str = "auto") -> Detector:
    """What is known of a checkpoint, at ``imgsz``, with one of its heads.

    Raises BadInputError where the file is missing or is no checkpoint of a detector, or imgsz is no
    multiple of the model's stride.
    """
    return describe(_prepared(path, imgsz, head), imgsz)


def describe(module: nn.Module, imgsz: int) -> Detector:
    """What is known of a module made by ``model_factory``.

    ``params`` counts the fused model's parameters, ``macs`` the multiply-accumulates of its
    convolutions and linear layers for one image, ``nonzero_fraction`` is the share of their learned
    weights that are not 0. Raises BadInputError if its output is no list of boxes.
    """
    macs, output = count_macs(module, imgsz)
    return Detector(
        names=_names(module),
        stride=_stride(module),
        layout=_layout(module, output),
        family=_family(module),
        params=sum(parameter.numel() for parameter in module.parameters()),
        macs=macs,
        nonzero_fraction=nonzero_fraction(module),
    )


def model_factory(
    path: Path, imgsz: int, *, head: str = "auto", fake_quantized: bool = False
) -> Callable[[], nn.Module]:
    """A function that returns a fresh module of the checkpoint, on every call.

    The module is an Ultralytics ``DetectionModel`` on the CPU in float32, fused, in evaluation
    mode, and maps float32 (batch, 3, imgsz, imgsz) in [0, 1] to one tensor. ``head``: a model with
    a one-to-one branch (YOLOv10, YOLO26) uses that branch, which needs no suppression, unless it is
    ``one-to-many``; ``one-to-one`` insists on it. The modules share nothing. ``fake_quantized``
    keeps the rounding that quantization-aware training put into a checkpoint, which only the
    precision ``int8-qat`` is to have; without it, the module has the trained weights alone.

    Raises BadInputError as ``inspect_checkpoint`` does, before it returns.
    """
    module = _prepared(path, imgsz, head, fake_quantized=fake_quantized)
    return lambda: copy.deepcopy(module)


def load_detector(path: Path) -> Any:
    """The checkpoint's ``DetectionModel`` in float32, before fusing, ready to be trained or pruned.

    Raises BadInputError where the file is missing or is no checkpoint of a detector.
    """
    return _load(path)


def training_imgsz(module: Any) -> int:
    """The size in pixels that a checkpoint was trained at, to a multiple of its stride."""
    args = module.args if isinstance(module.args, dict) else vars(module.args)
    stride = _stride(module)
    return max(stride, int(args.get("imgsz") or _DEFAULT_IMGSZ) // stride * stride)


def save_detector(module: Any, path: Path) -> None:
    """Write a detector before fusing as a checkpoint that ``load_detector`` and Ultralytics open.

    Weights are kept in float32: half-precision ones would round what a recipe trained.
    """
    import torch

    args = module.args if isinstance(module.args, dict) else dict(vars(module.args))
    torch.save({"model": module, "ema": None, "train_args": args, "epoch": -1}, path)


def exportable(module: Any, imgsz: int, *, head: str = "auto") -> Any:
    """``module`` made ready for export at ``imgsz`` with one of its heads, in place; returns it.

    ``module`` is a detector before fusing. Raises BadInputError for a head that it does not have.
    """
    if hasattr(module, "end2end") and getattr(_head(module), "one2one_cv2", None) is not None:
        # before fusing, which removes the branch that is not used
        module.end2end = head != "one-to-many"
    elif head == "one-to-one":
        raise BadInputError(
            "the model has no one-to-one head", remedy="Leave out `head`, or write one-to-many."
        )
    module.fuse(verbose=False)
    module.eval()
    for parameter in module.parameters():
        parameter.requires_grad_(requires_grad=False)
    _set_up_head(module, imgsz)
    return module


def output_layout(module: Any) -> OutputLayout:
    """The layout of the output of a module that ``exportable`` made."""
    return "detections" if bool(getattr(_head(module), "end2end", False)) else "anchors"


def float_nodes(module: Any) -> tuple[str, ...]:
    """Patterns of the exported node names that decode boxes and scores, for quantizers to skip.

    Boxes (hundreds of pixels) and scores (below 1) share the output tensor, and one 8-bit scale for
    both leaves no score: everything of the head but its convolutions stays in float.
    """
    head = len(module.model) - 1
    return (rf"^/model\.{head}/(?!(one2one_)?cv[23]).*",)


def _prepared(path: Path, imgsz: int, head: str, *, fake_quantized: bool = False) -> Any:
    module = _load(path)
    if not fake_quantized:
        from deploymark.bench.variants.qat_modules import without_fake_quantization

        without_fake_quantization(module)
    _check_stride(path, imgsz, _stride(module))
    try:
        return exportable(module, imgsz, head=head)
    except BadInputError as error:
        raise BadInputError(f"{path}: {error.message}", remedy=error.remedy) from error


def _set_up_head(module: Any, imgsz: int) -> None:
    """As ``ultralytics.engine.exporter.Exporter`` sets it for ONNX."""
    head = _head(module)
    places = sum((imgsz // int(stride)) ** 2 for stride in module.stride)
    head.export = True
    head.format = "onnx"
    head.dynamic = False
    head.max_det = min(MAX_DETECTIONS, places)
    head.shape = None  # anchors are made anew for imgsz


def _load(path: Path) -> Any:
    """The checkpoint's model in float32, not fused; its moving average where it has one."""
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
    from ultralytics.nn.modules.head import Detect

    if not isinstance(getattr(module, "model", None), nn.Sequential):
        raise _no_model(path, module)
    task = _task(module)
    if task != "detect":
        raise BadInputError(
            f"{path} is a {task!r} model, Deploymark measures detectors", remedy=_GIVE_DETECTOR
        )
    head = _head(module)
    if not isinstance(head, Detect):
        raise BadInputError(
            f"{path} ends in a {type(head).__name__}, Deploymark reads the Detect head of YOLO",
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


def _check_stride(path: Path, imgsz: int, stride: int) -> None:
    if imgsz > 0 and imgsz % stride == 0:
        return
    below = max(imgsz // stride, 1) * stride
    raise BadInputError(
        f"imgsz {imgsz} is no multiple of {stride}, the stride of {path}",
        remedy=f"Use {below} or {below + stride}.",
    )


def _head(module: Any) -> Any:
    return module.model[-1]


def _stride(module: Any) -> int:
    return int(max(module.stride))


def _names(module: Any) -> tuple[str, ...]:
    names = module.names
    count = int(_head(module).nc)
    if isinstance(names, dict):
        return tuple(str(names.get(index, f"class_{index}")) for index in range(count))
    return tuple(str(name) for name in names)


def _family(module: Any) -> str:
    """The architecture's name, ``yolo11n``, from the file name in its own configuration."""
    config = getattr(module, "yaml", None) or {}
    return Path(str(config.get("yaml_file", ""))).stem


def _layout(module: Any, output: Any) -> OutputLayout:
    """The layout of ``output``, checked against what the head says it is."""
    shape = tuple(getattr(output, "shape", ()))
    classes, layout = len(_names(module)), output_layout(module)
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

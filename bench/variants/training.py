"""Training a detector on the train split, with Ultralytics' trainer. For the build child only."""

from __future__ import annotations

import copy
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from deploymark.backends.base import UnsupportedError
from deploymark.backends.inputs import square_input
from deploymark.backends.onnx.graph import quiet
from deploymark.bench.data.images import letterboxed
from deploymark.bench.data.labels import ImageLabels
from deploymark.bench.matrix.steps import Training
from deploymark.bench.variants.apply import Record, StepContext
from deploymark.bench.variants.batch_norm import lacks_statistics, restore_statistics
from deploymark.bench.variants.checkpoint import quiet_ultralytics
from deploymark.bench.variants.evaluate import selection_evaluator
from deploymark.bench.variants.hyperparameters import hyperparameters
from deploymark.bench.variants.training_set import training_images, write_training_set
from deploymark.bench.worker.letterbox import to_input

if TYPE_CHECKING:
    import torch
    from torch import nn


_STATISTICS_IMAGES = 32
"""Images that lost statistics of batch normalisation are measured on."""


class ExtraLoss(Protocol):
    """What a step adds to the detection loss."""

    def __call__(self, images: torch.Tensor, raw: Any) -> tuple[torch.Tensor, dict[str, float]]:
        """A scalar to be added, and named parts of it for the history.

        ``images``: float32 (b, 3, h, w) in [0, 1]; ``raw``: what the model's head gave in training
        mode for them. The detection loss is that of one image times ``b``: the scalar must be, too.
        """


def train(
    module: nn.Module,
    settings: Training,
    context: StepContext,
    *,
    extra_loss: ExtraLoss | None = None,
) -> tuple[nn.Module, Record]:
    """Train a detector, and return the moving average of its weights with a record.

    ``module`` is an Ultralytics ``DetectionModel`` before fusing, perhaps pruned, perhaps with
    simulated quantization; it is changed. What is returned is float32, in evaluation mode, on the
    CPU. Weights of convolutions that are zero stay zero, and shapes stay as they are. The same
    seed, data and number of threads give the same weights.

    The record has ``history`` (a list with the mean losses, the learning rate and the seconds of
    each epoch), ``training_images``, ``selection_images``, ``epochs``, ``imgsz``, ``batch``,
    ``seed``, ``seconds``, and ``map50_95_before`` and ``map50_95_after`` on the selection images;
    ``notes`` for people where there is something to note.

    Raises UnavailableError where there are too few images, UnsupportedError for a hyperparameter or
    an imgsz that cannot be, and ExportError where the loss or a weight is no number any more.
    """
    quiet_ultralytics()
    imgsz = settings.imgsz or context.imgsz
    seed = context.seed if settings.seed is None else settings.seed
    _check_imgsz(module, imgsz)
    images = training_images(context.data, images=settings.images, batch=settings.batch, seed=seed)
    own_args = getattr(module, "args", None)
    chosen = hyperparameters(_plain(own_args), settings.hyperparameters, settings.epochs)
    arguments = _arguments(settings, chosen, imgsz, seed)
    evaluator = selection_evaluator(context, imgsz)

    def say(what: str) -> None:
        context.say(what)
        sys.stderr.write(f"{what}\n")  # the log, which is kept

    sys.stderr.write(f"training: {settings!r}\narguments of Ultralytics: {arguments}\n")
    say("score the model before training")
    before = evaluator.map50_95(module)
    started = time.monotonic()
    notes = _restored(module, images, imgsz)
    folder = Path(tempfile.mkdtemp(prefix="training-", dir=context.folder))
    try:
        with quiet("ultralytics"):
            from deploymark.bench.variants.trainer import Trainer

            trainer = Trainer(
                module,
                settings,
                arguments,
                images=write_training_set(images, folder / "data"),
                folder=folder / "ultralytics",
                say=say,
                extra_loss=extra_loss,
            )
            trainer.train()
        trained, used = trainer.result(), len(trainer.train_loader.dataset)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    seconds = time.monotonic() - started
    if used < len(images):
        notes.append(f"{len(images) - used} of {len(images)} images could not be read")
    # Those of this training name its temporary folder.
    trained.args = copy.deepcopy(own_args) if own_args else {**chosen, "imgsz": imgsz}
    say("score the trained model")
    after = evaluator.map50_95(trained)
    sys.stderr.write(f"mAP50-95 {before:.4f} before, {after:.4f} after\n")
    return trained, {
        "history": trainer.history,
        "training_images": used,
        "selection_images": len(evaluator.images),
        "epochs": settings.epochs,
        "imgsz": imgsz,
        "batch": settings.batch,
        "seed": seed,
        "seconds": round(seconds, 3),
        "map50_95_before": before,
        "map50_95_after": after,
        **({"notes": notes} if notes else {}),
    }


def _restored(module: nn.Module, images: Sequence[ImageLabels], imgsz: int) -> list[str]:
    """Restore lost statistics of batch normalisation; returns notes on that for people."""
    import torch

    if not lacks_statistics(module):
        return []
    paths = [image.path for image in images[:_STATISTICS_IMAGES]]
    spec = square_input(imgsz)
    batches = (torch.from_numpy(to_input(letterboxed(path, spec)[0][np.newaxis])) for path in paths)
    restore_statistics(module, batches)
    return [f"statistics of batch normalisation, which were lost, measured on {len(paths)} images"]


def _check_imgsz(module: Any, imgsz: int) -> None:
    stride = int(max(module.stride))
    if imgsz % stride:
        below = max(imgsz // stride, 1) * stride
        raise UnsupportedError(
            f"imgsz {imgsz} is no multiple of {stride}, the stride of the model",
            remedy=f"Use {below} or {below + stride}.",
        )


def _plain(args: Any) -> Mapping[str, Any]:
    """A checkpoint's arguments; it keeps them as a dictionary, a namespace, or not at all."""
    if args is None:
        return {}
    return args if isinstance(args, Mapping) else vars(args)


def _arguments(
    settings: Training, chosen: Mapping[str, Any], imgsz: int, seed: int
) -> dict[str, Any]:
    """Arguments of Ultralytics' trainer. Raises UnsupportedError for a value that it refuses."""
    from ultralytics.cfg import get_cfg

    arguments = {
        "task": "detect",
        "mode": "train",
        "epochs": settings.epochs,
        "imgsz": imgsz,
        "batch": settings.batch,
        # The default of 64 would gather several batches into one step: too few for a short run.
        "nbs": settings.batch,
        "optimizer": "AdamW",
        # The first moment's decay of AdamW (Loshchilov & Hutter, 2019), as in `optimizer: auto`.
        "momentum": 0.9,
        # The trainer sets each step's learning rate itself (deploymark.bench.variants.schedules).
        "warmup_epochs": 0.0,
        "seed": seed,
        "deterministic": True,
        "device": "cpu",
        "workers": 0,
        "cache": False,
        # Its check would download a model.
        "amp": False,
        "plots": False,
        "val": False,
        "save": False,
        "patience": 0,
        **chosen,
    }
    try:
        get_cfg(overrides=dict(arguments))
    except (TypeError, ValueError, SyntaxError) as error:
        raise UnsupportedError(
            f"Ultralytics refuses a hyperparameter: {error}",
            remedy="Correct `hyperparameters` of the step.",
        ) from error
    return arguments

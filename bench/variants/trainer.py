"""Ultralytics' trainer, made to train the very module it is given, and to leave nothing behind.

Imports torch and Ultralytics: to be imported inside functions, after ``quiet_ultralytics``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from ultralytics.models.yolo.detect import DetectionTrainer

from deploymark.backends.base import ExportError
from deploymark.bench.matrix.steps import Training
from deploymark.bench.variants.schedules import learning_rate

_ExtraLoss = Callable[[torch.Tensor, Any], tuple[torch.Tensor, dict[str, float]]]
"""See ``bench.variants.training.ExtraLoss``."""

_SAY_EVERY_S = 10.0
_ZEROS_OF_A_PRUNED_LAYER = 0.01
"""A layer with a smaller share of zeros was not pruned: chance rounds a few weights to 0."""

_CONVOLUTION_DIMENSIONS = 4


class Trainer(DetectionTrainer):  # type: ignore[misc]
    """Trains ``module`` in place; ``ema`` holds the moving average of its weights.

    The average is Ultralytics' own: it forgets at a rate that starts at once and slows down in some
    thousands of steps, so that after a few hundred steps it is nearly the last weights. Longer
    memories (a twentieth, a tenth, a fifth of the steps) were worse after each short training that
    was tried, as the learning rate has come to rest by then.

    ``images`` is a folder of images with their labels beside it (``write_training_set``),
    ``folder`` an empty one for what Ultralytics writes. ``arguments`` are Ultralytics' own.
    """

    def __init__(
        self,
        module: nn.Module,
        settings: Training,
        arguments: Mapping[str, Any],
        *,
        images: Path,
        folder: Path,
        say: Callable[[str], None],
        extra_loss: _ExtraLoss | None = None,
    ) -> None:
        self._module, self._settings, self._images = module, settings, images
        self._say, self._extra_loss = say, extra_loss
        threads = torch.get_num_threads()
        self._step = self._steps = 0
        self._epoch_started = self._said = time.monotonic()
        self.history: list[dict[str, float | None]] = []
        self._zeros = _pruned_weights(module)
        super().__init__(overrides={**arguments, "model": "module", "save_dir": str(folder)})
        torch.set_num_threads(threads)  # choosing the device set Ultralytics' own number
        self.model = module

    # Ultralytics' hooks. Its callbacks are never run: they report to services it finds installed.

    def run_callbacks(self, event: str) -> None:
        """Do what this class does at an event of Ultralytics' loop, and nothing else."""
        action = {
            "on_train_start": self._start,
            "on_train_epoch_start": self._start_epoch,
            "on_train_batch_end": self._end_batch,
            "on_train_epoch_end": self._end_epoch,
        }.get(event)
        if action is not None:
            action()

    def get_dataset(self) -> dict[str, Any]:
        """What a ``data.yaml`` would say; reading one makes Ultralytics look for a font online."""
        count, names = int(self._module.model[-1].nc), self._module.names
        known = dict(names) if isinstance(names, Mapping) else dict(enumerate(names))
        return {
            "path": self._images,
            "train": str(self._images),
            "val": str(self._images),
            "names": {index: str(known.get(index, f"class_{index}")) for index in range(count)},
            "nc": count,
            "channels": 3,
        }

    def get_dataloader(
        self, dataset_path: str, batch_size: int = 16, rank: int = 0, mode: str = "train"
    ) -> Any:
        """The training images; nothing is validated, but a loader is asked for."""
        if mode != "train":
            return self.train_loader
        return super().get_dataloader(dataset_path, batch_size, rank, mode)

    def optimizer_step(self) -> None:
        """One step at its own learning rate: Ultralytics' schedule knows epochs only."""
        rate = learning_rate(self._settings, self._step, self._steps, len(self.train_loader))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        super().optimizer_step()
        self._step += 1

    def validate(self) -> tuple[dict[str, float], float]:
        """Nothing: the caller scores the result."""
        return {}, 0.0

    def save_model(self) -> bool:
        """Nothing: the result is taken from ``ema``."""
        return False

    def save_metrics(self, metrics: Mapping[str, float]) -> None:
        """Nothing: see ``history``."""

    def final_eval(self) -> None:
        """Nothing, as ``validate``."""

    # What happens at those events.

    def _start(self) -> None:
        self._steps = len(self.train_loader) * self.epochs
        self.model.criterion = _Criterion(self.model, self._extra_loss, self._watch)
        self.optimizer.register_step_post_hook(lambda *_: self._keep_zeros(self.model))

    def _start_epoch(self) -> None:
        self._epoch_started = self._said = time.monotonic()

    def _end_batch(self) -> None:
        now = time.monotonic()
        if now - self._said > _SAY_EVERY_S:
            self._said = now
            per_epoch = len(self.train_loader)
            share = (self._step - self.epoch * per_epoch) / per_epoch
            self._say(f"epoch {self.epoch + 1} of {self.epochs}: {share:.0%}")

    def _end_epoch(self) -> None:
        seconds = time.monotonic() - self._epoch_started
        losses = {name: float(value) for name, value in self.tloss.items()}
        self.history.append(
            {
                "epoch": self.epoch + 1,
                **{name: value if math.isfinite(value) else None for name, value in losses.items()},
                "lr": self.optimizer.param_groups[0]["lr"],
                "seconds": round(seconds, 3),
            }
        )
        parts = " ".join(
            f"{name.removesuffix('_loss')} {value:.3g}" for name, value in losses.items()
        )
        self._say(f"epoch {self.epoch + 1} of {self.epochs}: {parts}, {seconds:.0f} s")

    def _watch(self, loss: float) -> None:
        """Stop at the first loss that is no number."""
        if math.isfinite(loss):
            return
        step = self._step - self.epoch * len(self.train_loader) + 1
        raise ExportError(
            f"training diverged: the loss became {loss} in epoch {self.epoch + 1}, step {step}",
            remedy=f"Lower `lr0`, now {self._settings.lr0:g}.",
        )

    def _keep_zeros(self, module: nn.Module) -> None:
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                if name in self._zeros:
                    parameter.masked_fill_(self._zeros[name], 0.0)

    def result(self) -> nn.Module:
        """The moving average of the trained module, float32, in evaluation mode, on the CPU.

        Averages are of floating-point values only: counters, zero points and switches are taken
        from the module as it is. Raises ExportError where a weight is no number.
        """
        averaged: nn.Module = self.ema.ema
        state = self.model.state_dict()
        with torch.no_grad():
            for name, value in averaged.state_dict().items():
                if not value.is_floating_point() or not bool(torch.isfinite(value).all()):
                    value.copy_(state[name])
        self._keep_zeros(averaged)
        for name, parameter in averaged.named_parameters():
            if not bool(torch.isfinite(parameter).all()):
                raise ExportError(
                    f"training diverged: weights of {name} are no numbers at its end",
                    remedy=f"Lower `lr0`, now {self._settings.lr0:g}.",
                )
        # It holds this trainer, and whatever `extra_loss` does: nothing for a checkpoint.
        averaged.criterion = self.model.criterion = None
        return averaged.float().eval().cpu()


class _Criterion:
    """The detection loss of a model and what is added to it, watched for values that are none."""

    def __init__(
        self, module: nn.Module, extra: _ExtraLoss | None, watch: Callable[[float], None]
    ) -> None:
        self._detection, self._extra, self._watch = module.init_criterion(), extra, watch

    def __call__(
        self, raw: Any, batch: Mapping[str, torch.Tensor]
    ) -> tuple[torch.Tensor, dict[str, Any]]:
        loss, items = self._detection(raw, batch)
        if self._extra is not None:
            value, parts = self._extra(batch["img"], raw)
            loss, items = torch.cat((loss, value.reshape(1))), {**items, **parts}
        self._watch(float(loss.detach().sum()))
        return loss, items

    def update(self) -> None:
        """After each epoch: two heads shift the weight between their losses."""
        if hasattr(self._detection, "update"):
            self._detection.update()


def _pruned_weights(module: nn.Module) -> dict[str, torch.Tensor]:
    """Where the weights of pruned convolutions are zero, by the parameter's name."""
    zeros = {
        name: parameter.detach() == 0
        for name, parameter in module.named_parameters()
        if parameter.ndim == _CONVOLUTION_DIMENSIONS
    }
    return {
        name: mask
        for name, mask in zeros.items()
        if float(mask.float().mean()) >= _ZEROS_OF_A_PRUNED_LAYER
    }

"""How the learning rate changes during a training."""

from __future__ import annotations

import math

from deploymark.bench.matrix.steps import Training


def learning_rate(settings: Training, step: int, steps: int, steps_per_epoch: int) -> float:
    """The learning rate of ``step`` (from 0) of ``steps``.

    It rises in a line to ``lr0`` and falls to ``lr0 * lrf`` along half a cosine (Loshchilov &
    Hutter, SGDR, 2017).
    """
    warmup = min(round(settings.warmup_epochs * steps_per_epoch), steps - 1)
    if step < warmup:
        return settings.lr0 * (step + 1) / (warmup + 1)
    progress = (step - warmup) / max(steps - 1 - warmup, 1)
    cosine = (1 + math.cos(math.pi * progress)) / 2
    return settings.lr0 * (settings.lrf + (1 - settings.lrf) * cosine)

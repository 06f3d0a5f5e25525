"""Augmentation and loss gains of a training: the checkpoint's own, or what the matrix says."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from typing import Any

from deploymark.backends.base import UnsupportedError

INHERITED = (
    "bgr",
    "box",
    "cls",
    "cls_pw",
    "copy_paste",
    "cutmix",
    "degrees",
    "dfl",
    "fliplr",
    "flipud",
    "hsv_h",
    "hsv_s",
    "hsv_v",
    "mixup",
    "mosaic",
    "multi_scale",
    "perspective",
    "scale",
    "shear",
    "translate",
)
"""Arguments of Ultralytics that say what a model sees and how its losses weigh.

Nothing else of a checkpoint's arguments is taken over: they name folders of another machine, and
the optimizer and length of another training.
"""

NAMES = (*INHERITED, "close_mosaic", "weight_decay")
"""What ``hyperparameters`` of a training may name."""

_MOSAIC_FREE_EPOCHS = 10
"""Ultralytics' default of ``close_mosaic``, for trainings of 100 epochs."""


def hyperparameters(
    args: Mapping[str, Any], given: Mapping[str, float], epochs: int
) -> dict[str, Any]:
    """Arguments for Ultralytics' trainer, by its names.

    ``args`` are those that the checkpoint was trained with, ``given`` what the matrix says instead.
    Mosaics are left out of the last third of the epochs, ten at most, so that a network ends on
    images such as it will be given; one epoch has none.

    Raises UnsupportedError for a name that is unknown.
    """
    for name in given:
        if name not in NAMES:
            near = difflib.get_close_matches(name, NAMES, n=3)
            raise UnsupportedError(
                f"no hyperparameter is called {name!r}",
                remedy=f"Did you mean {', '.join(near)}?"
                if near
                else f"There are {', '.join(NAMES)}.",
            )
    own = {name: args[name] for name in INHERITED if _is_number(args.get(name))}
    closed = given.get("close_mosaic", min(_MOSAIC_FREE_EPOCHS, math.ceil(epochs / 3)))
    return {**own, **given, "close_mosaic": int(closed)}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)

"""Models that a package's own function loads: ``loader: my_package.my_module:load``."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from deploymark.backends.model import LoadedModel
from deploymark.bench.errors import BadInputError

_RETURN = "Have it return a deploymark.backends.model.LoadedModel."


def load(spec: str, path: Path | None) -> LoadedModel:
    """What the function ``module:function`` returns, given ``path``. Raises BadInputError."""
    module_name, _, function = spec.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), function)
    except Exception as error:
        raise BadInputError(
            f"the loader {spec} cannot be imported: {type(error).__name__}: {error}",
            remedy="Install its package here, or name its folder in PYTHONPATH.",
        ) from error
    try:
        model = found(path)
    except BadInputError:
        raise
    except Exception as error:
        import traceback

        traceback.print_exc(file=sys.stderr)
        given = "" if path is None else f" of {path}"
        raise BadInputError(f"the loader {spec}{given} failed: {_told(error)}") from error
    _check(spec, model)
    loaded: LoadedModel = model
    return loaded


def _told(error: Exception) -> str:
    """The error, and the line of the loader that raised it."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    where = "" if last is None else f" ({last.tb_frame.f_code.co_filename}:{last.tb_lineno})"
    return f"{type(error).__name__}: {error}{where}"


def _check(spec: str, model: Any) -> None:
    """Raise BadInputError unless a loader returned what it is to."""
    from torch import nn

    if not isinstance(model, LoadedModel):
        raise BadInputError(
            f"the loader {spec} returns {type(model).__name__}, not a LoadedModel", remedy=_RETURN
        )
    if not isinstance(model.module, nn.Module):
        raise BadInputError(
            f"the loader {spec}: its module is {type(model.module).__name__}, not a torch.nn.Module"
        )
    if model.module.training:
        raise BadInputError(
            f"the loader {spec}: its module is in training mode", remedy="Call module.eval()."
        )
    if not model.names:
        raise BadInputError(
            f"the loader {spec} gives no class names", remedy="Fill `names`, in their order."
        )
    if (model.input.height is None) != (model.input.width is None):
        raise BadInputError(
            f"the loader {spec}: its input has one side of a size",
            remedy="Give height and width, or neither where it takes any size.",
        )
    if model.input.dtype != "float32" or model.input.channels_last:
        raise BadInputError(
            f"the loader {spec}: its module is to take float32 (batch, 3, height, width)",
            remedy="Convert inside the module.",
        )

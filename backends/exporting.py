"""What exporters do alike: keep quiet, try the model before it is traced, fail in one way."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from typing import Any

from deploymark.backends.errors import BackendError, ExportError


@contextlib.contextmanager
def quiet(*loggers: str) -> Iterator[None]:
    """Hold back warnings, and log records below ERROR of these loggers.

    An exporter's deprecation notes and tracer warnings are addressed to its developers; a failure
    still raises.
    """
    levels = {name: logging.getLogger(name).level for name in loggers}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for name in loggers:
                logging.getLogger(name).setLevel(logging.ERROR)
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)


@contextlib.contextmanager
def failures(what: str) -> Iterator[None]:
    """Make an ExportError of what goes wrong in the block: ``what`` failed, and why.

    Errors of backends pass as they are.
    """
    try:
        yield
    except BackendError:
        raise
    except Exception as error:
        raise ExportError(f"{what} failed: {type(error).__name__}: {error}") from error


def forward_once(model: Any, example: Any) -> None:
    """Run a torch module that is to be traced next. Call without gradients.

    Heads build their anchors at the first forward: done before, they are constants. Raises
    ExportError unless it returns one tensor.
    """
    require_tensor(model(example))


def require_tensor(output: Any) -> None:
    """Raise ExportError unless a model's output is one tensor."""
    import torch

    if not isinstance(output, torch.Tensor):
        raise ExportError(
            f"the model returns {type(output).__name__}, not one tensor of predictions"
        )

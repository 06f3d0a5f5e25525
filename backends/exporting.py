"""What exporters do alike: keep quiet, try the model before it is traced, fail in one way."""

from __future__ import annotations

import contextlib
import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from deploymark.backends.errors import BackendError, ExportError, UnsupportedError
from deploymark.backends.inputs import InputSpec, extra_inputs
from deploymark.backends.layout import PLAIN_OUTPUT, ROLES, OutputSpec

UNHELD: Mapping[str, tuple[re.Pattern[str], str]] = {
    # torch.onnx
    "UnsupportedOperatorError": (
        re.compile(r"operator '?([\w:.]+)'?"),
        "does not know the operator {} of this model",
    ),
    # torch.export
    "GuardOnDataDependentSymNode": (
        re.compile(r"Caused by: \((.+?)\)"),
        "cannot hold an operator whose shapes depend on the image: {}",
    ),
}
"""Errors of exporters that say of an operator that they cannot hold it, by class: how they name it,
and what is told of it."""


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

    Errors of backends pass as they are. An operator that the exporter says it does not know is an
    UnsupportedError that names it.
    """
    try:
        yield
    except BackendError:
        raise
    except Exception as error:
        pattern, told = UNHELD.get(type(error).__name__, (None, ""))
        if pattern is not None and (named := pattern.search(str(error))) is not None:
            raise UnsupportedError(f"{what} {told.format(named[1])}") from error
        raise ExportError(f"{what} failed: {type(error).__name__}: {error}") from error


def examples(spec: InputSpec, images: tuple[int, int, int, int]) -> tuple[Any, ...]:
    """What a module is traced with: black images of a shape, float32, and the extra inputs."""
    import torch

    return (torch.zeros(images), *map(torch.from_numpy, extra_inputs(spec, images).values()))


def forward_once(model: Any, *given: Any, output: OutputSpec = PLAIN_OUTPUT) -> None:
    """Run a torch module that is to be traced next. Call without gradients.

    Heads build their anchors at the first forward: done before, they are constants. Raises
    ExportError unless it returns what ``output`` says: one tensor, or a tuple of so many.
    """
    require_outputs(model(*given), output)


def require_outputs(found: Any, output: OutputSpec = PLAIN_OUTPUT) -> None:
    """Raise ExportError unless a model's output is one tensor, or the tuple of its contract."""
    import torch

    roles = ROLES.get(output.layout)
    if roles is None:
        if not isinstance(found, torch.Tensor):
            raise ExportError(
                f"the model returns {type(found).__name__}, not one tensor of predictions"
            )
        return
    several = isinstance(found, tuple) and all(isinstance(item, torch.Tensor) for item in found)
    if not several or len(found) != len(roles):
        what = f"{len(found)} values" if isinstance(found, tuple) else type(found).__name__
        raise ExportError(
            f"the model returns {what}, not the tensors {', '.join(roles)} of the layout "
            f"{output.layout}",
            remedy=f"Have the module return a tuple of {len(roles)} tensors.",
        )

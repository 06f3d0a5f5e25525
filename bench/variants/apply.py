"""Carrying out one step of a recipe, in a build child."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploymark.bench.data.training_data import TrainingData
from deploymark.bench.matrix.plugin_steps import PluginStep
from deploymark.bench.matrix.steps import Step

if TYPE_CHECKING:
    from torch import nn

_RUNNERS = {
    "l1": "deploymark.bench.variants.l1",
    "2:4": "deploymark.bench.variants.two_four",
    "structured": "deploymark.bench.variants.structured",
    "finetune": "deploymark.bench.variants.finetune",
    "iterative": "deploymark.bench.variants.iterative",
    "distill": "deploymark.bench.variants.distill",
    "qat": "deploymark.bench.variants.qat",
}
"""The module that carries out each kind of ours, by its function ``run``."""

Record = dict[str, Any]
"""What a step found and did, as JSON, for ``variants.json`` of the run directory."""


@dataclasses.dataclass(frozen=True)
class StepContext:
    """What a step has to work with.

    ``original`` is the checkpoint that the recipe started from; ``imgsz`` (pixels) is what it was
    trained at. ``data`` is there where the step needs data: images that are neither scored nor
    calibrated on. ``folder`` is an empty folder for files in between, removed later. ``say`` is
    told what is being done, for progress.
    """

    original: Path
    imgsz: int
    seed: int
    data: TrainingData | None
    folder: Path
    say: Callable[[str], None]
    head: str = "auto"


def run_step(module: nn.Module, step: Step, context: StepContext) -> tuple[nn.Module, Record]:
    """Carry out ``step`` on a detector before fusing; returns the changed detector and a record.

    The module may be changed in place. Raises UnsupportedError where the architecture does not
    allow the step, UnavailableError where there is too little data or a package is missing, and
    ExportError where it fails, as a training that diverges.
    """
    plugin = isinstance(step, PluginStep)
    runner = importlib.import_module(type(step).__module__ if plugin else _RUNNERS[step.kind])
    result: tuple[nn.Module, Record] = runner.run(module, step, context)
    return result


def merged(record: Mapping[str, Any], **more: Any) -> Record:
    """A record with more facts, those that are None left out."""
    return {**record, **{key: value for key, value in more.items() if value is not None}}

"""The boxes of both sides of a gate: those that a run left, or of a launch made for them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deploymark.bench.gate.sides import SideCell
from deploymark.bench.matrix.sections import Measure
from deploymark.bench.records.outcomes import Outcome
from deploymark.bench.run.launch import LaunchTask, launch
from deploymark.bench.run.schedule import LaunchSlot

_E2E_IMAGES = 16


@dataclasses.dataclass(frozen=True)
class Boxes:
    """Where the boxes of a cell are, or why there are none, and the launch that made them.

    ``record`` is empty where a run left them.
    """

    outcome: Outcome
    path: Path | None = None
    record: dict[str, Any] = dataclasses.field(default_factory=dict)


class Boxer:
    """Makes boxes once for the same artifact under the same runtime, of both sides."""

    def __init__(self, folder: Path, logs: Path) -> None:
        self._folder = folder
        self._logs = logs
        self._made: dict[tuple[Any, ...], Boxes] = {}

    def boxes(self, item: SideCell, label: str, say: Callable[[str], None]) -> Boxes:
        """The boxes of a cell; ``label`` names the side in the names of files."""
        if item.predictions is not None:
            return Boxes(Outcome("ok"), item.predictions)
        measured, cell = item.measurable, item.cell
        key = (
            measured.artifact.sha256,
            str(measured.images),
            cell.backend,
            cell.device,
            cell.precision,
            cell.batch,
            measured.threads,
            cell.python,
            repr(sorted(cell.runtime_options.items())),
        )
        if key not in self._made:
            say(f"{cell.id}: boxes of the {label}")
            self._made[key] = self._launch(item, label)
        return self._made[key]

    def _launch(self, item: SideCell, label: str) -> Boxes:
        measured = item.measurable
        brief = Measure(launches=1, latency_s=0.01, min_iterations=2, max_iterations=2)
        cell = dataclasses.replace(item.cell, measure=brief)
        path = (self._folder / f"{cell.id}-{label}.npz").resolve()
        record = launch(
            LaunchTask(
                slot=LaunchSlot(cell.id, 0),
                cell=cell,
                threads=measured.threads,
                artifact=measured.artifact,
                images=measured.images,
                e2e_images=[image.path for image in item.scored_on.dataset.scored[:_E2E_IMAGES]],
                predictions=path,
                inspect=True,
            ),
            self._logs / f"{cell.id}-{label}.log",
        )
        outcome = Outcome(record["status"], record["reason"], record["remedy"])
        return Boxes(outcome, path if outcome.ok else None, record)

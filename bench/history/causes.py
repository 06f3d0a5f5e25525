"""What else changed where a figure did: the artifact, inputs, packages, settings, the machine."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from itertools import pairwise

from deploymark.bench.compare.run_differences import differences
from deploymark.bench.history.past_runs import FoundRun
from deploymark.bench.records.comparison import DIFFERENCES, Difference
from deploymark.bench.records.run import CellResult, Run
from deploymark.bench.records.trends import NOTHING_RECORDED, Point

_LONGEST_TEXT = 40

_ALIKE = frozenset({"commit", "Deploymark", "memory_bytes", "frequency_max_mhz"})
"""Differences that tell nothing here: told elsewhere, or alike in all runs of a machine."""


@dataclasses.dataclass(frozen=True, slots=True)
class Origin:
    """What a cell's figures in one run come from."""

    model: str
    variant: str
    precision: str
    backend: str
    artifact_sha256: str | None
    energy_source: str | None


def origin_of(cell: CellResult) -> Origin:
    """What a cell's figures come from."""
    return Origin(
        # texts, whoever wrote the run
        str(cell.model),
        str(cell.variant),
        str(cell.precision),
        str(cell.backend),
        cell.artifact_sha256,
        cell.energy_source,
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Measured:
    """A figure of one cell in one run."""

    point: Point
    origin: Origin


class Between:
    """What is recorded of two runs and not the same, for the cells that it may have changed."""

    def __init__(self, runs: Sequence[FoundRun]) -> None:
        self._runs = [Run(run.folder, run.info, ()) for run in runs]
        # Where most runs have a new host, as on a provider's machines, a host explains nothing.
        moves = sum(one.host != other.host for one, other in pairwise(runs))
        self._untold = _ALIKE | ({"host"} if 2 * moves > len(runs) else set())
        self.all = functools.cache(self._all)

    def _all(self, before: int, after: int) -> list[Difference]:
        return [
            item
            for item in differences([self._runs[before], self._runs[after]])
            if item.name not in self._untold and None not in item.values
        ]

    def texts(self, before: Measured, after: Measured, figure: str) -> list[str]:
        """What changed, likeliest cause first: artifact, inputs, packages, settings, machine."""
        cell = after.origin
        texts = []
        if before.origin.artifact_sha256 != cell.artifact_sha256:
            texts.append("artifact changed")
        if figure.startswith("energy") and before.origin.energy_source != cell.energy_source:
            texts.append(f"energy source {before.origin.energy_source} → {cell.energy_source}")
        relevant = [
            item
            for item in self.all(before.point.run, after.point.run)
            if _concerns(item, cell, figure)
        ]
        relevant.sort(key=lambda item: _rank(item, cell))
        return texts + [_text(item) for item in relevant]


def _concerns(item: Difference, cell: Origin, figure: str) -> bool:
    """Whether a difference of two runs is one for this cell and figure."""
    if item.kind == "setting":
        part, _, rest = item.name.partition(".")
        own = {"backends": cell.backend, "variants": cell.variant}.get(part)
        return own is None or f"{rest}.".startswith(f"{own}.")
    if item.kind == "input":
        what, _, model = item.name.rpartition(" ")
        return model == cell.model and (figure in DIFFERENCES or "scored" not in what)
    return True


def _rank(item: Difference, cell: Origin) -> tuple[int, bool]:
    """Order of likelihood; a package named like the cell's backend comes before the others."""
    kinds = ("input", "package", "setting", "machine")
    place = kinds.index(item.kind) if item.kind in kinds else len(kinds)
    named = item.name.replace("-", "").lower()
    return place, not (item.kind == "package" and cell.backend.replace("-", "").lower() in named)


def _text(item: Difference) -> str:
    before, after = (str(value) for value in item.values)
    if item.kind == "input" or len(before) > _LONGEST_TEXT or len(after) > _LONGEST_TEXT:
        return f"{item.name} changed"
    return f"{item.name} {before} → {after}"


def found_at(
    between: Between, measured: Sequence[Measured], index: int, figure: str, *, sure: bool
) -> list[str]:
    """What changed at a change point, or one run beside it, as its place may be off by one."""
    places = [(index, "")]
    if not sure:
        places += [(index - 1, "one run earlier: "), (index + 1, "one run later: ")]
    for place, where in places:
        if 0 < place < len(measured):
            texts = between.texts(measured[place - 1], measured[place], figure)
            if texts:
                return [f"{where}{text}" for text in texts]
    return [NOTHING_RECORDED]

"""What a variant brings: each of its cells beside the dense one of the same backend and precision.

A share of zeros or of removed channels is a promise; what a runtime makes of it is measured here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from deploymark.bench.records.run import PRECISION_ORDER, CellResult
from deploymark.reports.page import figures

UNCHANGED = frozenset({"dense", "as-is"})
"""Variants that nothing was done to, or nobody knows what (``bench.matrix.cells``)."""

_COMPARED_PRECISION = {"int8-qat": "int8"}
"""The precision of the dense cell to compare with, where it is another: dense has no QAT."""

_MEMORIES = (
    ("device_memory_bytes", "device memory"),
    ("model_rss_bytes", "model RSS"),
    ("peak_rss_bytes", "peak RSS"),
)
"""Memory figures, what the model takes first: the first one that both cells have is compared."""

_FEWEST_ZEROS = 0.01
"""Share of zeros more than dense has, from which a model is called sparse."""

Verdict = Literal["faster", "slower", "no faster", "not told"]


def known(values: Iterable[float | None]) -> list[float]:
    """Those that are there."""
    return [value for value in values if value is not None]


@dataclasses.dataclass(frozen=True)
class SpeedUp:
    """Latency p50 of the dense cell over that of the variant: 2 is twice as fast.

    The ends are those of both confidence intervals over one another, so the interval holds 1 just
    where the two overlap, and is wider than 95 % would need. None where a cell has one launch.
    """

    ratio: float
    low: float | None
    high: float | None

    @property
    def verdict(self) -> Verdict:
        """``no faster`` where the confidence intervals of the two cells overlap."""
        if self.low is None or self.high is None:
            return "not told"
        if self.low > 1:
            return "faster"
        return "slower" if self.high < 1 else "no faster"


@dataclasses.dataclass(frozen=True)
class Memory:
    """A memory figure of a cell (bytes), its name, and its change as a share of dense's."""

    name: str
    size_bytes: float
    change: float | None


@dataclasses.dataclass(frozen=True)
class Effect:
    """A cell of a variant.

    ``dense`` is the cell to compare with, None where there is none; ``missing`` then says why.
    ``origin`` is a dense cell of the same model and image size, of any backend: enough for what
    belongs to the model and not to its artifact.
    """

    cell: CellResult
    dense: CellResult | None
    missing: str
    origin: CellResult | None

    @property
    def speed_up(self) -> SpeedUp | None:
        """None where either cell has no latency above zero."""
        ours = figures.measured(self.cell.latency_p50_ms)
        theirs = figures.measured(self.dense.latency_p50_ms) if self.dense else None
        if self.dense is None or ours is None or theirs is None or min(ours, theirs) <= 0:
            return None
        ends = (
            self.dense.latency_ci_low_ms,
            self.dense.latency_ci_high_ms,
            self.cell.latency_ci_low_ms,
            self.cell.latency_ci_high_ms,
        )
        above_zero = [end for end in known(map(figures.measured, ends)) if end > 0]
        if len(above_zero) < len(ends):
            return SpeedUp(theirs / ours, None, None)
        dense_low, dense_high, low, high = above_zero
        return SpeedUp(theirs / ours, dense_low / high, dense_high / low)

    def change(self, key: str) -> float | None:
        """The change of a figure as a share of the dense cell's: -0.3 is 30 % less."""
        against = self.origin if key in {"params", "macs"} else self.dense
        ours = figures.measured(getattr(self.cell, key))
        theirs = figures.measured(getattr(against, key)) if against else None
        return None if ours is None or not theirs else ours / theirs - 1

    @property
    def map_points(self) -> float | None:
        """mAP50-95 less that of dense, in points of 0.01."""
        ours = figures.measured(self.cell.map50_95)
        theirs = figures.measured(self.dense.map50_95) if self.dense else None
        return None if ours is None or theirs is None else 100 * (ours - theirs)

    @property
    def memory(self) -> Memory | None:
        """The memory figure to compare; without a change where dense has none of a kind."""
        memories = [
            Memory(title, float(size), self.change(key))
            for key, title in _MEMORIES
            if (size := figures.measured(getattr(self.cell, key))) is not None
        ]
        compared = (memory for memory in memories if memory.change is not None)
        return next(compared, memories[0] if memories else None)

    @property
    def zeros(self) -> float | None:
        """Share of weights that are zero, where the recipe made more of them than dense has."""
        share = figures.measured(self.cell.nonzero_fraction)
        if share is None:
            return None
        origin = figures.measured(self.origin.nonzero_fraction) if self.origin else None
        dense = 0.0 if origin is None else 1 - origin
        return 1 - share if 1 - share - dense >= _FEWEST_ZEROS else None

    @property
    def words(self) -> str:
        """``50 % sparse, 0 % faster``: what was taken away, and what came of it."""
        return f"{self._taken()}, {self._gained()}"

    def _taken(self) -> str:
        taken = []
        if self.zeros is not None:
            taken.append(f"{100 * self.zeros:.0f} % sparse")
        percent = round(100 * (self.change("macs") or 0))
        if percent:
            taken.append(f"{abs(percent)} % {'fewer' if percent < 0 else 'more'} MACs")
        return " and ".join(taken) or "as large as dense"

    def _gained(self) -> str:
        speed = self.speed_up
        if speed is None:
            return "speed-up unknown"
        percent = round(100 * (speed.ratio - 1))
        if speed.verdict == "not told":
            return f"{figures.signed_percent(percent / 100)} speed by one launch"
        if speed.verdict == "no faster":
            if percent == 0:
                return "0 % faster"
            return f"no faster ({figures.signed_percent(percent / 100)})"
        return _percent_faster(percent)


def _percent_faster(percent: int) -> str:
    """``12 % faster``, ``12 % slower``, ``0 % faster``."""
    return f"{abs(percent)} % {'slower' if percent < 0 else 'faster'}"


@dataclasses.dataclass(frozen=True)
class VariantEffects:
    """The cells of one variant of one model, and what they come to in one sentence."""

    model: str
    variant: str
    effects: tuple[Effect, ...]


def _place(cell: CellResult, precision: str) -> tuple[object, ...]:
    """What a cell and the dense one that it is compared with have in common."""
    axes = (cell.model, cell.backend, cell.device, cell.imgsz, cell.batch, cell.threads)
    return (*axes, cell.runtime_axes, precision)


def _counterpart(
    cell: CellResult, dense: Mapping[tuple[object, ...], list[CellResult]]
) -> tuple[CellResult | None, str]:
    precision = _COMPARED_PRECISION.get(cell.precision, cell.precision)
    found = dense.get(_place(cell, precision), [])
    measured = [other for other in found if other.status == "ok"]
    if not found:
        return None, f"the run has no dense {precision} cell of {cell.backend} to compare with"
    if not measured:
        return None, f"the dense cell {found[0].cell} ended as {found[0].status}"
    # Threads may be given as a number and as `auto`, and be the same: then the names tell.
    end = cell.cell.removeprefix(f"{cell.model}-{cell.variant}-{cell.precision}")
    return next((other for other in measured if other.cell.endswith(end)), measured[0]), ""


def effects_of(cells: Sequence[CellResult]) -> list[VariantEffects]:
    """The ok cells of all variants that something was done to, in order of appearance.

    Within a variant they go by backend, in order of appearance, and by precision.
    """
    dense: dict[tuple[object, ...], list[CellResult]] = {}
    origins: dict[tuple[str, int | str], CellResult] = {}
    for cell in cells:
        if cell.variant == "dense":
            dense.setdefault(_place(cell, cell.precision), []).append(cell)
            if cell.status == "ok":
                origins.setdefault((cell.model, cell.imgsz), cell)
    groups: dict[tuple[str, str], list[Effect]] = {}
    for cell in cells:
        if cell.status == "ok" and cell.variant not in UNCHANGED:
            other, missing = _counterpart(cell, dense)
            effect = Effect(cell, other, missing, origins.get((cell.model, cell.imgsz)))
            groups.setdefault((cell.model, cell.variant), []).append(effect)
    backends = list(dict.fromkeys(cell.backend for cell in cells))
    order = {name: rank for rank, name in enumerate(PRECISION_ORDER)}

    def rank(effect: Effect) -> tuple[int, int, tuple[int, int]]:
        cell = effect.cell
        return backends.index(cell.backend), order.get(cell.precision, len(order)), cell.size

    return [
        VariantEffects(model, variant, tuple(sorted(effects, key=rank)))
        for (model, variant), effects in groups.items()
    ]

"""A profile as the rules see it: layers with their families, and sums over some of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from deploymark.bench.explain import kinds
from deploymark.bench.records.profiles import LayerTime, Part
from deploymark.bench.records.run import CellResult

INTEGER_8 = frozenset({"i8", "u8", "s8", "int8", "uint8"})

FLOATING = frozenset({"f32", "f16", "bf16", "f64", "f8"})

ASKED = {
    "fp32": frozenset({"f32"}),
    "fp16": frozenset({"f16"}),
    "bf16": frozenset({"bf16"}),
    "int8": INTEGER_8,
    "int8-dynamic": INTEGER_8,
    "int8-qat": INTEGER_8,
}
"""The types that a cell's precision asks layers to compute in; weights alone in fewer bits
(``int8-weights``, ``palettized``) compute in whatever the runtime takes."""


@dataclasses.dataclass(frozen=True)
class Layer:
    """One layer: milliseconds of one inference; ``sources`` as in ``backends.profile``."""

    name: str
    kind: str
    ms: float
    precision: str = ""
    sources: tuple[str, ...] = ()
    place: str = ""

    @property
    def family(self) -> str:
        """What its operator does."""
        return kinds.family(self.kind)

    @property
    def title(self) -> str:
        """What people know it by: the node of their model, where it is one."""
        return self.sources[0] if self.sources else self.name


@dataclasses.dataclass(frozen=True)
class CellProfile:
    """A cell's profile: its layers in the order they ran, and the times around them.

    ``foreign_load_cores`` is how many processors other processes kept busy meanwhile, None where
    that is not told. ``accounted_share`` is what layers, and what lay between them, took of the
    inference that they are of.
    """

    cell: CellResult
    layers: tuple[Layer, ...]
    wall_ms: float
    plain_ms: float
    between_ms: float | None = None
    accounted_share: float | None = None
    inferences: int = 0
    profiler: str = ""
    foreign_load_cores: float | None = None

    @property
    def layers_ms(self) -> float:
        """All layers together."""
        return sum(layer.ms for layer in self.layers)

    @property
    def overhead(self) -> float:
        """By what factor the profiler slows an inference down."""
        return self.wall_ms / self.plain_ms

    def ms(self, wanted: Callable[[Layer], bool]) -> float:
        """Milliseconds of the layers that are wanted."""
        return sum(layer.ms for layer in self.layers if wanted(layer))

    def share(self, ms: float) -> float:
        """The share that some milliseconds are of all layers; 0 where these take no time."""
        total = self.layers_ms
        return ms / total if total else 0.0

    def part(self, name: str, layers: Iterable[Layer], reference_ms: float | None = None) -> Part:
        """Layers taken together."""
        chosen = list(layers)
        ms = sum(layer.ms for layer in chosen)
        return Part(name, len(chosen), ms, self.share(ms), reference_ms)

    def parts(self, key: Callable[[Layer], str]) -> list[Part]:
        """All layers by a word of theirs, the costliest first; none of an empty word."""
        grouped: dict[str, list[Layer]] = {}
        for layer in self.layers:
            if word := key(layer):
                grouped.setdefault(word, []).append(layer)
        found = [self.part(word, layers) for word, layers in grouped.items()]
        return sorted(found, key=lambda part: -part.ms)

    def costliest(self, count: int) -> list[LayerTime]:
        """The layers that take longest."""
        chosen = sorted(self.layers, key=lambda layer: -layer.ms)[:count]
        return [
            LayerTime(
                layer.title,
                layer.kind,
                layer.family,
                layer.precision,
                layer.ms,
                self.share(layer.ms),
            )
            for layer in chosen
        ]


def is_other_precision(cell: CellResult, layer: Layer) -> bool:
    """Whether a layer computes in another type than the cell's precision asks for.

    Whole numbers of more bits are indices, and conversions are told apart.
    """
    asked = ASKED.get(cell.precision)
    if asked is None or layer.family in kinds.CONVERSIONS:
        return False
    return layer.precision in FLOATING | INTEGER_8 and layer.precision not in asked


def cell_profile(cell: CellResult, line: Mapping[str, Any]) -> CellProfile | None:
    """The profile in a line of ``profiles.jsonl``; None where it has none."""
    if line.get("status") != "ok" or not line.get("layers"):
        return None
    conditions = line.get("conditions") or {}
    return CellProfile(
        cell=cell,
        layers=tuple(_layer(entry) for entry in line["layers"]),
        wall_ms=line["wall_ms"],
        plain_ms=line["plain_ms"],
        between_ms=line.get("between_ms"),
        accounted_share=line.get("accounted_share"),
        inferences=line.get("inferences", 0),
        profiler=line.get("profiler", ""),
        foreign_load_cores=conditions.get("foreign_load_cores"),
    )


def _layer(entry: Mapping[str, Any]) -> Layer:
    sources: Sequence[str] = entry.get("sources") or ()
    return Layer(
        name=entry["name"],
        kind=entry["kind"],
        ms=entry["ms"],
        precision=entry.get("precision", ""),
        sources=tuple(sources),
        place=entry.get("place", ""),
    )

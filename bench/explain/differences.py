"""The layers of two profiles beside each other: by the model's nodes, else by what they do."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from deploymark.bench.explain.profile import CellProfile, Layer
from deploymark.bench.records.profiles import Difference

MATCHED = 0.5
"""Share of the time of both profiles that layers with a counterpart must take; where names match
less, the two are compared by what operators do."""

MOST_KINDS = 3
"""Types of operators that a difference names."""


@dataclasses.dataclass
class _Group:
    """Layers of both sides that stand for the same nodes."""

    here: list[Layer] = dataclasses.field(default_factory=list)
    there: list[Layer] = dataclasses.field(default_factory=list)

    @property
    def is_matched(self) -> bool:
        return bool(self.here and self.there)


def differences(here: CellProfile, there: CellProfile) -> tuple[str, list[Difference]]:
    """By what layers were matched (``name``, ``family``), and every group, largest change first.

    Nodes are matched by their names; what is left by the module that names them: runtimes that fuse
    a convolution with its activation name the pair after either.
    """
    by_name = _by_module(_by_source(here.layers, there.layers))
    matched = sum(
        layer.ms for group in by_name if group.is_matched for layer in group.here + group.there
    )
    total = here.layers_ms + there.layers_ms
    if total and matched >= MATCHED * total:
        return "name", _ordered(_difference(group, _title(group)) for group in by_name)
    families: dict[str, _Group] = {}
    for layer in here.layers:
        families.setdefault(layer.family, _Group()).here.append(layer)
    for layer in there.layers:
        families.setdefault(layer.family, _Group()).there.append(layer)
    return "family", _ordered(_difference(group, name) for name, group in families.items())


def _by_source(here: Iterable[Layer], there: Iterable[Layer]) -> list[_Group]:
    """Groups of layers that share a node, through others where need be."""
    groups: dict[str, _Group] = {}
    for is_here, layers in ((True, here), (False, there)):
        for layer in layers:
            names = layer.sources or (f"{is_here} {layer.name}",)
            merged = _Group()
            for found in {
                id(groups[name]): groups[name] for name in names if name in groups
            }.values():
                merged.here += found.here
                merged.there += found.there
            (merged.here if is_here else merged.there).append(layer)
            known = {name for one in merged.here + merged.there for name in one.sources}
            for name in {*names, *known}:
                groups[name] = merged
    return list({id(group): group for group in groups.values()}.values())


def _by_module(groups: Iterable[_Group]) -> list[_Group]:
    """The matched groups, and those of one side alone put together by their module."""
    found, alone = [], dict[str, _Group]()
    for group in groups:
        if group.is_matched:
            found.append(group)
            continue
        for layer in group.here + group.there:
            whole = alone.setdefault(_module(layer), _Group())
            (whole.here if layer in group.here else whole.there).append(layer)
    return [*found, *alone.values()]


def _module(layer: Layer) -> str:
    """``/model.2/cv1/act`` of ``/model.2/cv1/act/Mul``; the whole name where it has no parts."""
    title = layer.title
    return title.rpartition("/")[0] or title


def _title(group: _Group) -> str:
    layers = group.here or group.there
    if len(layers) == 1:
        return layers[0].title
    titles = {layer.title for layer in layers}
    modules = {_module(layer) for layer in layers}
    if len(titles) == 1 or len(modules) > 1:
        return max(layers, key=lambda layer: layer.ms).title
    return modules.pop()


def _difference(group: _Group, name: str) -> Difference:
    here, there = (sum(layer.ms for layer in side) for side in (group.here, group.there))
    kinds = _kinds(group.there), _kinds(group.here)
    return Difference(
        name=name,
        kinds=kinds[1] if kinds[0] == kinds[1] else " → ".join(kinds),
        ms=here if group.here else None,
        reference_ms=there if group.there else None,
        delta_ms=here - there,
    )


def _kinds(layers: Iterable[Layer]) -> str:
    """Types of operators, each once: ``Conv, QuickGelu``; a dash for none."""
    words = list(dict.fromkeys(layer.kind for layer in layers))
    more = f" and {len(words) - MOST_KINDS} more" if len(words) > MOST_KINDS else ""
    return ", ".join(words[:MOST_KINDS]) + more or "\N{EN DASH}"


def _ordered(found: Iterable[Difference]) -> list[Difference]:
    return sorted(found, key=lambda one: -abs(one.delta_ms))

"""What a profile shows, in words: each rule is a sentence where it applies, and nothing where not.

Shares are of the time of all layers. The thresholds are where a reader would act on what is said;
below them it is noise, or not worth the work.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from deploymark.bench.explain import kinds
from deploymark.bench.explain.profile import INTEGER_8, CellProfile, Layer, is_other_precision

CONVERSIONS_WORTH = 0.10
"""Share of time in conversions that is worth a sentence."""

OTHER_PRECISION_WORTH = 0.10
"""Share of time in another precision than asked that is worth a sentence."""

SLOWER = 0.05
"""How much longer than the cell held against, relative, is slower: what noise does between two
launches is less."""

EXPLAINS = 0.25
"""Share of the time lost that a family must have lost to be named as the cause."""

ONE_LAYER_WORTH = 0.25
"""Share of time of one layer alone that is worth a sentence."""

ELSEWHERE_WORTH = 0.05
"""Share of time on the processor in a cell of another device that is worth a sentence."""

ISLANDS_WORTH = 3
"""Stretches in float between integer layers from which on they are spoken of as scattered: one is
the decode, and another an attention block."""

MOST_CAUSES = 3

Rule = Callable[[CellProfile, CellProfile | None], str]
"""A profile, and the one that it is held against where there is one; a sentence, or nothing."""


def percent(share: float) -> str:
    """``41 %``."""
    return f"{100 * share:.0f} %"


def ms(value: float) -> str:
    """``4.37 ms``, three digits."""
    return f"{value:.3g} ms"


def count(number: int, what: str) -> str:
    """``1 layer``, ``24 layers``."""
    return f"{number} {what}{'s' * (number != 1)}"


def is_integer_cell(profile: CellProfile) -> bool:
    """Whether the cell asks for integer arithmetic."""
    return profile.cell.precision in {"int8", "int8-dynamic", "int8-qat"}


def converts(profile: CellProfile, against: CellProfile | None = None) -> str:
    """Time spent in changing types and layouts."""
    del against
    layers = [layer for layer in profile.layers if layer.family in kinds.CONVERSIONS]
    share = profile.share(sum(layer.ms for layer in layers))
    if share < CONVERSIONS_WORTH:
        return ""
    types_ms = sum(layer.ms for layer in layers if layer.family == kinds.TYPES)
    islands = float_islands(profile) if is_integer_cell(profile) else []
    scattered = len(islands) >= ISLANDS_WORTH
    # A change of types brings one of layouts with it: kernels of each keep values in their own.
    if not scattered and types_ms < sum(layer.ms for layer in layers) / 2:
        return (
            f"{percent(share)} of the time rearranges layouts ({count(len(layers), 'layer')}: "
            f"{_operators(layers)}): the runtime keeps values in another order around them than "
            "its neighbours"
        )
    what = "int8 and float" if is_integer_cell(profile) else "data types"
    told = f"{percent(share)} of the time converts between {what}"
    inside = [layer for island in islands for layer in island]
    if not inside:
        return f"{told} ({count(len(layers), 'layer')}: {_operators(layers)})"
    around = f"{told} around {count(len(inside), 'layer')}{_where(inside)}"
    if scattered:
        return (
            f"{around} in float that lie in {len(islands)} places between integer ones"
            f"{_such_as(inside)}: quantize them, too, or keep the whole stretch in float"
        )
    return f"{around} in float: keep the layers between them in float, too, or quantize all"


def dynamic_scales(profile: CellProfile, against: CellProfile | None = None) -> str:
    """Operators of dynamic quantization, which few runtimes have fast kernels of."""
    dynamic = [layer for layer in profile.layers if layer.kind.lower() in kinds.DYNAMIC]
    taken = sum(layer.ms for layer in dynamic)
    if profile.share(taken) < CONVERSIONS_WORTH:
        return ""
    names = _operators(dynamic)
    told = f"{percent(profile.share(taken))} of the time is in operators of dynamic quantization"
    told = f"{told} ({names}), which find their scales anew in every inference"
    heavy = {kinds.CONVOLUTION, kinds.PRODUCT}
    products = sum(layer.ms for layer in dynamic if layer.family in heavy)
    if against is None or not products:
        return f"{told}; static int8 has them in the file"
    float_ms = against.ms(lambda layer: layer.family in heavy)
    if products <= float_ms * (1 + SLOWER):
        return f"{told}; static int8 has them in the file"
    return (
        f"{told}: their convolutions and products take {ms(products)}, those of "
        f"{precision_word(against.cell.precision)} {ms(float_ms)}; take static int8"
    )


def slower(profile: CellProfile, against: CellProfile | None) -> str:
    """Why the cell is slower than the one that it is held against."""
    if against is None or profile.layers_ms < against.layers_ms * (1 + SLOWER):
        return ""
    lost = profile.layers_ms - against.layers_ms
    causes = _causes(profile, against, lost)
    if not causes:
        return ""
    who = f"{_what(profile, against)} is slower than {_what(against, profile)} here"
    sides = f"{ms(profile.layers_ms)} of layers against {ms(against.layers_ms)}"
    return f"{who} ({sides}), because {'; '.join(causes)}"


def _causes(profile: CellProfile, against: CellProfile, lost_ms: float) -> list[str]:
    """What families lost most of the time, in words."""
    sides = [_by_work(profile), _by_work(against)]
    taken = {name: [side.get(name, 0.0) for side in sides] for name in {*sides[0], *sides[1]}}
    ordered = sorted(taken, key=lambda name: taken[name][1] - taken[name][0])
    causes = []
    for name in ordered[:MOST_CAUSES]:
        here, there = taken[name]
        if here - there < EXPLAINS * lost_ms:
            continue
        verb = "take" if name.endswith("s") else "takes"
        causes.append(f"{name} {verb} {ms(here)}, there {ms(there) if there else 'nothing'}")
    return causes


def _by_work(profile: CellProfile) -> dict[str, float]:
    """Milliseconds by family, conversions of all sorts as one."""
    found: dict[str, float] = {}
    for layer in profile.layers:
        name = "conversions" if layer.family in kinds.CONVERSIONS else layer.family
        found[name] = found.get(name, 0.0) + layer.ms
    return found


def precision_word(precision: str) -> str:
    """A precision as people write it: ``INT8``, ``INT8-dynamic``, ``BF16``."""
    first, dash, rest = precision.partition("-")
    return first.upper() + dash + rest


def _what(profile: CellProfile, other: CellProfile) -> str:
    """A cell by what tells it from the other: its precision, backend, or id."""
    mine, theirs = profile.cell, other.cell
    if mine.backend != theirs.backend:
        same = mine.precision == theirs.precision
        return mine.backend if same else f"{mine.backend} in {precision_word(mine.precision)}"
    if mine.precision != theirs.precision:
        return precision_word(mine.precision)
    return mine.cell


def other_precision(profile: CellProfile, against: CellProfile | None = None) -> str:
    """Layers that ran in another precision than the cell's."""
    del against
    layers = [layer for layer in profile.layers if is_other_precision(profile.cell, layer)]
    share = profile.share(sum(layer.ms for layer in layers))
    if share < OTHER_PRECISION_WORTH:
        return ""
    by_type: dict[str, float] = {}
    for layer in layers:
        by_type[layer.precision] = by_type.get(layer.precision, 0.0) + layer.ms
    ran = " and ".join(sorted(by_type, key=lambda name: -by_type[name]))
    told = f"{count(len(layers), 'layer')} ran in {ran} though {profile.cell.precision} was asked"
    return f"{told}: {percent(share)} of the time{_most_of(layers)}"


def _most_of(layers: Sequence[Layer]) -> str:
    """The family that most of the layers' time is in, as words to follow."""
    by_family: dict[str, float] = {}
    for layer in layers:
        by_family[layer.family] = by_family.get(layer.family, 0.0) + layer.ms
    first = max(by_family, key=lambda name: by_family[name], default="")
    return f", most of it in {first}{_where(layers)}" if first else ""


def one_layer(profile: CellProfile, against: CellProfile | None = None) -> str:
    """A layer that takes much of all."""
    del against
    if not profile.layers:
        return ""
    layer = max(profile.layers, key=lambda one: one.ms)
    share = profile.share(layer.ms)
    if share < ONE_LAYER_WORTH:
        return ""
    return f"one layer takes {percent(share)} of the time: {layer.title} ({layer.kind})"


def elsewhere(profile: CellProfile, against: CellProfile | None = None) -> str:
    """Layers that ran on the processor though the cell asks for another device."""
    del against
    if profile.cell.device == "cpu":
        return ""
    layers = [layer for layer in profile.layers if layer.place.lower().startswith("cpu")]
    share = profile.share(sum(layer.ms for layer in layers))
    if share < ELSEWHERE_WORTH:
        return ""
    return (
        f"{count(len(layers), 'layer')} ran on the processor though {profile.cell.device} was "
        f"asked: {percent(share)} of the time ({_operators(layers)})"
    )


RULES: tuple[Rule, ...] = (
    slower,
    dynamic_scales,
    converts,
    other_precision,
    elsewhere,
    one_layer,
)
"""All rules; what makes the cell slower than it need be comes first."""


def sentences(profile: CellProfile, against: CellProfile | None) -> list[str]:
    """What the rules say, those that apply."""
    said = (rule(profile, against) for rule in RULES)
    return [f"{text[0].upper()}{text[1:]}." for text in said if text]


def float_islands(profile: CellProfile) -> list[list[Layer]]:
    """Stretches of float layers with a conversion of types before or behind, in running order.

    Where a network computes in integers these are what it converts to float for.
    """
    kept = [layer for layer in profile.layers if _role(layer)]
    runs = [(role, list(layers)) for role, layers in itertools.groupby(kept, key=_role)]
    found = []
    for index, (role, layers) in enumerate(runs):
        beside = runs[max(0, index - 1) : index] + runs[index + 1 : index + 2]
        if role == "float" and any(other == "conversion" for other, _ in beside):
            found.append(layers)
    return found


def _role(layer: Layer) -> str:
    """``conversion``, ``integer`` or ``float``; empty for what only moves values."""
    if layer.family == kinds.TYPES:
        return "conversion"
    if layer.family in {kinds.LAYOUT, kinds.MOVING}:
        return ""
    if layer.precision in INTEGER_8:
        return "integer"
    return "float" if layer.precision in {"f32", "f16", "bf16"} else ""


def _operators(layers: Sequence[Layer]) -> str:
    """Types of operators by their time: ``46 QuantizeLinear, 44 DequantizeLinear``."""
    taken: dict[str, list[float]] = {}
    for layer in layers:
        taken.setdefault(layer.kind, []).append(layer.ms)
    ordered = sorted(taken, key=lambda kind: -sum(taken[kind]))[:MOST_CAUSES]
    return ", ".join(f"{len(taken[kind])} {kind}" for kind in ordered)


def _such_as(layers: Sequence[Layer]) -> str:
    """The costliest of layers by name, as words to follow: people keep or quantize them by it."""
    ordered = sorted(layers, key=lambda layer: -layer.ms)
    names = list(dict.fromkeys(layer.title for layer in ordered))
    return f" (such as {', '.join(names[:MOST_CAUSES])})" if names else ""


def _where(layers: Sequence[Layer]) -> str:
    """`` of /model.23``: the module that all of them are in, nothing where there is none."""
    titles = [layer.title for layer in layers if "/" in layer.title]
    if not titles or len(titles) < len(layers) / 2:
        return ""
    parts = zip(*(title.split("/") for title in titles), strict=False)
    same = itertools.takewhile(lambda words: len(set(words)) == 1, parts)
    module = "/".join(words[0] for words in same)
    return f" of {module}" if module.strip("/") else ""

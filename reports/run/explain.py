"""Why cells are slow: what their profiles show, in words and as bars."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from deploymark.bench.records.profiles import Difference, Explanation, LayerTime, Part
from deploymark.reports.page import figures

MOST_CELLS = 40
"""Cells that the page explains, those of which there is something to say first; ``explain.json``
has all."""

WORDS = {"name": "layer by layer", "family": "by what operators do, as few layers match by name"}


@dataclasses.dataclass(frozen=True)
class BarRow:
    """A row of a table with a bar: ``width`` is in percent of the longest one's."""

    name: str
    what: str
    ms: str
    share: str
    width: float


@dataclasses.dataclass(frozen=True)
class DifferenceRow:
    """A layer here and there; ``change`` has a sign."""

    name: str
    what: str
    ms: str
    reference: str
    change: str
    is_slower: bool


@dataclasses.dataclass(frozen=True)
class ExplainView:
    """An explanation as it is shown; all texts are plain."""

    cell: str
    no_profile: str
    headline: str
    sentences: tuple[str, ...]
    notes: tuple[str, ...]
    times: str
    top: tuple[BarRow, ...]
    families: tuple[BarRow, ...]
    precisions: tuple[BarRow, ...]
    conversions_title: str
    conversions: tuple[BarRow, ...]
    against: str
    no_comparison: str
    compared: str
    differences: tuple[DifferenceRow, ...]


def explain_views(found: Sequence[Explanation]) -> list[ExplainView]:
    """Those with the most to say first, those without a profile last."""
    ordered = sorted(found, key=lambda one: (bool(one.no_profile), -len(one.sentences)))
    return [explain_view(one) for one in ordered[:MOST_CELLS]]


def explain_view(found: Explanation) -> ExplainView:
    """One explanation as it is shown."""
    return ExplainView(
        cell=found.cell,
        no_profile=found.no_profile,
        headline=_headline(found),
        sentences=tuple(found.sentences) or (() if found.no_profile else (_nothing(found),)),
        notes=tuple(found.notes),
        times=_times(found),
        top=_bars([(one.name, _what(one), one) for one in found.top]),
        families=_bars([(part.name, _beside(part), part) for part in found.families]),
        precisions=_bars([(part.name, _layers(part), part) for part in found.precisions]),
        conversions_title=_conversions_title(found),
        conversions=_bars([(part.name, _layers(part), part) for part in found.conversions]),
        against=found.against or "",
        no_comparison=found.no_comparison,
        compared=WORDS.get(found.compared_by, ""),
        differences=tuple(_difference(one) for one in found.differences),
    )


def _nothing(found: Explanation) -> str:
    """What is said where no rule applies: that is an answer, too."""
    beside = f" and nothing that makes it slower than {found.against}" if found.against else ""
    return (
        "The profile shows no conversions or layers in another precision worth a word"
        f"{beside}: what it takes is its arithmetic, below."
    )


def _headline(found: Explanation) -> str:
    if found.no_profile:
        return "no profile"
    if found.sentences:
        return found.sentences[0]
    first = found.families[0] if found.families else None
    return "" if first is None else f"{_percent(first.share)} of the time in {first.name}"


def _times(found: Explanation) -> str:
    if found.no_profile:
        return ""
    between = (
        ""
        if found.between_ms is None
        else f", {figures.milliseconds(found.between_ms)} went by between them"
    )
    factor = "" if found.overhead is None else f" (a factor of {found.overhead:.2f})"
    return (
        f"{figures.plural(found.layers, 'layer')} took {figures.milliseconds(found.layers_ms)}"
        f"{between}, of a profiled inference of {figures.milliseconds(found.wall_ms)}; without the "
        f"profiler it took {figures.milliseconds(found.plain_ms)} in the same process{factor}. "
        f"Medians of {found.inferences} inferences, by {found.profiler}."
    )


def _conversions_title(found: Explanation) -> str:
    share = found.conversions_share
    return f"Conversions: {_percent(share)} of the time" if share is not None else "Conversions"


def _what(one: LayerTime) -> str:
    return " · ".join(filter(None, (one.kind, one.precision)))


def _layers(part: Part) -> str:
    return figures.plural(part.layers, "layer")


def _beside(part: Part) -> str:
    if part.reference_ms is None:
        return _layers(part)
    return f"{_layers(part)}; there {figures.milliseconds(part.reference_ms)}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.01 or share == 0 else "< 1 %"  # noqa: PLR2004


def _bars(rows: Sequence[tuple[str, str, LayerTime | Part]]) -> tuple[BarRow, ...]:
    longest = max((row.ms for _, _, row in rows), default=0.0)
    return tuple(
        BarRow(
            name=name,
            what=what,
            ms=figures.milliseconds(row.ms),
            share=_percent(row.share),
            width=round(100 * row.ms / longest, 1) if longest else 0.0,
        )
        for name, what, row in rows
    )


def _difference(one: Difference) -> DifferenceRow:
    return DifferenceRow(
        name=one.name,
        what=one.kinds,
        ms=figures.milliseconds(one.ms),
        reference=figures.milliseconds(one.reference_ms),
        change=f"{figures.signed(one.delta_ms, 3)} ms",
        is_slower=one.delta_ms > 0,
    )

"""The table of what each variant brings: a row a cell, its figures and their change to dense."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence

from deploymark.reports.page import figures
from deploymark.reports.page.tables import BY_KEY, Field, field, no_figure
from deploymark.reports.run.effectiveness import Effect, VariantEffects


@dataclasses.dataclass(frozen=True)
class EffectColumn:
    """One column: ``make`` writes the figure of an effect; ``meaning`` is for the reader."""

    title: str
    unit: str
    meaning: str
    make: Callable[[Effect], Field]


def _changed(key: str) -> Callable[[Effect], Field]:
    """A figure of the cell with its change in percent."""
    column = BY_KEY[key]

    def make(effect: Effect) -> Field:
        plain = field(effect.cell, column)
        change = effect.change(key)
        if plain.absent:
            return plain
        if change is None:
            return dataclasses.replace(plain, title=effect.missing or "dense has no such figure")
        against = effect.origin if key in {"params", "macs"} else effect.dense
        title = f"dense: {field(against, column).text} {column.unit}" if against else ""
        return dataclasses.replace(plain, extra=figures.signed_percent(change), title=title)

    return make


def _zeros(effect: Effect) -> Field:
    return field(effect.cell, BY_KEY["nonzero_fraction"])


def _accuracy(effect: Effect) -> Field:
    plain = field(effect.cell, BY_KEY["map50_95"])
    points = effect.map_points
    if plain.absent:
        return plain
    if points is None or effect.dense is None:
        return dataclasses.replace(plain, title=effect.missing or "dense has no mAP")
    title = f"dense: {figures.accuracy(effect.dense.map50_95)}; {plain.title}"
    return dataclasses.replace(plain, extra=f"{figures.signed(points, 1)} pt", title=title)


def _agreement(effect: Effect) -> Field:
    return field(effect.cell, BY_KEY["agreement"])


def _latency(effect: Effect) -> Field:
    plain = field(effect.cell, BY_KEY["latency_p50_ms"])
    title = f"{plain.text} {plain.extra} ms"
    if effect.dense is not None:
        dense = field(effect.dense, BY_KEY["latency_p50_ms"])
        title += f"; dense: {dense.text} {dense.extra} ms"
    # Its interval is in the speed-up, and in the table of cells.
    return plain if plain.absent else dataclasses.replace(plain, extra="", title=title)


def _speed_up(effect: Effect) -> Field:
    speed = effect.speed_up
    if speed is None:
        return no_figure(effect.missing or "no latency to compare")
    ends = figures.interval(speed.low, speed.high)
    title = {
        "faster": "the confidence intervals of the two cells lie apart",
        "slower": "the confidence intervals of the two cells lie apart",
        "no faster": "the confidence intervals of the two cells overlap",
        "not told": "no interval: it takes two launches of both cells",
    }[speed.verdict]
    return Field(f"{speed.ratio:.2f}×", value=speed.ratio, title=title, extra=ends or "")


def _memory(effect: Effect) -> Field:
    memory = effect.memory
    if memory is None:
        return no_figure("not measured")
    size = figures.significant(memory.size_bytes / figures.MIB)
    if memory.change is None:
        why = effect.missing or f"dense has no {memory.name}"
        return Field(size, value=memory.size_bytes, title=f"{memory.name}; {why}")
    return Field(
        size,
        value=memory.size_bytes,
        title=f"{memory.name}, against that of dense",
        extra=figures.signed_percent(memory.change),
    )


def _words(effect: Effect) -> Field:
    return Field(effect.words, title=effect.missing)


COLUMNS: tuple[EffectColumn, ...] = (
    EffectColumn(
        "in words",
        "",
        "What was taken away, and how much faster it is: 0 % where the intervals overlap.",
        _words,
    ),
    EffectColumn(
        "speed-up",
        "",
        "Latency p50 of dense over that of the variant, same backend and precision; the interval "
        "is of the ends of both confidence intervals.",
        _speed_up,
    ),
    EffectColumn("p50", "ms", "Median latency of one inference.", _latency),
    EffectColumn(
        "memory",
        "MiB",
        "Device memory where the runtime tells, else model RSS, else peak RSS; point at it.",
        _memory,
    ),
    EffectColumn(
        "mAP50-95", "", "COCO AP, and the difference to dense in points of 0.01.", _accuracy
    ),
    EffectColumn("agreement", "", BY_KEY["agreement"].meaning, _agreement),
    EffectColumn("parameters", "million", BY_KEY["params"].meaning, _changed("params")),
    EffectColumn("MACs", "billion", BY_KEY["macs"].meaning, _changed("macs")),
    EffectColumn("non-zero", "", BY_KEY["nonzero_fraction"].meaning, _zeros),
    EffectColumn("artifact", "MiB", BY_KEY["artifact_bytes"].meaning, _changed("artifact_bytes")),
    EffectColumn(
        "gzip", "MiB", BY_KEY["artifact_gzip_bytes"].meaning, _changed("artifact_gzip_bytes")
    ),
)

_ALWAYS = {"in words", "speed-up"}
"""Columns that are shown even where no cell has a figure: the reason is worth reading."""


@dataclasses.dataclass(frozen=True)
class EffectRow:
    """A cell: its id, what tells it from the others of its variant, and its figures."""

    cell: str
    label: str
    fields: tuple[Field, ...]


@dataclasses.dataclass(frozen=True)
class EffectTable:
    """The table's columns, and for each variant (by its name) its rows."""

    columns: tuple[EffectColumn, ...]
    groups: tuple[tuple[str, tuple[EffectRow, ...]], ...]


_LABELS = {"device": "{}", "imgsz": "{} px", "batch": "batch {}", "threads": "{} thr."}
"""Parts of a row's label besides backend and precision, where cells differ in them."""


def _label(effect: Effect, axes: Sequence[str]) -> str:
    cell = effect.cell
    parts = [_LABELS[axis].format(getattr(cell, axis)) for axis in axes]
    return " ".join([cell.backend, cell.precision, *parts])


def effect_table(groups: Sequence[VariantEffects]) -> EffectTable:
    """All effects; columns without a single figure are left out."""
    several = len({group.model for group in groups}) > 1
    effects = [effect for group in groups for effect in group.effects]
    made = [[column.make(effect) for column in COLUMNS] for effect in effects]
    told = _ALWAYS | {
        column.title
        for fields in made
        for column, item in zip(COLUMNS, fields, strict=True)
        if not item.absent
    }
    if "mAP50-95" in told:
        told.discard("agreement")  # which stands in for it where there are no labels
    kept = [index for index, column in enumerate(COLUMNS) if column.title in told]
    axes = [axis for axis in _LABELS if len({getattr(e.cell, axis) for e in effects}) > 1]
    rows = iter(
        EffectRow(effect.cell.cell, _label(effect, axes), tuple(fields[index] for index in kept))
        for effect, fields in zip(effects, made, strict=True)
    )
    return EffectTable(
        columns=tuple(COLUMNS[index] for index in kept),
        groups=tuple(
            (
                f"{group.model} {group.variant}" if several else group.variant,
                tuple(itertools.islice(rows, len(group.effects))),
            )
            for group in groups
        ),
    )

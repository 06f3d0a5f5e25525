"""Recipes as a report shows them: what each step did, how long it took, and what came of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from deploymark.reports.page import figures
from deploymark.reports.page.page import PageChart
from deploymark.reports.page.tables import Field, no_figure
from deploymark.reports.run.recipe_charts import CHARTS

_NOT_SHOWN = frozenset({"kind", "hyperparameters"})
"""Of a step: what stands elsewhere, or is long. The matrix at the end of the report has it all."""


@dataclasses.dataclass(frozen=True)
class StepView:
    """One step. ``made`` says whether it was carried out or found in the cache.

    ``before`` and ``after`` are mAP50-95 on images held out of the train split, which are few.
    """

    number: int
    kind: str
    options: str
    status: str
    made: str
    time: str
    params: Field
    macs: Field
    nonzero: Field
    before: Field
    after: Field
    notes: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class RecipeView:
    """The recipe of one variant of one model."""

    name: str
    status: str
    reason: str
    remedy: str
    took: str
    steps: tuple[StepView, ...]
    charts: tuple[PageChart, ...]


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _strings(value: Any) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []


def seconds_text(value: object) -> str:
    """``61 s``, ``8 min 2 s``; the dash where it is no number of seconds."""
    seconds = figures.number(value)
    if seconds is None or seconds < 0:
        return figures.ABSENT
    if round(seconds) >= 60:  # noqa: PLR2004 - a minute
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest} s"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"  # noqa: PLR2004 - short


def _figure(value: object, *, scale: float = 1.0) -> Field:
    known = figures.number(value)
    if known is None:
        return no_figure("not measured")
    return Field(figures.significant(known * scale))


def _score(value: object, *, title: str = "") -> Field:
    known = figures.number(value)
    if known is None:
        return no_figure("not measured")
    return Field(f"{known:.3f}", title=title)


def options_text(step: Mapping[str, Any]) -> str:
    """``ratio 0.3, importance l2``: the step as data, without what is not set."""
    parts = [
        f"{key.replace('_', ' ')} {'yes' if value is True else value}"
        for key, value in step.items()
        if key not in _NOT_SHOWN and value is not None and value is not False
    ]
    return ", ".join(parts)


def _network(role: str, value: Any) -> list[str]:
    """``Teacher: 2.58 million parameters, 0.787 billion MACs.``, none where nothing is known."""
    facts = _mapping(value)
    parts = [
        f"{figures.significant(known * scale)} {unit}"
        for key, scale, unit in (
            ("params", 1e-6, "million parameters"),
            ("macs", 1e-9, "billion MACs"),
        )
        if (known := figures.number(facts.get(key))) is not None
    ]
    score = figures.number(facts.get("map50_95"))
    parts += [f"mAP50-95 {score:.3f}"] if score is not None else []
    return [f"{role}: {', '.join(parts)}."] if parts else []


def _training_note(record: Mapping[str, Any]) -> list[str]:
    counts = (
        (figures.number(record.get("training_images")), "training image"),
        (figures.number(record.get("epochs")), "epoch"),
    )
    parts = [figures.plural(round(count), noun) for count, noun in counts if count is not None]
    size = figures.number(record.get("imgsz"))
    parts += [f"{size:.0f} px"] if size is not None and parts else []
    return [f"Trained: {', '.join(parts)}."] if parts else []


def _cycles_note(record: Mapping[str, Any]) -> list[str]:
    found = record.get("cycles")
    cycles = [entry for entry in found if isinstance(entry, Mapping)] if found else []
    kept = [entry for entry in cycles if entry.get("kept")]
    if not cycles:
        return []
    if not kept:
        return [f"None of {figures.plural(len(cycles), 'cycle')} kept."]
    return [f"Kept: cycle {kept[-1].get('cycle')} of {len(cycles)} carried out."]


def _quantization_note(record: Mapping[str, Any]) -> list[str]:
    layers = figures.number(record.get("quantized_convolutions"))
    unrounded = figures.number(record.get("map50_95_float"))
    notes = []
    if layers is not None:
        notes.append(f"INT8 simulated in {figures.plural(round(layers), 'convolution')}.")
    if unrounded is not None:
        notes.append(f"mAP50-95 {unrounded:.3f} without rounding, before the step.")
    return notes


def _notes(entry: Mapping[str, Any], record: Mapping[str, Any]) -> tuple[str, ...]:
    notes = [
        *_training_note(record),
        *_network("Teacher", record.get("teacher")),
        *_network("Student", record.get("student")),
    ]
    if record.get("ablation") is True:
        notes.append("Ablation: trained the same way without the teacher.")
    notes += [_text(record.get("loss")), *_cycles_note(record), *_quantization_note(record)]
    notes += _strings(record.get("notes"))
    notes += [_text(entry.get(key)) for key in ("reason", "remedy")]
    return tuple(note for note in notes if note)


def _step(number: int, entry: Mapping[str, Any]) -> StepView:
    step, record = _mapping(entry.get("step")), _mapping(entry.get("record"))
    images = figures.number(record.get("selection_images"))
    title = "on images held out of the train split"
    if images is not None:
        title = f"on {figures.plural(round(images), 'image')} held out of the train split"
    status = _text(entry.get("status"))
    made = "from the cache" if entry.get("reused") else "made now"
    return StepView(
        number=number,
        kind=_text(step.get("kind")) or "step",
        options=options_text(step),
        status=status or "not reached",
        made=made if status == "ok" else "",
        time=seconds_text(entry.get("seconds")),
        params=_figure(entry.get("params"), scale=1e-6),
        macs=_figure(entry.get("macs"), scale=1e-9),
        nonzero=_score(entry.get("nonzero_fraction")),
        before=_score(record.get("map50_95_before", record.get("dense_map50_95")), title=title),
        after=_score(record.get("map50_95_after"), title=title),
        notes=_notes(entry, record),
    )


def _charts(index: int, steps: Sequence[Mapping[str, Any]]) -> list[PageChart]:
    charts = []
    for number, entry in enumerate(steps, 1):
        kind = _text(_mapping(entry.get("step")).get("kind")) or "step"
        for place, (title, make) in enumerate(CHARTS):
            spec = make(_mapping(entry.get("record")))
            if spec is not None:
                key = f"recipe-{index}-{number}-{place}"
                charts.append(PageChart(key, f"{title} of step {number}, {kind}", spec))
    return charts


def recipe_views(
    variants: Sequence[Mapping[str, Any]], *, with_charts: bool = False
) -> list[RecipeView]:
    """The entries of ``variants.json``, in order. Charts take Altair, and time."""
    several = len({_text(entry.get("model")) for entry in variants}) > 1
    views = []
    for index, entry in enumerate(variants):
        found = entry.get("steps")
        steps = [step for step in found if isinstance(step, Mapping)] if found else []
        variant = _text(entry.get("variant"))
        made = [figures.number(step.get("seconds")) for step in steps if not step.get("reused")]
        took = sum(seconds for seconds in made if seconds is not None)
        views.append(
            RecipeView(
                name=f"{_text(entry.get('model'))} {variant}" if several else variant,
                status=_text(entry.get("status")) or "ok",
                reason=_text(entry.get("reason")),
                remedy=_text(entry.get("remedy")),
                took=seconds_text(took) if took else "nothing to carry out",
                steps=tuple(_step(number, step) for number, step in enumerate(steps, 1)),
                charts=tuple(_charts(index, steps)) if with_charts else (),
            )
        )
    return views

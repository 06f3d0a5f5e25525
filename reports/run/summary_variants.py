"""The part of ``summary.md`` about variants, the recipes behind them, and fidelity."""

from __future__ import annotations

from collections.abc import Sequence

from deploymark.bench.records.run import Run, read_fidelity, read_variants
from deploymark.reports.page import figures
from deploymark.reports.page.markdown import code, escape, table
from deploymark.reports.run.effect_table import effect_table
from deploymark.reports.run.effect_words import sentence
from deploymark.reports.run.effectiveness import VariantEffects, effects_of
from deploymark.reports.run.fidelity import fidelity_views
from deploymark.reports.run.recipes import RecipeView, recipe_views

_COLUMNS = ("in words", "speed-up", "mAP50-95", "agreement", "gzip", "memory")
"""Of the table in the report, which has them all."""

_WORST_CELLS = 5
"""Cells whose worst images are named."""


def _effects(groups: Sequence[VariantEffects]) -> list[str]:
    if not groups:
        return []
    several = len({group.model for group in groups}) > 1
    lines = ["", "## Variants: what each one brings", ""]
    lines += [f"- {escape(sentence(group, with_model=several))}" for group in groups]
    made = effect_table(groups)
    kept = [index for index, column in enumerate(made.columns) if column.title in _COLUMNS]
    columns = [made.columns[index] for index in kept]
    heads = [f"{column.title}, {column.unit}".removesuffix(", ") for column in columns]
    rows = [
        [code(row.cell)]
        + [escape(f"{row.fields[i].text} {row.fields[i].extra}".rstrip()) for i in kept]
        for _, rows in made.groups
        for row in rows
    ]
    numeric = [False] + [column.title != "in words" for column in columns]
    return [*lines, "", *table(["cell", *map(escape, heads)], rows, numeric=numeric)]


def _recipe(recipe: RecipeView) -> list[str]:
    steps = []
    for step in recipe.steps:
        scores = "" if step.after.absent else f", mAP50-95 {step.before.text} → {step.after.text}"
        done = f"{step.made}, {step.time}{scores}" if step.made else step.status
        steps.append(f"{step.kind} ({done})")
    lines = [f"- **{escape(recipe.status)}** {code(recipe.name)}: {escape('; '.join(steps))}"]
    for label, text in (("", recipe.reason), ("Remedy: ", recipe.remedy)):
        if text:
            lines[-1] += "  "
            lines.append(f"  {label}{escape(text)}")
    return lines


def variant_lines(run: Run) -> list[str]:
    """Lines of Markdown, none for a run that has neither variants nor agreements."""
    lines = _effects(effects_of(run.cells))
    recipes = recipe_views(read_variants(run.folder))
    if recipes:
        lines += ["", "## Recipes", "", *(line for view in recipes for line in _recipe(view))]
    views = [view for view in fidelity_views(run.cells, read_fidelity(run.folder)) if view.images]
    if views:
        lines += ["", "## Worst images", "", "Where cells differ most from their reference:", ""]
    for view in views[:_WORST_CELLS]:
        names = ", ".join(code(image.name) for image in view.images)
        lines.append(f"- {code(view.cell)}, agreement {escape(view.agreement.text)}: {names}")
    if len(views) > _WORST_CELLS:
        more = figures.plural(len(views) - _WORST_CELLS, "more cell")
        lines.append(f"- and {more}, in the report")
    return lines

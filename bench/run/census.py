"""What the data sets of a plan consist of, told before anything is measured."""

from __future__ import annotations

from deploymark.bench.progress import Progress
from deploymark.bench.run.plan import Plan


def tell_census(plan: Plan, progress: Progress) -> None:
    """Two lines a data set, and one for each thing that makes its scores of little worth."""
    for model in plan.models.values():
        census = model.dataset.census
        for line in census.lines(model.match):
            progress.note(f"{model.name}: {line}")
        for text in census.notes(model.match):
            progress.note(f"{model.name}: {text}")

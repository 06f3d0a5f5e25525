"""What the page needs to answer other questions: ``choices.json``, and how figures are written."""

from __future__ import annotations

import dataclasses
from typing import Any

from deploymark.bench.records.choices import Choices, FigureChoice
from deploymark.reports.page import figure_words
from deploymark.reports.page.tables import BY_KEY


def question_data(choices: Choices, run: str) -> dict[str, Any]:
    """The data of the page's form; ``run`` is what the command names the run directory by."""
    return {
        "choices": dataclasses.asdict(choices),
        "figures": {name: _words(name, item) for name, item in choices.figures.items()},
        "run": run,
    }


def _words(name: str, figure: FigureChoice) -> dict[str, Any]:
    column = BY_KEY.get(name)
    # A score is compared by resamples of the images: without them it is a limit and no goal.
    is_goal = figure.scatters != "image" or any(figure.draws) or name == "agreement"
    return {
        "title": figure_words.title(name),
        "unit": figure_words.unit(name),
        "scale": column.scale if column else 1.0,
        "kind": column.kind if column else "figure",
        "goal": is_goal,
    }

"""The answer that a run ends with: to the question of its matrix, written beside its figures."""

from __future__ import annotations

from pathlib import Path

from deploymark.bench.choose.choose import answer
from deploymark.bench.choose.question import question_of, settings_of
from deploymark.bench.choose.table import RunTable
from deploymark.bench.records.answer import Answer, write_answer
from deploymark.bench.records.run import Run, load_run


def answer_of_run(run: Run) -> Answer:
    """The answer to the question of a run's matrix; nothing is written."""
    return answer(RunTable(run), question_of(settings_of(run), run.cells))


def answer_run(folder: Path) -> Answer:
    """Answer the question of a run's matrix and write ``answer.json``.

    Raises BadInputError where ``folder`` is no run directory.
    """
    found = answer_of_run(load_run(folder))
    write_answer(folder, found)
    return found

"""The answer that a run ends with: to the question of its matrix, written beside its figures."""

from __future__ import annotations

from pathlib import Path

from deploymark.bench.choose.choices import choices_of
from deploymark.bench.choose.choose import answer
from deploymark.bench.choose.question import question_of, settings_of
from deploymark.bench.choose.table import RunTable
from deploymark.bench.records.answer import Answer, read_answer, write_answer
from deploymark.bench.records.choices import CHOICES_FILE, write_choices
from deploymark.bench.records.run import Run, load_run


def answer_of_run(run: Run) -> Answer:
    """The answer to the question of a run's matrix; nothing is written."""
    return answer(RunTable(run), question_of(settings_of(run), run.cells))


def answer_run(folder: Path) -> Answer:
    """Answer the question of a run's matrix and write ``answer.json`` and ``choices.json``.

    Raises BadInputError where ``folder`` is no run directory.
    """
    table = RunTable(load_run(folder))
    question = question_of(settings_of(table.run), table.run.cells)
    found = answer(table, question)
    keep(folder, table, found)
    return found


def keep(folder: Path, table: RunTable, found: Answer) -> None:
    """Write an answer, and what a page needs to answer other questions. Raises OSError."""
    write_answer(folder, found)
    write_choices(folder, choices_of(table, found.question))


def answer_again(folder: Path) -> None:
    """Answer the question of ``answer.json``, else the run's, by figures that have changed.

    Raises BadInputError where ``folder`` is no run directory, or its answer is none.
    """
    former = read_answer(folder)
    if former is None:
        answer_run(folder)
        return
    table = RunTable(load_run(folder))
    keep(folder, table, answer(table, former.question))


def complete(folder: Path) -> None:
    """Write what is missing of ``answer.json`` and ``choices.json``; an answer that is there stays.

    Raises BadInputError where ``folder`` is no run directory, or its answer is none.
    """
    found = read_answer(folder)
    if found is None:
        answer_run(folder)
    elif not (folder / CHOICES_FILE).is_file():
        write_choices(folder, choices_of(RunTable(load_run(folder)), found.question))

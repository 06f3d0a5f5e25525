"""What ``choose`` says: the records of ``answer.json``, which reports and other programs read.

An estimate carries its interval, so that a reader sees how sure each sentence is.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter

from deploymark.bench.records.files import (
    check_version,
    dump_json,
    unreadable,
    unsealed,
    write_sealed,
)
from deploymark.bench.records.strict_json import parse_json

ANSWER_SCHEMA_VERSION = 1
ANSWER_FILE = "answer.json"

AnswerOutcome = Literal["best", "tie", "undecided", "infeasible"]

Kind = Literal["figure", "difference", "ratio"]
"""What a constraint is about: a figure, its difference to FP32's, or its ratio to it."""

State = Literal["met", "not_met", "undecided"]
"""Of a constraint on one cell: an interval clear of the bound on one side, or on neither."""

Standing = Literal["winner", "tie", "behind", "open", "violates", "not_measured", "failed"]
"""Of a cell: ``behind`` is clearly worse than the leader; ``open`` may win, or may not be allowed;
``violates`` fails a constraint; ``not_measured`` lacks a figure that was asked for; ``failed`` has
no figures at all."""

STANDINGS: tuple[Standing, ...] = (
    "winner",
    "tie",
    "open",
    "behind",
    "violates",
    "not_measured",
    "failed",
)
"""In the order in which cells are told."""


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A number and its interval, in the unit of its column; a ratio or a difference likewise.

    The ends of an exact number are the number. All three are None where it was not measured, and
    ``reason`` says why.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str = ""

    @property
    def measured(self) -> bool:
        """Whether there is a number."""
        return self.value is not None


@dataclasses.dataclass(frozen=True)
class Held:
    """A constraint as one cell has it.

    ``value`` is the cell's ``figure`` (a column of ``cells.json``); ``judged`` is what is held
    against ``limit``: the figure itself, its difference to that of the FP32 cell ``reference``, or
    its ratio to it. ``told`` says it in words, or why it was not measured.
    """

    constraint: str
    figure: str
    kind: Kind
    state: State
    value: Estimate
    judged: Estimate
    limit: float
    reference: str | None = None
    told: str = ""


@dataclasses.dataclass(frozen=True)
class AnswerCell:
    """One cell and why it stands where it stands.

    ``ratio`` is its objective over that of the leader. ``figures`` are by column of ``cells.json``.
    """

    cell: str
    standing: Standing
    reason: str
    objective: Estimate
    ratio: Estimate
    constraints: list[Held]
    figures: dict[str, Estimate]
    disturbed: bool = False


@dataclasses.dataclass(frozen=True)
class Baseline:
    """What the winner is beside an FP32 cell of the same model.

    ``ratios`` are winner over baseline, ``differences`` winner less baseline, by column.
    """

    cell: str
    ratios: dict[str, Estimate]
    differences: dict[str, Estimate]


@dataclasses.dataclass(frozen=True)
class Needed:
    """What would decide an open question: launches of each of ``cells``, or images to score on.

    Either is None where more of it decides nothing. ``command`` makes them, ``reason`` says what
    is open, in a sentence.
    """

    cells: list[str]
    reason: str
    launches: int | None = None
    images: int | None = None
    command: str = ""


@dataclasses.dataclass(frozen=True)
class Relaxation:
    """The cell that is nearest to what was asked, and the bounds under which it would do.

    ``bounds`` are pairs: a constraint as asked, and the same one given way so far as it must.
    """

    cell: str
    bounds: list[tuple[str, str]]


@dataclasses.dataclass(frozen=True)
class Question:
    """What was asked: constraints, the objective, and what settles a tie.

    ``indifference`` is relative: objectives that differ by less are equal to the user. ``default``
    tells that no constraint was named, and that ``where`` is Deploymark's own.
    """

    where: list[str]
    objective: str
    maximize: bool = False
    then: str | None = None
    indifference: float = 0.02
    default: bool = False


@dataclasses.dataclass(frozen=True)
class Answer:
    """``answer.json``. ``winner`` is there where the outcome is ``best`` or ``tie``.

    ``leader`` is the best cell by its figure, decided or not; ``tie`` are the cells of a tie, the
    winner among them, and ``settled_by`` is the column that chose it. ``cells`` has every cell of
    the run, the winner first. ``notes`` are sentences on what to doubt.
    """

    run: str
    question: Question
    outcome: AnswerOutcome
    winner: str | None
    leader: str | None
    tie: list[str]
    settled_by: str
    cells: list[AnswerCell]
    baselines: list[Baseline]
    needed: Needed | None = None
    relaxation: Relaxation | None = None
    notes: list[str] = dataclasses.field(default_factory=list)
    confidence: float = 0.95
    method: str = ""
    schema_version: int = ANSWER_SCHEMA_VERSION
    deploymark_version: str = ""

    def cell(self, name: str) -> AnswerCell:
        """The entry of a cell. Raises KeyError where the run has none of that name."""
        for entry in self.cells:
            if entry.cell == name:
                return entry
        raise KeyError(name)


_ANSWER = TypeAdapter(Answer)


def answer_text(answer: Answer) -> str:
    """The JSON of ``answer.json``."""
    return dump_json(dataclasses.asdict(answer)) + "\n"


def write_answer(folder: Path, answer: Answer) -> Path:
    """Write ``answer.json``; returns its path."""
    path = folder / ANSWER_FILE
    write_sealed(path, dataclasses.asdict(answer))
    return path


def read_answer(folder: Path) -> Answer | None:
    """Read ``answer.json``: None where there is none. Raises BadInputError if it cannot be read."""
    path = folder / ANSWER_FILE
    remedy = f"Answer anew with: deploymark choose {folder}"
    try:
        values = unsealed(dict(parse_json(path.read_text(encoding="utf-8"))))
        answer = _ANSWER.validate_python(values)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:  # a ValidationError is one
        raise unreadable(path, error, remedy=remedy) from error
    check_version(path, answer.schema_version, ANSWER_SCHEMA_VERSION, remedy=remedy)
    return answer

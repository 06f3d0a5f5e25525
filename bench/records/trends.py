"""The history of cells over runs: the records that ``deploymark history`` makes, and reports read.

They are ``history.json`` in a run directory, and what ``deploymark history --json`` writes.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from deploymark.bench.records.files import (
    check_version,
    dump_json,
    unreadable,
    write_text_atomically,
)

HISTORY_SCHEMA_VERSION = 1
HISTORY_FILE = "history.json"

NOTHING_RECORDED = "nothing that is recorded changed"


@dataclasses.dataclass(frozen=True)
class PastRun:
    """A run of a history. ``run`` is the name of its directory, ``started`` ISO 8601 in UTC."""

    run: str
    started: str
    git_commit: str | None = None
    host: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Point:
    """A figure in one run, in the unit of its column. ``run`` counts the runs from 0.

    ``disturbed`` tells of a latency whose cell is marked so.
    """

    run: int
    value: float
    low: float | None = None
    high: float | None = None
    disturbed: bool = False


@dataclasses.dataclass(frozen=True)
class Change:
    """A change from run ``run`` on.

    ``before`` and ``after`` are medians of the runs up to the neighbouring changes, ``change`` is
    relative (0.05 is 5 % more) or, for scores, their difference. ``p_value`` is None for a figure
    without noise, where any change is one. ``found`` is what else changed there, likeliest cause
    first.
    """

    run: int
    before: float
    after: float
    change: float
    p_value: float | None
    found: list[str]


@dataclasses.dataclass(frozen=True)
class Series:
    """One figure (a column of ``cells.json``) of one cell, over the runs that measured it."""

    cell: str
    figure: str
    backend: str
    precision: str
    relative: bool
    points: list[Point]
    changes: list[Change] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class MachineHistory:
    """The runs of machines that are alike in ``settings``, oldest first, and what they measured.

    ``machine`` is short and the same for the same settings; ``name`` is for people.
    """

    machine: str
    name: str
    settings: dict[str, Any]
    hosts: list[str]
    runs: list[PastRun]
    series: list[Series]


@dataclasses.dataclass(frozen=True)
class Skipped:
    """A folder that holds a run which the history has not got, and why."""

    folder: str
    reason: str


@dataclasses.dataclass(frozen=True)
class History:
    """``history.json``. ``significance`` and ``min_change`` are what a change had to meet."""

    machines: list[MachineHistory]
    significance: float
    min_change: float
    min_segment: int
    seed: int
    skipped: list[Skipped] = dataclasses.field(default_factory=list)
    schema_version: int = HISTORY_SCHEMA_VERSION


_HISTORY = TypeAdapter(History)


def history_text(history: History) -> str:
    """The history as JSON."""
    return dump_json(dataclasses.asdict(history), indent=None) + "\n"


def save_history(folder: Path, history: History) -> Path:
    """Write ``history.json``; returns its path."""
    path = folder / HISTORY_FILE
    write_text_atomically(path, history_text(history))
    return path


def read_history(folder: Path) -> History | None:
    """Read the ``history.json`` of a run directory: None where there is none.

    Raises BadInputError where it cannot be read.
    """
    path = folder / HISTORY_FILE
    try:
        history = _HISTORY.validate_python(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:  # a ValidationError is one
        raise unreadable(path, error, remedy="Delete it: it is made anew.") from error
    check_version(path, history.schema_version, HISTORY_SCHEMA_VERSION)
    return history

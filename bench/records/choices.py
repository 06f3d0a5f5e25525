"""``choices.json``: all that the rule of ``choose`` looks at, for a page that asks other questions.

The page's script judges by the same rule (``reports/run/templates/rule.js``), so each figure has
its interval, each cell what its launches measured, and mAP the resamples of the images.
"""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from deploymark.bench.records.answer import Question
from deploymark.bench.records.files import (
    check_version,
    dump_json,
    read_json,
    sealed,
    unreadable,
    unsealed,
    write_text_atomically,
)

CHOICES_SCHEMA_VERSION = 1
CHOICES_FILE = "choices.json"

Ends = list[float] | None
"""A figure, or figure, low and high where they differ; None where it was not measured."""


@dataclasses.dataclass(frozen=True)
class Asked:
    """A constraint, taken apart (``bench.matrix.constraints.Constraint``)."""

    text: str
    figure: str
    upper: bool
    strict: bool
    kind: str
    limit: float


@dataclasses.dataclass(frozen=True)
class FigureChoice:
    """One figure of all cells, in their order.

    ``scatters`` over ``launch``, ``image`` or nothing (``exact``); ``more`` is better or less.
    ``beside`` is each cell's difference to its FP32 cell of a score, its ratio to it of all else.
    ``values`` are by cell the numbers of the launches and what they measured, and ``draws`` by cell
    its resamples, base64 of little-endian 16-bit shares of 1; empty where there is none.
    """

    scatters: str
    more: bool
    estimates: list[Ends]
    beside: list[Ends]
    values: list[tuple[list[int], list[float]] | None]
    draws: list[str | None] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Choices:
    """The file. ``failed`` and ``stopped`` say by cell why it is out, ``sizes`` are in bytes.

    ``error`` is what all comparisons share; ``assumed`` are the variance and the degrees of freedom
    of a comparison of two calm launches, and of one with a disturbed launch.
    """

    question: Question
    constraints: list[Asked]
    cells: list[str]
    failed: dict[str, str]
    stopped: dict[str, str]
    disturbed: list[str]
    sizes: list[float | None]
    figures: dict[str, FigureChoice]
    error: float
    assumed: list[tuple[float, float]]
    schema_version: int = CHOICES_SCHEMA_VERSION


_CHOICES = TypeAdapter(Choices)


def packed_draws(drawn: Sequence[float] | Any) -> str:
    """Resamples in [0, 1] as base64 of 16-bit numbers: a score is told to three decimals."""
    import numpy as np

    shares = np.clip(np.nan_to_num(np.asarray(drawn, dtype=np.float64)), 0.0, 1.0)
    whole = np.rint(shares * 65535).astype("<u2")
    return base64.b64encode(whole.tobytes()).decode("ascii")


def choices_text(choices: Choices) -> str:
    """The JSON of ``choices.json``."""
    return dump_json(dataclasses.asdict(choices), indent=None) + "\n"


def write_choices(folder: Path, choices: Choices) -> Path:
    """Write ``choices.json``; returns its path."""
    path = folder / CHOICES_FILE
    values = sealed(dataclasses.asdict(choices))
    write_text_atomically(path, dump_json(values, indent=None) + "\n")
    return path


def read_choices(folder: Path) -> Choices | None:
    """Read ``choices.json``: None where there is none. Raises BadInputError if it is none."""
    path = folder / CHOICES_FILE
    remedy = f"Make it anew with: deploymark choose {folder}"
    try:
        choices = _CHOICES.validate_python(unsealed(dict(read_json(path))))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:  # a ValidationError is one
        raise unreadable(path, error, remedy=remedy) from error
    check_version(path, choices.schema_version, CHOICES_SCHEMA_VERSION, remedy=remedy)
    return choices

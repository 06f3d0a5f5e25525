"""What a gate found: the records of ``gate.json``, which reports and other programs read.

A change compares the candidate with the baseline; a budget holds the candidate alone against a
limit. The verdict of a cell is what its checks come to, and that of the gate what its cells do.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, get_args

from deploymark.bench.errors import BadInputError
from deploymark.bench.records.files import (
    check_version,
    read_json,
    unreadable,
    unsealed,
    write_sealed,
)
from deploymark.bench.records.outcomes import Status

GATE_SCHEMA_VERSION = 1
GATE_FILE = "gate.json"
PAIRS_FILE = "pairs.jsonl"
JUNIT_FILE = "junit.xml"
ACTION_FILE = "benchmark-action.json"

Verdict = Literal["regressed", "inconclusive", "unchanged", "improved"]
"""Of a change; of a budget ``regressed`` is one that is exceeded, ``unchanged`` one that is met."""

VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
"""Worst first."""

CheckKind = Literal["change", "budget"]


@dataclasses.dataclass(frozen=True)
class Check:
    """One figure of one cell, judged.

    ``figure`` is a column of ``cells.json``, in that column's unit; ``baseline`` and ``candidate``
    are its values. ``change`` and its interval are relative (0.03 is 3 % more than the baseline)
    or, where ``relative`` is False (mAP), differences; they and ``threshold`` are None for a
    budget, which has its ``limit`` and ``bound`` (``max`` or ``min``) instead. ``pairs_needed`` is
    the number of pairs that would likely decide an inconclusive latency.
    """

    figure: str
    kind: CheckKind
    verdict: Verdict
    baseline: float | None = None
    candidate: float | None = None
    relative: bool = True
    change: float | None = None
    change_low: float | None = None
    change_high: float | None = None
    confidence: float | None = None
    threshold: float | None = None
    limit: float | None = None
    bound: Literal["max", "min"] | None = None
    pairs: int | None = None
    pairs_needed: int | None = None
    method: str = ""
    reason: str = ""


@dataclasses.dataclass(frozen=True)
class CellVerdict:
    """One cell of both sides. ``status`` is not ok where it could not be compared, and why.

    ``cell`` names the comparison; ``baseline_cell`` and ``candidate_cell`` are the ids on either
    side where they differ from it. ``seconds`` is how long measuring took, all pairs together.
    ``log_ratios`` has, a pair each, the natural logarithm of candidate over baseline. ``remedy``
    says what would mend a status that is not ok, or decide an inconclusive cell (the option and
    its value).
    """

    cell: str
    status: Status
    verdict: Verdict
    reason: str = ""
    remedy: str = ""
    baseline_cell: str = ""
    candidate_cell: str = ""
    backend: str = ""
    precision: str = ""
    device: str = ""
    imgsz: int | str = 0
    batch: int = 1
    threads: int = 1
    seconds: float = 0.0
    pairs: int = 0
    disturbed_pairs: int = 0
    log_ratios: list[float] = dataclasses.field(default_factory=list)
    checks: list[Check] = dataclasses.field(default_factory=list)
    warnings: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Side:
    """What one side of the comparison was. ``kind`` is ``run``, ``matrix`` or ``model``."""

    reference: str
    kind: str
    python: str | None = None
    packages: dict[str, str] = dataclasses.field(default_factory=dict)
    git_commit: str | None = None


@dataclasses.dataclass(frozen=True)
class Gate:
    """``gate.json``. ``exit_status`` is the exit code of the command, ``settings`` what decided.

    ``started`` and ``finished`` are ISO 8601 in UTC. ``unmatched`` has one mapping a cell that was
    found on one side alone (``cell``, ``side``: baseline or candidate, ``reason``).
    """

    baseline: Side
    candidate: Side
    machine: dict[str, Any]
    settings: dict[str, Any]
    started: str
    finished: str
    verdict: Verdict
    exit_status: int
    cells: list[CellVerdict]
    unmatched: list[dict[str, str]] = dataclasses.field(default_factory=list)
    warnings: list[str] = dataclasses.field(default_factory=list)
    schema_version: int = GATE_SCHEMA_VERSION
    deploymark_version: str = ""


_TELLING: tuple[Verdict, ...] = ("regressed", "inconclusive", "improved", "unchanged")


def overall(verdicts: Iterable[Verdict]) -> Verdict:
    """What several verdicts come to: the worst; improved where the rest is unchanged."""
    return min(verdicts, key=_TELLING.index, default="unchanged")


def write_gate(folder: Path, gate: Gate) -> Path:
    """Write ``gate.json``; returns its path."""
    path = folder / GATE_FILE
    write_sealed(path, dataclasses.asdict(gate))
    return path


def load_gate(folder: Path) -> Gate:
    """Read the ``gate.json`` of a folder. Raises BadInputError where that cannot be."""
    path = folder / GATE_FILE
    try:
        values = read_json(path)
        check_version(path, values.get("schema_version"), GATE_SCHEMA_VERSION)
        values = unsealed(values)
        cells = [
            CellVerdict(**{**cell, "checks": [Check(**check) for check in cell["checks"]]})
            for cell in values["cells"]
        ]
        sides = {name: Side(**values[name]) for name in ("baseline", "candidate")}
        return Gate(**{**values, **sides, "cells": cells})
    except FileNotFoundError:
        raise BadInputError(
            f"{folder} has no {GATE_FILE}", remedy="Name the folder that a gate wrote."
        ) from None
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise unreadable(path, error) from error

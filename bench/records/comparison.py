"""Runs side by side: the records that ``deploymark compare`` makes, and reports read.

They describe. Separate runs cannot prove a change below what a machine drifts by between them;
that takes live pairs (``deploymark gate``).
"""

from __future__ import annotations

import dataclasses

COMPARISON_SCHEMA_VERSION = 1

DIFFERENCES = frozenset({"map50_95", "map50", "agreement", "score_drift", "nonzero_fraction"})
"""Figures of which the difference is told; of the others it is the ratio."""

LATENCY = "latency_p50_ms"

KEY_FIGURES = (
    LATENCY,
    "e2e_p50_ms",
    "map50_95",
    "artifact_bytes",
    "peak_rss_bytes",
    "min_memory_mb",
    "energy_j_per_image",
)
"""What is shown unless the user names figures."""


@dataclasses.dataclass(frozen=True)
class ComparedRun:
    """A column. ``label`` is unlike that of any other; ``detail`` says more about it.

    ``machine`` is the fingerprint of ``run.json``, ``started`` ISO 8601 in UTC.
    """

    label: str
    detail: str
    folder: str
    started: str
    machine: dict[str, object]
    finished: bool


@dataclasses.dataclass(frozen=True)
class Value:
    """One figure of one cell in one run, in the unit of its column, None where there is none.

    ``low`` and ``high`` are the run's own interval. ``ratio`` is to the first run and its ends a
    95 % interval; ``difference`` stands in its place for scores (``DIFFERENCES``). ``reason`` says
    why the figure, or what compares it, is missing.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    difference: float | None = None
    reason: str = ""


@dataclasses.dataclass(frozen=True)
class ComparedCell:
    """A row: a cell that at least one run has. Lists have an entry a run, in the order of runs.

    ``statuses`` and ``artifacts`` (sha256) are None where a run has not got the cell. ``fastest``
    is the index of the run with the smallest latency p50, None unless two have one. ``disturbed``
    tells where the cell is marked: its figures are of disturbed launches.
    """

    cell: str
    statuses: list[str | None]
    artifacts: list[str | None]
    figures: dict[str, list[Value]]
    fastest: int | None
    disturbed: list[bool]


@dataclasses.dataclass(frozen=True)
class Difference:
    """What is not the same in all runs: ``kind`` is machine, package, setting or input."""

    kind: str
    name: str
    values: list[str | None]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """All of it. ``figures`` are columns of ``cells.json`` that at least one cell has.

    ``several_machines`` tells columns of machines from runs of one. ``notes`` are sentences.
    """

    runs: list[ComparedRun]
    figures: list[str]
    cells: list[ComparedCell]
    differences: list[Difference]
    several_machines: bool
    notes: list[str]
    schema_version: int = COMPARISON_SCHEMA_VERSION

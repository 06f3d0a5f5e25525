"""What profilers told of cells, and what was read out of it: ``profiles.jsonl``, ``explain.json``.

``profiles.jsonl`` is measured: a line a launch with a runtime's own profiler. ``explain.json`` is
derived from it (``bench.explain``), for the report and for others that read a run.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deploymark.bench.records.files import known, read_beside, write_sealed
from deploymark.bench.records.launches import read_launches

PROFILE_LINES_FILE = "profiles.jsonl"
"""One line a launch with a profiler; the last line of a cell is the one that counts."""

EXPLAIN_FILE = "explain.json"


@dataclasses.dataclass(frozen=True)
class LayerTime:
    """A layer of an explanation: milliseconds of one inference, and its share of all layers.

    ``family`` is what its operator does (``bench.explain.kinds``), the same word in every runtime.
    """

    name: str
    kind: str
    family: str
    precision: str
    ms: float
    share: float


@dataclasses.dataclass(frozen=True)
class Part:
    """Layers taken together by what ``name`` says: how many, their milliseconds and share.

    ``reference_ms`` is what the like takes in the cell held against, None where there is none.
    """

    name: str
    layers: int
    ms: float
    share: float
    reference_ms: float | None = None


@dataclasses.dataclass(frozen=True)
class Difference:
    """What one layer, or several of one name or family, takes here and in the cell held against.

    None where it has none there; ``delta_ms`` is positive where it is slower here.
    """

    name: str
    kinds: str
    ms: float | None
    reference_ms: float | None
    delta_ms: float


@dataclasses.dataclass(frozen=True)
class Explanation:
    """Why a cell takes as long as it does.

    ``sentences`` are what the profile shows, the weightiest first; ``notes`` what to know of the
    profile itself. Of a profiled inference of ``wall_ms`` the layers took ``layers_ms``, and
    ``between_ms`` went by between them; without the profiler it took ``plain_ms`` in the same
    process: ``overhead`` is the quotient. ``top`` are the costliest layers. ``conversions`` are the
    layers that convert types or layouts, by operator; ``other_precision`` those that ran in another
    precision than the cell's, by the one that ran. ``families`` and ``precisions`` are all layers,
    by what they do and by what they ran in.
    ``against`` is the cell that ``differences`` are to, ``compared_by`` says by what layers were
    matched (``name`` or ``family``), and ``no_comparison`` why there is none. ``no_profile`` says
    why there is nothing of all that.
    """

    cell: str
    no_profile: str = ""
    profiler: str = ""
    inferences: int = 0
    wall_ms: float | None = None
    layers_ms: float | None = None
    between_ms: float | None = None
    plain_ms: float | None = None
    overhead: float | None = None
    layers: int = 0
    sentences: Sequence[str] = ()
    notes: Sequence[str] = ()
    top: Sequence[LayerTime] = ()
    conversions_share: float | None = None
    conversions: Sequence[Part] = ()
    other_precision_share: float | None = None
    other_precision: Sequence[Part] = ()
    families: Sequence[Part] = ()
    precisions: Sequence[Part] = ()
    against: str | None = None
    no_comparison: str = ""
    compared_by: str = ""
    against_plain_ms: float | None = None
    differences: Sequence[Difference] = ()


def read_profiles(folder: Path) -> dict[str, dict[str, Any]]:
    """The last profile of each cell, a line of ``profiles.jsonl``; empty where there is none."""
    return {str(line.get("cell")): line for line in read_launches(folder, PROFILE_LINES_FILE)}


def write_explanations(folder: Path, explanations: Sequence[Explanation]) -> None:
    """Write ``explain.json``: a list, one mapping a profiled cell."""
    write_sealed(folder / EXPLAIN_FILE, [dataclasses.asdict(item) for item in explanations])


def read_explanations(folder: Path) -> list[Explanation]:
    """``explain.json``; empty where there is none. Raises BadInputError where it cannot be read."""
    found = read_beside(folder / EXPLAIN_FILE, list)
    return [_explanation(entry) for entry in found if isinstance(entry, dict) and "cell" in entry]


def _explanation(values: Mapping[str, Any]) -> Explanation:
    nested = {
        "top": LayerTime,
        "conversions": Part,
        "other_precision": Part,
        "families": Part,
        "precisions": Part,
        "differences": Difference,
    }
    read = known(Explanation, values)
    for name, kind in nested.items():
        rows = [known(kind, row) for row in read.get(name) or () if isinstance(row, dict)]
        read[name] = tuple(kind(**row) for row in rows)
    return Explanation(**read)

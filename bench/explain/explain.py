"""From the profiles of a run to explanations, and into its ``explain.json``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploymark.bench.explain import kinds, rules
from deploymark.bench.explain.differences import differences
from deploymark.bench.explain.profile import (
    CellProfile,
    Layer,
    cell_profile,
    is_other_precision,
)
from deploymark.bench.explain.reference import FLOAT, reference_of
from deploymark.bench.records.profiles import (
    Explanation,
    Part,
    read_explanations,
    read_profiles,
    write_explanations,
)
from deploymark.bench.records.run import CellResult, Run, load_run

TOP = 10
"""Layers and differences that are told; ``profiles.jsonl`` has all."""

ADDS_UP = 0.15
"""What may be missing between the layers of a profile and the inference that they are of."""

DISTORTS = 1.5
"""Factor from which on a profiler distorts what it tells: it costs the same for a layer of a
microsecond and one of a millisecond."""

BUSY_CORES = 0.25
"""Processors that other processes may keep busy before a profile is to be doubted."""


def explain_run(folder: Path, against: Mapping[str, str] | None = None) -> list[Explanation]:
    """Explain every profiled cell of a run, and write ``explain.json``; what it says.

    ``against`` gives by cell the one to hold it against. Without it stands what an earlier call
    took, and the FP32 cell of the same backend else.
    """
    run = load_run(folder)
    lines = read_profiles(folder)
    former = {item.cell: item.against for item in read_explanations(folder) if item.against}
    chosen = {**former, **(against or {})}
    found = [
        explanation(cell, run, lines, chosen.get(cell.cell))
        for cell in run.cells
        if cell.cell in lines
    ]
    if found:
        write_explanations(folder, found)
    return found


def explanation(
    cell: CellResult, run: Run, lines: Mapping[str, Mapping[str, Any]], against: str | None = None
) -> Explanation:
    """Why a cell takes as long as it does; ``lines`` are the profiles of the run by cell."""
    line = lines[cell.cell]
    profile = cell_profile(cell, line)
    if profile is None:
        return Explanation(cell.cell, no_profile=_no_profile(line))
    known = {item.cell: item for item in run.cells}
    other = known.get(against) if against else reference_of(cell, run.cells)
    reference = None if other is None else cell_profile(other, lines.get(other.cell, {}))
    explained = _explained(profile, reference)
    if reference is not None:
        return explained
    return dataclasses.replace(
        explained, no_comparison=_no_comparison(cell, other, lines), against=None
    )


def _no_profile(line: Mapping[str, Any]) -> str:
    if line.get("status") != "ok":
        return f"the launch with the profiler ended {line.get('status')}: {line.get('reason')}"
    return str(line.get("no_profile") or "its profile has no layer")


def _no_comparison(
    cell: CellResult, other: CellResult | None, lines: Mapping[str, Mapping[str, Any]]
) -> str:
    """Why there is no cell to hold a profile against."""
    if other is not None:
        line = lines.get(other.cell)
        return f"{other.cell} was not profiled" if line is None else _no_profile(line)
    if cell.precision == FLOAT:
        return "it is the FP32 cell of its backend; --against names another"
    return f"{cell.backend} has no measured FP32 cell like it; --against names another"


def _explained(profile: CellProfile, reference: CellProfile | None) -> Explanation:
    conversions = [layer for layer in profile.layers if layer.family in kinds.CONVERSIONS]
    others = [layer for layer in profile.layers if is_other_precision(profile.cell, layer)]
    by, different = ("", []) if reference is None else differences(profile, reference)
    return Explanation(
        cell=profile.cell.cell,
        profiler=profile.profiler,
        inferences=profile.inferences,
        wall_ms=profile.wall_ms,
        layers_ms=profile.layers_ms,
        between_ms=profile.between_ms,
        plain_ms=profile.plain_ms,
        overhead=profile.overhead,
        layers=len(profile.layers),
        sentences=rules.sentences(profile, reference),
        notes=notes(profile),
        top=profile.costliest(TOP),
        conversions_share=profile.share(sum(layer.ms for layer in conversions)),
        conversions=_by(profile, conversions, lambda layer: layer.kind),
        other_precision_share=profile.share(sum(layer.ms for layer in others)),
        other_precision=_by(profile, others, lambda layer: layer.precision),
        families=[_beside(part, reference) for part in profile.parts(lambda layer: layer.family)],
        precisions=profile.parts(lambda layer: layer.precision),
        against=None if reference is None else reference.cell.cell,
        compared_by=by,
        against_plain_ms=None if reference is None else reference.plain_ms,
        differences=different[:TOP],
    )


def _by(profile: CellProfile, layers: list[Layer], key: Any) -> list[Part]:
    words = dict.fromkeys(key(layer) for layer in layers)
    parts = [profile.part(word, [one for one in layers if key(one) == word]) for word in words]
    return sorted(parts, key=lambda part: -part.ms)


def _beside(part: Part, reference: CellProfile | None) -> Part:
    if reference is None:
        return part
    return dataclasses.replace(
        part, reference_ms=reference.ms(lambda layer: layer.family == part.name)
    )


def notes(profile: CellProfile) -> list[str]:
    """What to know of a profile before one believes it."""
    found = []
    busy = profile.foreign_load_cores
    if busy is not None and busy > BUSY_CORES:
        found.append(
            f"Other processes kept {busy:.1f} processors busy meanwhile: the layers are medians, "
            "the profiled inference and the factor are not to be relied on."
        )
    if profile.overhead >= DISTORTS:
        found.append(
            f"The profiler made the inference {profile.overhead:.1f} times as long: what many "
            "small layers take is less without it."
        )
    share = profile.accounted_share
    if share is not None and share < 1 - ADDS_UP:
        found.append(
            f"The profiler sees {rules.percent(share)} of the inference: the rest is outside of "
            "the layers."
        )
    elif share is not None and share > 1 + ADDS_UP:
        found.append(
            f"The layers come to {rules.percent(share)} of the inference: some ran at once."
        )
    return found

"""Judging one cell of a gate: every figure, changes and budgets, and the verdict they make."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from deploymark.bench.gate.energy import PairedEnergy, measure_energy, wants_energy
from deploymark.bench.gate.figure_checks import (
    budget_checks,
    energy_check,
    map_check,
    memory_check,
    size_check,
)
from deploymark.bench.gate.figures import figures, pair_medians_ms, values_of_pairs
from deploymark.bench.gate.guarding import findings_of
from deploymark.bench.gate.latency import PairedCell
from deploymark.bench.gate.pairing import SIDES, PairRecord
from deploymark.bench.gate.scores import Boxer, Boxes
from deploymark.bench.gate.sides import SideCell
from deploymark.bench.matrix.energy_settings import EnergyOption
from deploymark.bench.matrix.gate_settings import GatedFigure, GateSettings
from deploymark.bench.matrix.validity import Validity, disturbances
from deploymark.bench.records.outcomes import Outcome
from deploymark.bench.records.verdicts import CellVerdict, Check, Verdict, overall
from deploymark.bench.score.average_precision import Scores, score
from deploymark.bench.score.coco_matches import Predictions
from deploymark.bench.score.map_interval import map_change
from deploymark.bench.worker.detections import load_detections

METHOD = (
    "repeated confidence intervals of the 10 % trimmed mean log-ratio over pairs of fresh live "
    "workers (Jennison and Turnbull 1989; Lan and DeMets 1983; Tukey and McLaughlin 1963), their "
    "error shared by the cells (Bonferroni)"
)


@dataclasses.dataclass(frozen=True)
class MatchedCell:
    """A cell of both sides."""

    id: str
    baseline: SideCell
    candidate: SideCell


@dataclasses.dataclass(frozen=True)
class Rules:
    """What a gate judges by; ``error`` is that of the interval of one cell's latency."""

    settings: GateSettings
    validity: Validity
    error: float
    seed: int
    energy: EnergyOption = "off"


def judge(
    cell: MatchedCell,
    paired: PairedCell | None,
    rules: Rules,
    boxer: Boxer,
    logs: Path,
    say: Callable[[str], None],
) -> CellVerdict:
    """All checks of a cell that both sides have."""
    settings = rules.settings
    measured = cell.candidate.measurable
    records = [] if paired is None else paired.records
    axes = {
        key: getattr(measured.cell, key) for key in ("backend", "precision", "device", "batch")
    } | {"imgsz": measured.cell.imgsz.word}
    facts: dict[str, Any] = {
        "cell": cell.id,
        "baseline_cell": cell.baseline.cell.id,
        "candidate_cell": cell.candidate.cell.id,
        **axes,
        "threads": measured.threads,
        "seconds": 0.0 if paired is None else round(paired.seconds, 3),
        "pairs": len(records),
        "disturbed_pairs": sum(
            bool(disturbances_of_pair(item, rules.validity)) for item in records
        ),
        "log_ratios": [] if paired is None else paired.log_ratios,
    }
    if paired is not None and not paired.outcome.ok:
        return _failed(facts, paired.outcome, paired.failed_side)
    sides = (cell.baseline, cell.candidate)
    boxes = []
    for item, side in zip(sides, SIDES, strict=True):
        made = boxer.boxes(item, side, say)
        if not made.outcome.ok:
            return _failed(facts, made.outcome, side)
        boxes.append(made)
    predictions = [_predictions(item, made) for item, made in zip(sides, boxes, strict=True)]
    scores = [_scores(item, read) for item, read in zip(sides, predictions, strict=True)]
    doubts: list[str] = []
    for item, made, read, scored, side in zip(
        sides, boxes, predictions, scores, SIDES, strict=True
    ):
        found = findings_of(item, made, read, scored)
        if hard := [one for one in found if one.hard]:
            words = "; ".join(one.words for one in hard)
            return _failed(facts, Outcome("invalid", words, hard[0].remedy), side)
        doubts += [f"the {side}: {one.words}" for one in found]
    energy = None
    if wants_energy(settings, rules.energy):
        both = [item.measurable for item in sides]
        log = logs / f"{measured.cell.id}-energy.log"
        energy = measure_energy(both, rules.energy, rules.validity, rules.seed, log, say)
    values = [
        figures(
            item.measurable.artifact,
            records,
            index,
            item.cell.batch,
            boxes[index].record,
            _figures_of(scores[index]),
        )
        | {"energy_j_per_image": _median_energy(energy, index)}
        for index, item in enumerate(sides)
    ]
    checks: list[Check] = []
    if paired is not None:
        checks.append(_latency_check(paired, settings, rules.error))
    checks += _other_checks(cell, records, predictions, energy, rules)
    slowed_by = _slowed_by(records, measured.threads)
    checks += budget_checks(values[1], settings.limits(), slowed_by)
    verdict = overall(check.verdict for check in checks)
    decisive = next((check for check in checks if check.verdict == verdict and check.reason), None)
    return CellVerdict(
        **facts,
        status="ok",
        verdict=verdict,
        reason=decisive.reason if decisive and verdict in {"regressed", "inconclusive"} else "",
        remedy=_remedy(checks, records) if verdict == "inconclusive" else "",
        checks=checks,
        warnings=[*_warnings(records, rules.validity), *filter(None, [slowed_by]), *doubts],
    )


def _failed(facts: Mapping[str, Any], outcome: Outcome, side: str) -> CellVerdict:
    """A candidate that fails where the baseline runs is worse; the other way round nobody knows."""
    verdict: Verdict = "regressed" if side == "candidate" else "inconclusive"
    return CellVerdict(
        **facts,
        status=outcome.status,
        verdict=verdict,
        reason=f"the {side}: {outcome.reason}",
        remedy=outcome.remedy,
    )


def _predictions(item: SideCell, boxes: Boxes) -> Predictions:
    assert boxes.path is not None  # noqa: S101 - for the type checker: its outcome was ok
    found = load_detections(boxes.path)
    return Predictions(found, item.scored_on.geometries, item.scored_on.class_map)


def _scores(item: SideCell, read: Predictions) -> Scores | None:
    dataset = item.scored_on.dataset
    if not dataset.labelled:
        return None
    return score(dataset.scored, read.detections, read.geometries, read.class_map)


def _figures_of(scores: Scores | None) -> dict[str, float]:
    return {} if scores is None else {"map50_95": scores.map50_95, "map50": scores.map50}


def _latency_check(paired: PairedCell, settings: GateSettings, error: float) -> Check:
    threshold = settings.threshold("latency_p50_ms")
    medians = [statistics.median(pair_medians_ms(paired.records, side)) for side in (0, 1)]
    decision = paired.decision
    if decision is None:
        return Check(
            figure="latency_p50_ms",
            kind="change",
            verdict="inconclusive",
            baseline=medians[0],
            candidate=medians[1],
            threshold=threshold,
            pairs=len(paired.records),
            reason="the time for this cell was over before a second pair",
        )
    found = decision.interval
    low, high = (math.expm1(end) for end in (found.low, found.high))
    return Check(
        figure="latency_p50_ms",
        kind="change",
        verdict=decision.verdict,
        baseline=medians[0],
        candidate=medians[1],
        change=math.expm1(found.mean),
        change_low=low,
        change_high=high,
        confidence=1 - error,
        threshold=threshold,
        pairs=found.pairs,
        pairs_needed=decision.pairs_needed,
        method=METHOD,
        reason=_latency_reason(decision.verdict, low, high, threshold),
    )


def _latency_reason(verdict: Verdict, low: float, high: float, threshold: float) -> str:
    span = f"[{low:+.2%}, {high:+.2%}]"
    if verdict == "regressed":
        return f"slower: the interval {span} lies above {threshold:+.1%}"
    if verdict == "improved":
        return f"faster: the interval {span} lies below {-threshold:+.1%}"
    if verdict == "unchanged":
        return f"the interval {span} lies within ±{threshold:.1%}"
    open_words = f"the interval {span} is neither inside nor clear of ±{threshold:.1%}"
    if high <= threshold:
        return f"{open_words}; slower by more than that is ruled out"
    return open_words


def _other_checks(
    cell: MatchedCell,
    records: Sequence[PairRecord],
    predictions: Sequence[Predictions],
    energy: PairedEnergy | None,
    rules: Rules,
) -> list[Check]:
    """Changes of mAP, size, memory and energy, those that the settings judge and that are there."""
    settings, seed = rules.settings, rules.seed
    checks: list[Check] = []
    if "map50_95" in settings.figures:
        checks += _map_checks(cell, predictions, settings, seed)
    if "artifact_bytes" in settings.figures:
        before_bytes = cell.baseline.measurable.artifact.bytes
        after_bytes = cell.candidate.measurable.artifact.bytes
        threshold = settings.threshold("artifact_bytes")
        checks.append(size_check(before_bytes, after_bytes, threshold))
    if "peak_rss_bytes" in settings.figures:
        name: GatedFigure = "peak_rss_bytes"
        before, after = (values_of_pairs(records, side, name) for side in (0, 1))
        if before is not None and after is not None:
            threshold = settings.threshold(name)
            checks.append(memory_check(before, after, threshold, confidence=settings.confidence))
        elif (before is None) != (after is None):
            told = SIDES[before is None]
            checks.append(_incomparable(name, f"it was measured on the side of the {told} alone"))
    if energy is not None and "energy_j_per_image" in settings.figures:
        checks.append(_energy_check(energy, settings))
    return checks


def _energy_check(energy: PairedEnergy, settings: GateSettings) -> Check:
    """The change of energy; inconclusive, with the reason, where no meter measured it."""
    name: GatedFigure = "energy_j_per_image"
    if energy.reason:
        return _incomparable(name, energy.reason)
    threshold = settings.threshold(name)
    return energy_check(*energy.joules, threshold, confidence=settings.confidence)


def _median_energy(energy: PairedEnergy | None, side: int) -> float | None:
    """The energy of a side, for its budget."""
    return statistics.median(energy.joules[side]) if energy and energy.joules[side] else None


def _map_checks(
    cell: MatchedCell, predictions: Sequence[Predictions], settings: GateSettings, seed: int
) -> list[Check]:
    """The change of mAP; none where the images of neither side have labels."""
    before, after = (side.scored_on.dataset for side in (cell.baseline, cell.candidate))
    if not before.labelled and not after.labelled:
        return []
    if before.scored_hash != after.scored_hash or before.labelled != after.labelled:
        return [_incomparable("map50_95", "the two sides are scored on different images or labels")]
    change = map_change(
        after.scored, predictions[0], predictions[1], confidence=settings.confidence, seed=seed
    )
    return [map_check(change, settings.threshold("map50_95"))]


def _incomparable(figure: str, reason: str) -> Check:
    return Check(figure=figure, kind="change", verdict="inconclusive", reason=reason)


def _remedy(checks: Sequence[Check], records: Sequence[PairRecord]) -> str:
    """What would decide an open cell."""
    opened = [check for check in checks if check.verdict == "inconclusive"]
    latency = next((item for item in opened if item.pairs_needed is not None), None)
    if latency is not None:
        seconds = statistics.fmean(record.seconds for record in records)
        budget_s = math.ceil(1.1 * (latency.pairs_needed or 0) * seconds / 10) * 10
        return (
            f"About {latency.pairs_needed} pairs would decide: "
            f"--max-pairs {latency.pairs_needed} --budget-s {budget_s}"
        )
    if any(item.figure == "latency_p50_ms" and item.kind == "change" for item in opened):
        return "The change is at the threshold: choose another min_effect, or judge it by hand."
    if any(item.figure.startswith("map") for item in opened):
        return "Score on more images: an interval of mAP shrinks with their number."
    return ""


def disturbances_of_pair(record: PairRecord, validity: Validity) -> list[str]:
    """What disturbed the bursts of a pair, of either side."""
    return [
        text
        for side in record.sides
        if side.get("conditions") is not None
        for text in disturbances(side["conditions"], validity)
    ]


def _slowed_by(records: Sequence[PairRecord], threads: int) -> str:
    """What both sides ran with that ships nowhere, a sentence; empty where it changes nothing.

    With one thread nobody waits for work. With two a YOLO11n in ONNX Runtime took a fifth longer.
    """
    rested = {
        f"{name}: {str(value).lower()}"
        for record in records
        for side in record.sides
        for name, value in side.get("rested", {}).items()
    }
    if threads == 1 or not rested:
        return ""
    return (
        f"both sides ran with {', '.join(sorted(rested))}, so that neither slows the other: the "
        "change is judged alike, and each is slower than it ships (deploymark run tells how fast)"
    )


def _warnings(records: Sequence[PairRecord], validity: Validity) -> list[str]:
    """What to doubt."""
    done = [record for record in records if record.outcome.ok]
    found = []
    unsteady = sum(not side["warmup"]["steady"] for record in done for side in record.sides)
    if unsteady:
        found.append(
            f"{unsteady} of {2 * len(done)} workers were not steady when the warm-up ended"
        )
    disturbed = [texts for record in done if (texts := disturbances_of_pair(record, validity))]
    if disturbed:
        rounds = [mark for record in done for mark in record.quiet_rounds]
        found.append(
            f"{len(disturbed)} of {len(done)} pairs were disturbed, which widens the interval and "
            f"favours neither side ({sum(rounds)} of {len(rounds)} rounds were quiet and count "
            f"before others): {disturbed[0][0]}"
        )
    return found

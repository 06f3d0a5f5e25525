"""The gate: two sides measured against each other, every figure judged, one verdict.

Latency comes first, in pairs of live workers (``bench.gate.latency``); then boxes are made where no
run left them, and mAP, size, memory and energy are compared (``bench.gate.figure_checks``).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import deploymark
from deploymark.bench.errors import NothingToRunError
from deploymark.bench.gate.judge import METHOD, MatchedCell, Rules, judge
from deploymark.bench.gate.latency import GateCell, PairedCell, cell_error, compare_latency
from deploymark.bench.gate.match import match
from deploymark.bench.gate.pairing import SIDES, PairRecord
from deploymark.bench.gate.scores import Boxer
from deploymark.bench.gate.sides import ResolvedSide
from deploymark.bench.machine.fingerprint import fingerprint
from deploymark.bench.matrix.gate_settings import GateSettings
from deploymark.bench.progress import Progress, duration_text
from deploymark.bench.records.launches import append_launch
from deploymark.bench.records.outcomes import Outcome
from deploymark.bench.records.run import LOGS_FOLDER, PREDICTIONS_FOLDER
from deploymark.bench.records.verdicts import (
    PAIRS_FILE,
    CellVerdict,
    Gate,
    Verdict,
    overall,
    write_gate,
)
from deploymark.bench.run.launch import now

EXIT_OK = 0
EXIT_REGRESSED = 1
EXIT_INCONCLUSIVE = 3


def run_gate(
    baseline: ResolvedSide,
    candidate: ResolvedSide,
    settings: GateSettings,
    folder: Path,
    progress: Progress,
) -> Gate:
    """Compare all cells that both sides have, and write ``gate.json`` and ``pairs.jsonl``.

    ``folder`` is there already, with its folders of logs and predictions. Raises NothingToRunError
    where no cell is on both sides.
    """
    started = now()
    matched, verdicts, unmatched = _match(baseline, candidate)
    if not matched and not verdicts:
        raise NothingToRunError(
            "no cell of the candidate has one in the baseline to be compared with: "
            f"{_names(candidate)} against {_names(baseline)}",
            remedy="Name two references with cells of the same backend, size and threads.",
        )
    error = cell_error(settings.confidence, len(matched))
    paired: dict[str, PairedCell] = {}
    if "latency_p50_ms" in settings.figures:
        paired = _pairs(matched, settings, candidate, folder, progress)
    rules = Rules(settings, candidate.validity, error, candidate.seed, candidate.energy)
    logs = folder / LOGS_FOLDER
    boxer = Boxer(folder / PREDICTIONS_FOLDER, logs)
    progress.phase("score", len(matched))
    for cell in matched:
        judged = judge(cell, paired.get(cell.id), rules, boxer, logs, progress.now)
        verdicts.append(judged)
        progress.done(f"{cell.id}: {judged.verdict}")
    found = [item.verdict for item in verdicts]
    if not settings.allow_missing and any(item["side"] == SIDES[0] for item in unmatched):
        found.append("inconclusive")  # nobody knows how the cell is that the candidate lost
    gate = Gate(
        baseline=baseline.side,
        candidate=candidate.side,
        machine=fingerprint(),
        settings=_settings(settings, error, candidate.seed),
        started=started,
        finished=now(),
        verdict=overall(found),
        exit_status=exit_status(found),
        cells=verdicts,
        unmatched=unmatched,
        deploymark_version=deploymark.__version__,
    )
    write_gate(folder, gate)
    return gate


def _names(side: ResolvedSide) -> str:
    return ", ".join([*side.cells, *side.outcomes]) or "none"


def exit_status(verdicts: Sequence[Verdict]) -> int:
    """1 where a cell regressed, broke its budget or failed; 3 where one is open or was lost."""
    found = overall(verdicts)
    if found == "regressed":
        return EXIT_REGRESSED
    return EXIT_INCONCLUSIVE if found == "inconclusive" else EXIT_OK


def _settings(settings: GateSettings, error: float, seed: int) -> dict[str, Any]:
    given = settings.model_dump(mode="json", exclude_none=True)
    return {**given, "confidence_per_cell": round(1 - error, 6), "seed": seed, "method": METHOD}


def _match(
    baseline: ResolvedSide, candidate: ResolvedSide
) -> tuple[list[MatchedCell], list[CellVerdict], list[dict[str, str]]]:
    """The cells to compare; verdicts on those that cannot be; cells of one side alone."""
    sides = (baseline, candidate)
    pairs = match(
        {name: item.cell for name, item in baseline.cells.items()},
        {name: item.cell for name, item in candidate.cells.items()},
    )
    matched = [
        MatchedCell(name, baseline.cells[before], candidate.cells[name])
        for name, before in pairs.items()
    ]
    verdicts = [
        _unmeasurable(name, outcome, baseline)
        for name, outcome in candidate.outcomes.items()
        if name in baseline.cells or not _is_no_failure(outcome)
    ]
    told = {item.cell for item in verdicts}
    used = (set(pairs.values()) | told, set(pairs) | told)
    unmatched = [
        {
            "cell": name,
            "side": SIDES[index],
            "reason": _why_alone(sides[1 - index].outcomes.get(name), SIDES[1 - index]),
        }
        for index, side in enumerate(sides)
        for name in side.cells
        if name not in used[index]
    ]
    return matched, verdicts, unmatched


def _is_no_failure(outcome: Outcome) -> bool:
    return outcome.status in {"unsupported", "unavailable"}


def _why_alone(outcome: Outcome | None, other: str) -> str:
    if outcome is None:
        return f"the {other} has no such cell"
    return f"the {other} could not be measured: {outcome.status}: {outcome.reason}"


def _unmeasurable(name: str, outcome: Outcome, baseline: ResolvedSide) -> CellVerdict:
    """A cell that the candidate should have had: worse than any figure."""
    there = name in baseline.cells
    return CellVerdict(
        cell=name,
        status=outcome.status,
        verdict="regressed" if there or not _is_no_failure(outcome) else "inconclusive",
        reason=f"the candidate could not be measured: {outcome.reason}",
        remedy=outcome.remedy,
    )


def _pairs(
    matched: Sequence[MatchedCell],
    settings: GateSettings,
    candidate: ResolvedSide,
    folder: Path,
    progress: Progress,
) -> dict[str, PairedCell]:
    cells = [
        GateCell(cell.id, cell.baseline.measurable, cell.candidate.measurable) for cell in matched
    ]
    progress.phase("pairs of live workers", len(cells))
    with (folder / PAIRS_FILE).open("a", encoding="utf-8") as stream:

        def on_pair(paired: PairedCell, record: PairRecord) -> None:
            append_launch(stream, _line(paired, record))
            text = _progress_text(paired, settings)
            (progress.done if paired.done else progress.tell)(f"{paired.cell.id}: {text}")

        return compare_latency(
            cells,
            settings,
            seed=candidate.seed,
            logs=folder / LOGS_FOLDER,
            on_pair=on_pair,
            burst_limits=candidate.validity.burst_limits(),
        )


def _line(paired: PairedCell, record: PairRecord) -> dict[str, Any]:
    """One line of ``pairs.jsonl``."""
    return {
        "cell": paired.cell.id,
        "pair": len(paired.records) - 1,
        **dataclasses.asdict(record.outcome),
        "failed_side": record.failed_side,
        "seconds": round(record.seconds, 3),
        "log_ratio": record.log_ratio,
        "copies": record.copies,
        **{
            side: {
                **record.sides[index],
                "latency_ns": record.latency_ns[index],
                "quiet": record.quiet[index],
            }
            for index, side in enumerate(SIDES)
        },
    }


def percent(log_ratio: float) -> float:
    """A log-ratio as a change in per cent."""
    return 100 * math.expm1(log_ratio)


def _progress_text(paired: PairedCell, settings: GateSettings) -> str:
    if not paired.outcome.ok:
        return f"the {paired.failed_side}'s worker: {paired.outcome.reason}"
    took = f"{len(paired.records)} pairs, {duration_text(paired.seconds)}"
    decision = paired.decision
    if decision is None:
        return f"{took} of at most {duration_text(settings.budget_s)}"
    found = decision.interval
    return (
        f"{decision.verdict}, latency {percent(found.mean):+.2f} % "
        f"[{percent(found.low):+.2f}, {percent(found.high):+.2f}], {took}"
    )

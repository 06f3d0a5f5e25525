"""From a fleet's launches to its run directory: a row for each cell on each device."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from deploymark.bench.build.artifacts import Built
from deploymark.bench.fleet.preflight import Member
from deploymark.bench.progress import Progress
from deploymark.bench.records.launches import counted
from deploymark.bench.records.machines import parts
from deploymark.bench.records.outcomes import Outcome
from deploymark.bench.records.run import (
    SAMPLES_FILE,
    CellResult,
    RunInfo,
    write_cells,
    write_run_info,
)
from deploymark.bench.run.confidence import marked_cells, stopping_rule
from deploymark.bench.run.guarding import OutputGuards
from deploymark.bench.run.launch import now
from deploymark.bench.run.plan import PlannedCell
from deploymark.bench.run.results import predictions_of, results_of, score_all
from deploymark.bench.run.run_folder import SampleRow, write_samples
from deploymark.bench.run.runner import EXIT_FAILED, compare_all, exit_status
from deploymark.bench.run.schedule import made, next_slot
from deploymark.bench.score.memory import add_memory

Records = Mapping[str, list[dict[str, Any]]]


@dataclasses.dataclass(frozen=True)
class Finished:
    """What was measured on a device. ``gone`` says when it left, where it did not finish."""

    member: Member
    launches: Records
    closed: Mapping[str, str]
    weighed: Records
    gone: str = ""


def built_of(member: Member) -> dict[str, Built]:
    """What a device measures of each cell that it serves."""
    return {
        cell.id: Built(Outcome("ok"), cell.artifact)
        for cell in member.plan.cells
        if cell.artifact is not None
    }


def finish(info: RunInfo, folder: Path, finished: Sequence[Finished], progress: Progress) -> int:
    """Score what was measured and write the run directory's files; the exit code of the run."""
    rows: list[CellResult] = []
    disturbed = []
    for number, item in enumerate(finished):
        results = _results(item, folder, progress, first=number == 0)
        if text := marked_cells(list(results.values()), item.launches, _validity(item)):
            disturbed.append(f"{item.member.name}: {text}")
        rows += results.values()
    info.checksums[SAMPLES_FILE] = write_samples(folder, _samples(finished, rows))
    write_cells(folder, rows)
    info.disturbed = "; ".join(disturbed)
    gone = [item.gone for item in finished if item.gone]
    info.notes = list(dict.fromkeys([*info.notes, *gone]))
    status = EXIT_FAILED if gone else exit_status(rows)
    info.finished, info.exit_status = now(), status
    write_run_info(folder, info)
    parts(folder)
    return status


def _validity(item: Finished) -> Any:
    return item.member.plan.matrix.validity


def _results(
    item: Finished, folder: Path, progress: Progress, *, first: bool
) -> dict[str, CellResult]:
    """The rows of one device, agreement with its own FP32 cells included.

    The pictures of what agreement found are those of the ``first`` device: the artifacts are the
    same on all.
    """
    plan, built = item.member.plan, built_of(item.member)
    cells = [_unless_gone(cell, item) for cell in plan.cells]
    built = {cell.id: built[cell.id] for cell in cells if cell.outcome is None and cell.id in built}
    launches = {cell: records for cell, records in item.launches.items() if cell in built}
    predictions = predictions_of(cells, launches, folder)
    scores = score_all(plan, cells, predictions, progress)
    results = results_of(plan, cells, built, launches, scores, item.closed)
    for cell, result in results.items():
        result.machine = item.member.name
        add_memory(result, item.weighed.get(cell, ()))
    guards = OutputGuards(plan, cells, built)
    guards.judge(results, launches, scores, predictions)
    with tempfile.TemporaryDirectory(prefix="deploymark-") as aside:
        pictures = folder if first else Path(aside)
        compare_all(plan, cells, predictions, list(results.values()), pictures, progress)
    guards.compare(results)
    return results


def _unless_gone(cell: PlannedCell, item: Finished) -> PlannedCell:
    """A cell, which is ``unavailable`` where its device left before it had enough launches."""
    if not item.gone or cell.outcome is not None:
        return cell
    records = item.launches.get(cell.id, ())
    rule = stopping_rule(cell.cell, item.member.plan.matrix)
    if records and next_slot(cell.id, rule, [made(record) for record in records]) is None:
        return cell
    outcome = Outcome(
        "unavailable",
        f"{item.gone}; {len(records)} of its launches are kept",
        "Go on with deploymark fleet --resume once the device is there.",
    )
    return dataclasses.replace(cell, outcome=outcome)


def _samples(finished: Sequence[Finished], rows: Sequence[CellResult]) -> Iterator[SampleRow]:
    disturbed = {(row.machine, row.cell): row.disturbed for row in rows}
    for item in finished:
        name = item.member.name
        for cell, records in item.launches.items():
            for record in counted(records, disturbed=disturbed.get((name, cell), False)):
                yield SampleRow(cell, record["launch"], record["latency_ns"], name)

"""Carrying out a plan: build, launch in rounds, score, write; and going on after a stop."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from pathlib import Path

from deploymark.bench.progress import Progress
from deploymark.bench.records.launches import counted
from deploymark.bench.records.run import (
    NOT_FAILURES,
    SAMPLES_FILE,
    CellResult,
    RunInfo,
    write_cells,
    write_run_info,
)
from deploymark.bench.records.scenarios import ScenarioResult
from deploymark.bench.run.built_cells import build_cells
from deploymark.bench.run.confidence import marked_cells
from deploymark.bench.run.decision import can_be_decided
from deploymark.bench.run.energy import run_energy
from deploymark.bench.run.fit import fit_cells
from deploymark.bench.run.guarding import OutputGuards
from deploymark.bench.run.launch import now
from deploymark.bench.run.memory_pass import weigh_cells
from deploymark.bench.run.plan import Plan, PlannedCell
from deploymark.bench.run.profile_pass import measured_cells, profile_cells
from deploymark.bench.run.results import (
    InterimResults,
    predictions_of,
    results_of,
    score_all,
)
from deploymark.bench.run.rounds import launch_all
from deploymark.bench.run.run_folder import SampleRow, write_samples
from deploymark.bench.run.scenarios import run_scenarios
from deploymark.bench.run.timings import Timings, of_launches
from deploymark.bench.run.upkeep import Upkeep
from deploymark.bench.score.fidelity import CellImages, add_fidelity
from deploymark.bench.score.memory import add_memory
from deploymark.bench.store import Store

EXIT_OK = 0
EXIT_FAILED = 1


@dataclasses.dataclass(frozen=True)
class Measured:
    """All that a run measured: results by cell, and each cell's samples in nanoseconds."""

    results: Mapping[str, CellResult]
    samples: Mapping[str, list[int]]
    exit_status: int


def execute(
    plan: Plan,
    info: RunInfo,
    folder: Path,
    store: Store,
    progress: Progress,
    only: Collection[str] | None = None,
) -> Measured:
    """Build, launch and score the cells of a plan (those in ``only``), and write the run directory.

    Launches found in the folder are kept and not made again. Every finished launch is on disk
    before the next starts.
    """
    cells = [cell for cell in plan.cells if only is None or cell.id in only]
    timings = Timings(info.timings)
    with timings.part("build_s"):
        built = build_cells(plan, cells, folder, store, progress)
    exported = {cell.key: built[cell.id] for cell in cells if cell.key is not None}
    info.artifacts_built = sum(
        item.artifact is not None and not item.reused for item in exported.values()
    )
    info.artifacts_reused = sum(item.reused for item in exported.values())
    interim = InterimResults(plan, cells, built, folder, info) if can_be_decided(plan) else None
    upkeep = Upkeep(plan, cells, built, folder, store, progress)
    with timings.part("measure_s"):
        launches, closed = launch_all(plan, cells, built, folder, progress, interim, upkeep)
    info.timings |= of_launches(launches)
    upkeep.all()
    with timings.part("memory_s"):
        weighed = weigh_cells(plan, cells, built, launches, closed, folder, progress)
    upkeep.all()
    with timings.part("energy_s"):
        energy = run_energy(plan, cells, built, launches, closed, folder, progress)
    upkeep.all()
    with timings.part("scenarios_s"):
        scenarios = run_scenarios(plan, cells, built, folder, progress)
    predictions = predictions_of(cells, launches, folder)
    with timings.part("score_s"):
        scores = score_all(plan, cells, predictions, progress)
    results = results_of(plan, cells, built, launches, scores, closed)
    for cell, result in results.items():
        result.machine = str(info.machine.get("host") or "") or None
        add_memory(result, weighed.get(cell, ()))
    energy.add_to(results)
    upkeep.all()  # agreement reads the prepared images
    guards = OutputGuards(plan, cells, built)
    with timings.part("compare_s"):
        guards.judge(results, launches, scores, predictions)
        compare_all(plan, cells, predictions, list(results.values()), folder, progress)
        guards.compare(results)
    if plan.matrix.fit:
        with timings.part("fit_s"):
            fit_cells(plan, cells, built, results, folder, progress)
    if plan.matrix.profile:
        with timings.part("profile_s"):
            wanted = measured_cells(launches, closed)
            profile_cells(plan, cells, built, wanted, folder, progress)
    status = exit_status([*results.values(), *scenarios])
    used = {
        cell: counted(records, disturbed=results[cell].disturbed)
        for cell, records in launches.items()
    }
    info.checksums[SAMPLES_FILE] = write_samples(
        folder,
        (
            SampleRow(cell, record["launch"], record["latency_ns"])
            for cell, records in used.items()
            for record in records
        ),
    )
    write_cells(folder, list(results.values()))
    info.disturbed = marked_cells(list(results.values()), launches, plan.matrix.validity)
    info.notes += [note for note in upkeep.notes if note not in info.notes]
    info.finished, info.exit_status = now(), status
    write_run_info(folder, info)
    return Measured(
        results=results,
        samples={
            cell: [time for record in records for time in record["latency_ns"]]
            for cell, records in used.items()
        },
        exit_status=status,
    )


def exit_status(results: Collection[CellResult | ScenarioResult]) -> int:
    """1 where a cell or a scenario failed or no cell was measured, else 0."""
    failed = any(result.status not in NOT_FAILURES for result in results)
    measured = any(result.status == "ok" for result in results)
    return EXIT_OK if measured and not failed else EXIT_FAILED


def compare_all(
    plan: Plan,
    cells: list[PlannedCell],
    files: Mapping[str, Path],
    results: list[CellResult],
    folder: Path,
    progress: Progress,
) -> None:
    """Compare the cells with the dense FP32 ones; the figures go into ``results``."""
    images = {}
    for cell in cells:
        if cell.id in files:
            model = plan.models[cell.cell.model]
            names = [image.path.name for image in model.dataset.scored]
            images[cell.id] = CellImages(files[cell.id], names, model.scored[cell.cell.imgsz].path)
    progress.phase("compare", len(images))
    add_fidelity(results, images, folder, progress.done)

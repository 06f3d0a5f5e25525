"""The energy launches of a run: after those that are timed, for each cell that went well.

They are lines of ``energy.jsonl`` and are not made again when the run goes on, but for failures
that may have gone. Their order is that of rounds, as the launches' is: the drift of the machine
hits every cell alike.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deploymark.bench.build.artifacts import Built
from deploymark.bench.matrix.energy_settings import EnergySettings, asked
from deploymark.bench.meters.base import Facts, MeterDiedError, Missing
from deploymark.bench.meters.recording import recorded
from deploymark.bench.progress import Progress, duration_text
from deploymark.bench.records.energy import ENERGY_FILE, read_energy
from deploymark.bench.records.launches import Record, append_launch, drop_torn_line, went_well
from deploymark.bench.records.run import LOGS_FOLDER, CellResult
from deploymark.bench.run.energy_figures import suiting
from deploymark.bench.run.energy_launch import EnergyTask, energy_launch
from deploymark.bench.run.plan import Plan, PlannedCell
from deploymark.bench.run.retries import is_limited, remembered
from deploymark.bench.score.energy import add_energy
from deploymark.bench.worker.measure.gpu_state import is_gpu

OFF = "the matrix has `energy: off`"

_NO_MODEL_OF_GPU = "no meter sees the device, and processor time says nothing of a GPU"


@dataclasses.dataclass
class MeasuredEnergy:
    """What the energy launches of a run left: records by cell, and why others have none."""

    settings: EnergySettings | None
    records: dict[str, list[Record]] = dataclasses.field(default_factory=dict)
    reasons: dict[str, str] = dataclasses.field(default_factory=dict)

    def add_to(self, results: Mapping[str, CellResult]) -> None:
        """Fill the figures into the results of cells."""
        for name, result in results.items():
            reason = self.reasons.get(name, "the cell was not measured")
            add_energy(result, self.records.get(name, ()), self.settings, reason)


def run_energy(
    plan: Plan,
    cells: Sequence[PlannedCell],
    built: Mapping[str, Built],
    launches: Mapping[str, Sequence[Record]],
    closed: Mapping[str, str],
    folder: Path,
    progress: Progress,
) -> MeasuredEnergy:
    """Measure the energy of the cells whose launches went well, where there is a meter.

    ``closed`` are the cells that cannot be the answer to the run's question, and why.
    """
    settings = asked(plan.matrix.energy)
    good = [
        cell
        for cell in cells
        if went_well(launches.get(cell.id, ())) and built[cell.id].artifact is not None
    ]
    energy = MeasuredEnergy(settings)
    if settings is None:
        energy.reasons = dict.fromkeys((cell.id for cell in good), OFF)
        return energy
    drop_torn_line(folder, ENERGY_FILE)
    limited = {cell.id: is_limited(cell.cell) for cell in cells}
    energy.records = {
        cell: remembered(records, limited=limited.get(cell, False))
        for cell, records in read_energy(folder).items()
    }
    if not good:
        return energy
    facts, missing = _look(settings, folder)
    tasks: dict[str, EnergyTask] = {}
    for cell in good:
        if why := closed.get(cell.id):
            energy.reasons[cell.id] = why
            continue
        meters = suiting(facts, cell.cell.device)
        energy.reasons[cell.id] = _why_none(settings, meters, missing, cell.cell.device)
        if not energy.reasons[cell.id]:
            names = [item.name for item in meters[0]] if meters else []
            tasks[cell.id] = _task(plan, cell, built[cell.id], settings, names)
    _launch_all(plan, tasks, energy, folder, progress)
    return energy


def _look(settings: EnergySettings, folder: Path) -> tuple[list[Facts], list[Missing]]:
    """Which meters there are, and what is missing."""
    external = None if settings.meter is None else settings.meter.model_dump()
    try:
        with recorded(external, folder / LOGS_FOLDER / "meters.log") as recording:
            return recording.facts, recording.missing
    except MeterDiedError as error:
        return [], [Missing("meters", error.message)]


def why_no_meter(missing: Sequence[Missing]) -> str:
    """Why there is no meter, a sentence of all kinds."""
    told = "; ".join(dict.fromkeys(item.reason for item in missing))
    return f"no energy meter: {told}" if told else "no energy meter was found"


def _why_none(
    settings: EnergySettings,
    meters: Sequence[Sequence[Facts]],
    missing: Sequence[Missing],
    device: str,
) -> str:
    """Why a cell gets no energy launch; empty where it does."""
    if settings.meter is not None:
        own = [item.reason for item in missing if item.what == "external meter"]
        if own:
            return own[0]
    if meters:
        return ""
    if settings.model is None:
        return why_no_meter(missing)
    return _NO_MODEL_OF_GPU if is_gpu(device) else ""


def _task(
    plan: Plan, planned: PlannedCell, built: Built, settings: EnergySettings, names: Sequence[str]
) -> EnergyTask:
    assert built.artifact is not None  # noqa: S101 - for the type checker: asked by the caller
    cell = planned.cell
    return EnergyTask(
        cell=cell,
        launch=0,
        threads=planned.threads,
        artifact=built.artifact,
        images=plan.models[cell.model].scored[cell.imgsz].path,
        settings=settings,
        validity=plan.matrix.validity,
        meters=names,
    )


def _launch_all(
    plan: Plan,
    tasks: Mapping[str, EnergyTask],
    energy: MeasuredEnergy,
    folder: Path,
    progress: Progress,
) -> None:
    """Rounds of launches. None follows one that has no figure: it would have none either."""
    if energy.settings is None or not tasks:
        return
    waiting = [
        (launch, cell)
        for launch in range(energy.settings.launches)
        for cell in _order(plan, tasks, launch)
        if launch >= len(energy.records.get(cell, ()))
    ]
    progress.phase("energy", len(waiting))
    with (folder / ENERGY_FILE).open("a", encoding="utf-8") as stream:
        for launch, cell in waiting:
            before = energy.records.setdefault(cell, [])
            where = f"{cell} energy {launch + 1}/{energy.settings.launches}"
            if any(not has_figure(record) for record in before):
                progress.done(f"{where}: not made, as the one before has no figure")
                continue
            progress.now(where)
            task = dataclasses.replace(tasks[cell], launch=launch)
            record = energy_launch(task, folder / LOGS_FOLDER / f"{cell}.log")
            append_launch(stream, record)
            before.append(record)
            progress.done(f"{where}: {_said(record)}")


def _order(plan: Plan, tasks: Mapping[str, EnergyTask], launch: int) -> list[str]:
    order = sorted(tasks)
    random.Random(f"{plan.matrix.seed}/energy/{launch}").shuffle(order)  # noqa: S311 - no secret
    return order


def has_figure(record: Record) -> bool:
    """Whether an energy launch has a figure, gross at least."""
    return record.get("gross_joules_per_image") is not None


def _said(record: Mapping[str, Any]) -> str:
    """How an energy launch ended."""
    if record["status"] != "ok":
        return f"{record['status']}: {record['reason']}"
    took = duration_text(record["duration_s"])
    gross, net = record["gross_joules_per_image"], record["joules_per_image"]
    if gross is None:
        return f"no figure ({took}): {record['no_gross']}"
    if net is None:
        return f"{gross * 1e3:.4g} mJ/image gross, no net ({took}): {record['no_net']}"
    kind = "modelled, " if record["kind"] == "modelled" else ""
    return f"{net * 1e3:.4g} mJ/image above idle, {gross * 1e3:.4g} gross ({kind}{took})"

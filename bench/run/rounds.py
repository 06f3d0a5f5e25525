"""All launches of a run, round by round; each is on disk before the next starts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from deploymark.bench.build.artifacts import Built
from deploymark.bench.doctor.activity import restless
from deploymark.bench.matrix.validity import OnDisturbed, Validity, disturbances
from deploymark.bench.progress import Progress, duration_text
from deploymark.bench.records.files import sha256_of
from deploymark.bench.records.launches import (
    LAUNCHES_FILE,
    append_launch,
    drop_torn_line,
    read_launches,
    went_well,
)
from deploymark.bench.records.run import LOGS_FOLDER, PREDICTIONS_FOLDER
from deploymark.bench.run.boxes import BoxesPlan
from deploymark.bench.run.confidence import percent, stopping_rule
from deploymark.bench.run.decision import Decision, Interim, most_rounds
from deploymark.bench.run.executor import HERE, Executor, file_stem
from deploymark.bench.run.launch import LaunchTask, launch
from deploymark.bench.run.plan import Plan, PlannedCell
from deploymark.bench.run.retries import is_limited, may_have_gone
from deploymark.bench.run.schedule import (
    LaunchSlot,
    Made,
    StoppingRule,
    forgiven,
    is_over,
    made,
    next_round,
    reached,
    spent_s,
    sure_launches,
    upcoming,
    why_no_repeats,
)

E2E_IMAGES = 16
"""Image files that the end-to-end pass reads in turn."""

_THEN: dict[OnDisturbed, str] = {
    "mark": "disturbed figures will be marked (--strict fails them)",
    "fail": "cells that stay disturbed will fail",
}

_MEANWHILE = "; meanwhile its artifact or its images left the store or were changed"

Launches = dict[str, list[dict[str, Any]]]


class Keeper(Protocol):
    """Sees to what launches need of the store (``upkeep.Upkeep``)."""

    def __call__(self, cell: str) -> None:
        """Make again what the next launch of a cell needs and is missing."""

    def as_found(self, cell: str) -> bool:
        """Whether it still lies there as it did before the launch."""


class NoKeeper:
    """For launches of what nobody takes away."""

    def __call__(self, cell: str) -> None:
        """Nothing to do."""

    def as_found(self, cell: str) -> bool:  # noqa: ARG002 - as a keeper's
        """Nothing was taken away."""
        return True


NO_KEEPER = NoKeeper()


def launch_all(
    plan: Plan,
    cells: list[PlannedCell],
    built: Mapping[str, Built],
    folder: Path,
    progress: Progress,
    interim: Interim | None = None,
    keeper: Keeper = NO_KEEPER,
) -> tuple[Launches, dict[str, str]]:
    """Launch the cells that have an artifact until each has enough; the records of each, in order.

    With ``interim`` (results of launches so far) those get no further ones that cannot be the
    answer to the matrix's question; why, by cell, is the second value. Launches found in the folder
    are kept and not made again. ``keeper`` is asked before each launch of a cell: it makes again
    what is missing, and keeps ``built`` up to date; a launch that failed as it went is made again.
    """
    known = read_done(folder, progress)
    with (folder / LAUNCHES_FILE).open("a", encoding="utf-8") as stream:

        def keep(record: dict[str, Any]) -> dict[str, Any]:
            append_launch(stream, record)
            return record

        return launch_rounds(
            plan, cells, built, folder, progress, known, keep, interim=interim, keeper=keeper
        )


def launch_rounds(
    plan: Plan,
    cells: Sequence[PlannedCell],
    built: Mapping[str, Built],
    folder: Path,
    progress: Progress,
    known: Mapping[str, list[dict[str, Any]]],
    keep: Callable[[dict[str, Any]], dict[str, Any]],
    *,
    interim: Interim | None = None,
    keeper: Keeper = NO_KEEPER,
    executor: Executor = HERE,
) -> tuple[Launches, dict[str, str]]:
    """``launch_all`` by an executor, going on from the ``known`` launches.

    ``keep`` gets each record before the next launch begins, and gives what is worked on with. What
    the executor raises ends it.
    """
    by_id = {
        cell.id: cell
        for cell in cells
        if cell.outcome is None and cell.id in built and built[cell.id].outcome.ok
    }
    rules = {name: stopping_rule(cell.cell, plan.matrix) for name, cell in by_id.items()}
    launches = {name: list(records) for name, records in known.items() if name in by_id}
    done = {
        name: forgiven(
            [made(record) for record in records],
            may_have_gone(records, limited=is_limited(by_id[name].cell)),
        )
        for name, records in launches.items()
    }
    decision = None if interim is None else Decision(plan.matrix, interim, most_rounds(rules))
    looked, closed = 0, {} if decision is None else decision.closed
    boxes = BoxesPlan(plan.matrix, by_id, rules, deferred=decision is not None)
    progress.phase("measure", sure_launches(rules, done))
    if next_round(rules, done, plan.matrix.seed) and not executor.machine:
        _say_if_restless(plan.matrix.validity, progress)
    given_up, boxes_folder = "", (folder / PREDICTIONS_FOLDER).resolve()
    # Asked anew after each launch: whether a repeat is worth making may have changed.
    while (coming := upcoming(rules, done, plan.matrix.seed, closed))[0]:
        slot = coming[0][0]
        if decision is not None and looked < slot.launch:
            closed_before = set(closed)
            leader = decision.look(looked + 1, launches, boxes.pending(launches))
            if leader is None:
                looked += 1
                for cell, records in launches.items():
                    if not went_well(records):
                        decision.failed(cell)
                _say_closed(decision, closed_before, progress)
                continue
            slot = LaunchSlot(leader, 1 + max(item.launch for item in done[leader]))
        progress.to_come(coming[1])
        rule, before = rules[slot.cell], done.setdefault(slot.cell, [])
        where = f"{slot.cell} {_which(slot, rule, before)}"
        file = boxes_folder / f"{file_stem(slot.cell, executor)}.npz"
        scored = file if boxes.wanted(slot, launches.get(slot.cell, ())) else None
        keeper(slot.cell)
        record = _launch_one(
            plan,
            by_id[slot.cell],
            built[slot.cell],
            slot,
            folder,
            progress,
            where,
            scored,
            executor,
        )
        record = keep(_blamed_on_store(record, keeper))
        launches.setdefault(slot.cell, []).append(record)
        before.append(made(record))
        if decision is not None and is_over(before):
            decision.failed(slot.cell)
        progress.done(f"{where}: {_said(record, rule)}")
        if not given_up and (given_up := why_no_repeats(rules, done)):
            progress.note(given_up)
    for records in launches.values():
        records.sort(key=lambda record: (record["launch"], record.get("attempt", 0)))
    return launches, dict(closed)


def _say_closed(decision: Decision, before: Collection[str], progress: Progress) -> None:
    """One line on the cells that a look has closed."""
    given_up = sum(bool(why) for cell, why in decision.closed.items() if cell not in before)
    if decision.decided:
        progress.note("the question is decided: no further launches are needed")
    elif given_up:
        cells = "1 cell" if given_up == 1 else f"{given_up} cells"
        progress.note(f"{cells} cannot win: no further launches")


def _say_if_restless(validity: Validity, progress: Progress) -> None:
    """One line before the first launch where the machine has other things to do."""
    progress.now("looking at what else runs")
    if found := restless(validity):
        progress.note(f"restless machine: {found}; {_THEN[validity.on_disturbed]}")


def read_done(folder: Path, progress: Progress) -> Launches:
    """The launches that a run directory has, by cell; damaged lines are set aside."""
    set_damaged_aside(folder, progress)
    done: Launches = {}
    for record in read_launches(folder):
        done.setdefault(record["cell"], []).append(record)
    return done


def set_damaged_aside(folder: Path, progress: Progress) -> None:
    """Leave lines alone that can be read, so that a run goes on from them."""
    if damaged := drop_torn_line(folder, lost=_lost_boxes(folder)):
        progress.note(f"{damaged} damaged lines of {LAUNCHES_FILE} set aside, to be made again")


def _lost_boxes(folder: Path) -> Callable[[Mapping[str, Any]], bool]:
    """Tells a launch whose boxes are gone or damaged, by the checksum that it gave them.

    A cell has one file of boxes, of the last launch that wrote one.
    """

    def lost(record: Mapping[str, Any]) -> bool:
        name, sha256 = record.get("predictions"), record.get("predictions_sha256")
        if not name or not sha256:
            return False
        try:
            return bool(sha256_of(folder / PREDICTIONS_FOLDER / name) != sha256)
        except OSError:
            return True

    return lost


def _which(slot: LaunchSlot, rule: StoppingRule, before: list[Made]) -> str:
    """``launch 2/4``, ``launch 6 (±2.1 %, 12 of 30 s)``, ``launch 1/4 again``."""
    again = " again" if slot.attempt else ""
    if slot.launch < rule.least:
        return f"launch {slot.launch + 1}/{rule.least}{again}"
    width = reached(rule, before)
    so_far = f"{int(spent_s(before))} of {rule.budget_s:g} s"
    if width is not None:
        so_far = f"{percent(width)}, {so_far}"
    return f"launch {slot.launch + 1}{again} ({so_far})"


def _launch_one(
    plan: Plan,
    planned: PlannedCell,
    built: Built,
    slot: LaunchSlot,
    folder: Path,
    progress: Progress,
    where: str,
    boxes: Path | None,
    executor: Executor,
) -> dict[str, Any]:
    cell, model = planned.cell, plan.models[planned.cell.model]
    assert built.artifact is not None  # noqa: S101 - for the type checker: its outcome was ok
    first = slot.launch == 0 and slot.attempt == 0
    task = LaunchTask(
        slot=slot,
        cell=cell,
        threads=planned.threads,
        artifact=built.artifact,
        images=model.scored[cell.imgsz].path,
        e2e_images=[image.path for image in model.dataset.scored[:E2E_IMAGES]],
        predictions=boxes,
        inspect=first,
        burst_limits=plan.matrix.validity.burst_limits(),
    )
    progress.now(where)
    record = launch(
        task,
        folder / LOGS_FOLDER / f"{file_stem(cell.id, executor)}.log",
        on_message=lambda message: progress.now(f"{where} {message.get('phase', '')}"),
        executor=executor,
    )
    conditions = record.get("conditions")
    reasons = disturbances(conditions, plan.matrix.validity) if conditions else []
    return {**record, "disturbed": reasons}


def _blamed_on_store(record: dict[str, Any], keeper: Keeper) -> dict[str, Any]:
    """The record of a launch; one that failed as the store was changed is made again."""
    if record["status"] == "ok" or keeper.as_found(record["cell"]):
        return record
    return {**record, "outside": True, "reason": f"{record['reason']}{_MEANWHILE}"}


def _said(record: Mapping[str, Any], rule: StoppingRule) -> str:
    """How a launch ended. By what one that counts was disturbed is told at the end, of all."""
    if record["status"] != "ok":
        return f"{record['status']}: {record['reason']}"
    times = sorted(record["latency_ns"])
    said = f"p50 {times[len(times) // 2] / 1e6:.2f} ms ({duration_text(record['duration_s'])})"
    if record.get("set_aside_ns"):
        said += f", from {record['quiet_bursts']} quiet of {record['bursts']} bursts"
    if not record["disturbed"]:
        return said
    by = "" if rule.marks else f": {'; '.join(record['disturbed'])}"
    return f"{said}, disturbed{by}"

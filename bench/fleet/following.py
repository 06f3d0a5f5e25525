"""Every device of a fleet followed through its launches, each by a thread, all into one file."""

from __future__ import annotations

import dataclasses
import threading
from array import array
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from deploymark.bench.fleet.finish import Finished, built_of
from deploymark.bench.fleet.fleet_run import FleetRun
from deploymark.bench.fleet.preflight import Member
from deploymark.bench.fleet.remote import DeviceGoneError
from deploymark.bench.fleet.roster import Fleet, StoppedError
from deploymark.bench.progress import Progress
from deploymark.bench.records.launches import LAUNCHES_FILE, Record, append_launch
from deploymark.bench.run.decision import can_be_decided
from deploymark.bench.run.memory_pass import weigh_cells
from deploymark.bench.run.results import InterimResults
from deploymark.bench.run.rounds import launch_rounds

Launches = Mapping[str, list[dict[str, Any]]]

_TIMES = ("latency_ns", "set_aside_ns", "e2e_ns")
_JOIN_S = 0.5


class Told(Progress):
    """The progress of one device: its lines, marked, among those of the others."""

    def __init__(self, progress: Progress, name: str, lock: threading.Lock) -> None:
        super().__init__()
        self._progress, self._name, self._lock = progress, name, lock

    def phase(self, name: str, total: int) -> None:
        """Begin a phase of ``total`` steps."""
        del name
        self._total, self._done = total, 0

    def to_come(self, steps: int) -> None:
        """So many steps are to come in this phase."""
        self._total = self._done + steps

    def note(self, line: str) -> None:
        """Something to know of the device."""
        with self._lock:
            self._progress.note(f"{self._name}: {line}")

    def now(self, what: str) -> None:
        """What the device is doing."""
        with self._lock:
            self._progress.now(f"{self._name}: {what}")

    def done(self, what: str) -> None:
        """One step done."""
        self._done += 1
        with self._lock:
            self._progress.note(f"{self._name} [{self._done}/{self._total}] {what}")


def packed(record: Record) -> dict[str, Any]:
    """A record whose times take 8 bytes each: a fleet's launches are all in memory at the end."""
    times = {name: array("q", record[name]) for name in _TIMES if record.get(name)}
    return {**record, **times}


def measure(
    run: FleetRun,
    fleet: Fleet,
    known: Mapping[str, Launches],
    weighed: Mapping[str, Launches],
    progress: Progress,
) -> list[Finished]:
    """All devices at once, a thread each; raises what ended one, once all have stopped."""
    finished: list[Finished] = []
    failures: list[BaseException] = []
    lock = threading.Lock()
    progress.phase("measure", 0)
    with (run.folder / LAUNCHES_FILE).open("a", encoding="utf-8") as stream:

        def follow(member: Member) -> None:
            told = Told(progress, member.name, lock)
            try:
                done = _follow(run, member, known, weighed, stream, told)
                with lock:
                    finished.append(done)
            except StoppedError:
                return
            except BaseException as error:  # noqa: BLE001 - raised again by the main thread
                failures.append(error)
                fleet.stop()

        threads = [
            threading.Thread(target=follow, args=(member,), name=f"fleet-{member.name}")
            for member in run.members
        ]
        try:
            for thread in threads:
                thread.start()
            _join(threads)
        except BaseException:
            fleet.stop()
            _join(threads)
            raise
    if failures:
        raise failures[0]
    return sorted(finished, key=lambda item: item.member.name)


def _join(threads: Sequence[threading.Thread]) -> None:
    for thread in threads:
        while thread.is_alive():  # a join without end hears no signal
            thread.join(_JOIN_S)


def _follow(
    run: FleetRun,
    member: Member,
    known: Mapping[str, Launches],
    weighed: Mapping[str, Launches],
    stream: TextIO,
    told: Told,
) -> Finished:
    """The launches of one device, and its memory pass."""
    plan, cells = member.plan, list(member.plan.cells)
    built = built_of(member)
    before = known.get(member.name, {})
    made: dict[str, list[dict[str, Any]]] = {cell: list(of) for cell, of in before.items()}

    def keep(record: Mapping[str, Any]) -> dict[str, Any]:
        append_launch(stream, record)
        kept = packed(record)
        made.setdefault(kept["cell"], []).append(kept)
        return kept

    interim = None
    if can_be_decided(plan):
        interim = InterimResults(plan, cells, built, run.folder, run.info)
    finished = Finished(member, made, {}, dict(weighed.get(member.name, {})))
    try:
        launches, closed = launch_rounds(
            plan,
            cells,
            built,
            run.folder,
            told,
            before,
            keep,
            interim=interim,
            executor=member.remote,
        )
        finished = dataclasses.replace(finished, launches=launches, closed=closed)
        weighings = weigh_cells(
            plan,
            cells,
            built,
            launches,
            closed,
            run.folder,
            told,
            executor=member.remote,
            known=dict(finished.weighed),
        )
        return dataclasses.replace(finished, weighed=weighings)
    except DeviceGoneError as error:
        run.gone[member.name] = str(error)
        told.note(f"{error}; the run goes on without it")
        return dataclasses.replace(finished, gone=str(error))

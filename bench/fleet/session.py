"""A fleet's run: every device goes through its own rounds, into one run directory."""

from __future__ import annotations

import dataclasses
import shlex
import tempfile
import threading
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from filelock import FileLock, Timeout

from deploymark.bench import interruptions
from deploymark.bench.errors import BadInputError, FleetError, StorageError
from deploymark.bench.fleet.finish import Finished, built_of, finish
from deploymark.bench.fleet.preflight import Member, check_served, check_versions, gather
from deploymark.bench.fleet.remote import DeviceGoneError
from deploymark.bench.fleet.roster import Fleet, StoppedError
from deploymark.bench.matrix.request import RunRequest
from deploymark.bench.progress import Progress
from deploymark.bench.records.launches import LAUNCHES_FILE, Record, append_launch, read_launches
from deploymark.bench.records.memory import MEMORY_LINES_FILE
from deploymark.bench.records.run import RunInfo, write_run_info, write_variants
from deploymark.bench.run import bundled
from deploymark.bench.run.bundling import pack
from deploymark.bench.run.decision import can_be_decided
from deploymark.bench.run.memory_pass import read_weighed, weigh_cells
from deploymark.bench.run.results import InterimResults
from deploymark.bench.run.rounds import launch_rounds, read_done
from deploymark.bench.run.run_folder import (
    check_same_inputs,
    create,
    describe,
    discard,
    has_launches,
    point_latest,
    reopen,
)
from deploymark.bench.run.timings import Timings
from deploymark.bench.store import Store

Launches = Mapping[str, list[dict[str, Any]]]

_TIMES = ("latency_ns", "set_aside_ns", "e2e_ns")
_JOIN_S = 0.5


@dataclasses.dataclass
class FleetRun:
    """A run that is ready to start or to go on; ``gone`` are devices that left, and when."""

    members: Sequence[Member]
    info: RunInfo
    folder: Path
    resumed: bool
    gone: dict[str, str] = dataclasses.field(default_factory=dict)

    def how_to_go_on(self) -> str:
        """What is left of a run that was stopped, and the command that goes on; half a sentence."""
        if self.resumed or has_launches(self.folder):
            return f"go on with: {resume_command(self.folder, self.info)}"
        discard(self.folder)
        return "nothing was measured yet, and its folder is removed"


def resume_command(folder: Path, info: RunInfo) -> str:
    """The command that goes on with a fleet's run."""
    reached = shlex.join(map(str, info.bundle["fleet"]))
    return f"deploymark fleet --resume {shlex.quote(str(folder))} {reached}"


def bundle_of(
    request: RunRequest, store: Store, progress: Progress
) -> tuple[str, bundled.Unpacked]:
    """The bundle that a request names, or one made of its matrix; its file, empty for the latter.

    Raises BadInputError.
    """
    if request.matrix is not None and request.matrix.endswith(".dmb"):
        if request != RunRequest(matrix=request.matrix, select=request.select):
            raise BadInputError(
                "a bundle is measured as it was made: of the options that choose it takes -k alone"
            )
        file = Path(request.matrix)
        return str(file.absolute()), bundled.unpack(file, store, progress)
    with tempfile.TemporaryDirectory(prefix="deploymark-") as folder:
        packed = pack(request, Path(folder) / "matrix.dmb")
        return "", bundled.unpack(packed.path, store, progress)


def begin(
    fleet: Fleet,
    bundle: bundled.Unpacked,
    file: str,
    select: str,
    results: Path,
    wait_s: float,
    reached: Sequence[str],
    progress: Progress,
) -> FleetRun:
    """Ask the devices, and make the run directory; ``reached`` are the options that reach them.

    Raises FleetError and BadInputError.
    """
    members = _members(fleet, bundle, select, wait_s, progress)
    info = describe(members[0].plan)
    info.packages = {}
    info.bundle = {
        "file": file,
        "sha256": bundle.sha256,
        "python": None,
        "fleet": list(reached),
    }
    _tell_machines(info, members)
    with interruptions.held():
        folder = create(info, results)
        run = FleetRun(members, info, folder, resumed=False)
        interruptions.advise(run.how_to_go_on)
    try:
        bundled.hand_over(bundle, info, folder)
        write_run_info(folder, info)
        if bundle.manifest.variants:
            write_variants(folder, bundle.manifest.variants)
    except BaseException:
        discard(folder)
        raise
    return run


def go_on(
    fleet: Fleet, folder: Path, wait_s: float, reached: Sequence[str], progress: Progress
) -> FleetRun:
    """Go on with a fleet's run that was stopped. Raises FleetError and BadInputError."""
    info, _ = reopen(folder)
    if not info.bundle.get("fleet"):
        raise BadInputError(
            f"{folder} is no run of a fleet",
            remedy=f"Go on with: deploymark run --resume {folder}",
        )
    bundle = bundled.again(info.bundle, Store(), progress)
    members = _members(fleet, bundle, info.selection, wait_s, progress)
    check_same_inputs(info, members[0].plan)
    info.bundle["fleet"] = list(reached)
    known = dict(info.machines)
    _tell_machines(info, members)
    run = FleetRun(members, info, folder.resolve(), resumed=True)
    for name in known.keys() - info.machines.keys():
        run.gone[name] = f"device {name} is not there any more"
    info.machines = {**known, **info.machines}
    for name, before in known.items():
        if before.get("cpu") != info.machines[name].get("cpu"):
            raise BadInputError(
                f"{folder}: device {name} was a {before.get('cpu')} and is a "
                f"{info.machines[name].get('cpu')} now",
                remedy="Give the Dask workers names that stay: dask worker --name NAME.",
            )
    write_run_info(run.folder, info)
    interruptions.advise(run.how_to_go_on)
    return run


def _members(
    fleet: Fleet, bundle: bundled.Unpacked, select: str, wait_s: float, progress: Progress
) -> list[Member]:
    progress.say("asking the devices")
    for note in check_versions(fleet.versions()):
        progress.note(note)
    lock = threading.Lock()

    def say(name: str, text: str) -> None:
        with lock:
            progress.note(f"{name}: {text}" if name else text)

    return gather(fleet, bundle, select, wait_s, say)


def _tell_machines(info: RunInfo, members: Sequence[Member]) -> None:
    info.machines = {
        member.name: {**member.machine, "packages": dict(member.plan.packages)}
        for member in members
    }


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


def carry_out(run: FleetRun, fleet: Fleet, progress: Progress) -> int:
    """Measure on all devices at once, and write the run's results; its exit code.

    Every finished launch is on disk before its device begins the next. Raises FleetError where the
    scheduler is gone, StorageError where the disk is full, BadInputError where another process is
    at the run.
    """
    timings = Timings(run.info.timings)
    try:
        with FileLock(run.folder / ".lock").acquire(timeout=0):
            known, weighed = _known(run.folder, progress)
            for line in check_served(run.members):
                progress.note(line)
            with timings.part("measure_s"):
                finished = measure(run, fleet, known, weighed, progress)
            point_latest(run.folder)
            finished += _absent(run, known, weighed)
            return finish(run.info, run.folder, finished, progress)
    except Timeout:
        raise BadInputError(f"{run.folder}: another process is at this run") from None
    except (FleetError, StorageError) as error:
        raise type(error)(
            f"{error.message}; what was finished is kept",
            remedy=f"{error.remedy} Go on with: {resume_command(run.folder, run.info)}".strip(),
        ) from error


def _known(folder: Path, progress: Progress) -> tuple[dict[str, Launches], dict[str, Launches]]:
    """The launches and the weighings that the folder has, by device and cell."""
    launches: dict[str, dict[str, list[dict[str, Any]]]] = {}
    read_done(folder, progress)  # sets damaged lines aside
    for record in read_launches(folder):
        of_device = launches.setdefault(str(record.get("machine")), {})
        of_device.setdefault(record["cell"], []).append(packed(record))
    weighed: dict[str, dict[str, list[dict[str, Any]]]] = {}
    read_weighed(folder)
    for record in read_launches(folder, MEMORY_LINES_FILE):
        of_device = weighed.setdefault(str(record.get("machine")), {})
        of_device.setdefault(record["cell"], []).append(record)
    return {**launches}, {**weighed}


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


def _absent(
    run: FleetRun, known: Mapping[str, Launches], weighed: Mapping[str, Launches]
) -> list[Finished]:
    """Devices of a run that is gone on with that are not there any more, as they were left."""
    present = {member.name for member in run.members}
    first = run.members[0]
    return [
        Finished(
            dataclasses.replace(
                first,
                device=dataclasses.replace(first.device, name=name),
                machine=run.info.machines[name],
            ),
            dict(known.get(name, {})),
            {},
            dict(weighed.get(name, {})),
            gone=why,
        )
        for name, why in run.gone.items()
        if name not in present
    ]

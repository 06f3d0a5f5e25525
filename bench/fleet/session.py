"""A fleet's run: every device goes through its own rounds, into one run directory."""

from __future__ import annotations

import dataclasses
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from deploymark.bench import interruptions
from deploymark.bench.errors import BadInputError, FleetError, StorageError
from deploymark.bench.fleet.finish import Finished, finish
from deploymark.bench.fleet.fleet_run import FleetRun, resume_command
from deploymark.bench.fleet.following import Launches, measure, packed
from deploymark.bench.fleet.preflight import Member, check_served, check_versions, gather
from deploymark.bench.fleet.roster import Fleet
from deploymark.bench.matrix.request import RunRequest
from deploymark.bench.progress import Progress
from deploymark.bench.records.launches import read_launches
from deploymark.bench.records.memory import MEMORY_LINES_FILE
from deploymark.bench.records.run import RunInfo, write_run_info, write_variants
from deploymark.bench.run import bundled
from deploymark.bench.run.bundling import pack
from deploymark.bench.run.memory_pass import read_weighed
from deploymark.bench.run.rounds import set_damaged_aside
from deploymark.bench.run.run_folder import (
    check_same_inputs,
    create,
    describe,
    discard,
    point_latest,
    reopen,
)
from deploymark.bench.run.timings import Timings
from deploymark.bench.store import Store


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

    members = gather(fleet, bundle, select, wait_s, say)
    for line in check_served(members):
        progress.note(line)
    return members


def _tell_machines(info: RunInfo, members: Sequence[Member]) -> None:
    info.machines = {
        member.name: {**member.machine, "packages": dict(member.plan.packages)}
        for member in members
    }


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
    set_damaged_aside(folder, progress)
    for record in read_launches(folder):
        of_device = launches.setdefault(str(record.get("machine")), {})
        of_device.setdefault(record["cell"], []).append(packed(record))
    weighed: dict[str, dict[str, list[dict[str, Any]]]] = {}
    read_weighed(folder)
    for record in read_launches(folder, MEMORY_LINES_FILE):
        of_device = weighed.setdefault(str(record.get("machine")), {})
        of_device.setdefault(record["cell"], []).append(record)
    return {**launches}, {**weighed}


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

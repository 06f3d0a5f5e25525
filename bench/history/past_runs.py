"""The finished runs below a folder, grouped by the machine that they ran on."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import math
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from deploymark.bench.errors import BadInputError, StorageError
from deploymark.bench.records.files import dump_json
from deploymark.bench.records.machines import parts, title
from deploymark.bench.records.run import RUN_FILE, CellResult, RunInfo, load_run, read_run_info
from deploymark.bench.records.trends import Skipped

MOST_RUNS = 200
"""Newest runs of a machine that a history looks at."""

DEEPEST = 3
"""Levels below the folder that are searched: CI systems unpack each artifact into its own."""

_KERNEL_FLAGS = re.compile(r"(amx|asimd|avx|bf16|dotprod|f16c|fma|fp16|i8mm|neon|sme|sse|ssse|sve)")
"""Flags that decide which kernels a runtime picks. Others come and go with a kernel's update."""

_ID_LENGTH = 8

_RUN_INFO = TypeAdapter(RunInfo)


@dataclasses.dataclass(frozen=True)
class FoundRun:
    """A finished run whose ``run.json`` was read; its ``cells`` are, too, where they are there."""

    folder: Path
    info: RunInfo
    started: dt.datetime
    cells: tuple[CellResult, ...] | None = None

    @property
    def name(self) -> str:
        """The name of its directory; of a part of a fleet's run with that of its machine."""
        return title(self.folder)

    @property
    def host(self) -> str | None:
        """The machine's own name."""
        host = self.info.machine.get("host")
        return None if host is None else str(host)


@dataclasses.dataclass(frozen=True)
class MachineRuns:
    """Runs of machines that are alike, oldest first."""

    machine: str
    name: str
    settings: dict[str, Any]
    runs: tuple[FoundRun, ...]

    @property
    def hosts(self) -> list[str]:
        """The names of the machines, in order of appearance."""
        return list(dict.fromkeys(run.host for run in self.runs if run.host is not None))


def _rounded(value: object, unit: float) -> int | None:
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return round(value / unit)


def _texts(value: object) -> list[str]:
    """A list as texts; nothing where some other program wrote no list."""
    return [str(item) for item in value] if isinstance(value, list) else []


def _plain(value: object) -> str | int | None:
    """A setting as it is compared and written."""
    return value if value is None or isinstance(value, (str, int)) else str(value)


def _gpu(line: str) -> str:
    """``name, driver, memory`` of nvidia-smi without the driver, whose update is no new machine."""
    parts = [part.strip() for part in line.split(",")]
    return ", ".join(dict.fromkeys((parts[0], parts[-1])))


def machine_settings(machine: Mapping[str, Any], *, by_host: bool = False) -> dict[str, Any]:
    """What makes two runs those of one machine: its hardware, and how it is set.

    The host's name is left out unless ``by_host``, as machines of a CI provider have a new one each
    time. Updates of the kernel, the distribution, drivers and Python are no other machine: they are
    what a change may come from.
    """
    system = str(machine.get("os") or "").partition(" ")[0]
    flags = _texts(machine.get("cpu_flags"))
    settings: dict[str, Any] = {
        "cpu": _plain(machine.get("cpu")),
        "cpu_features": sorted(flag for flag in flags if _KERNEL_FLAGS.match(flag.lower())),
        "cores_physical": _plain(machine.get("cores_physical")),
        "cores_usable": _plain(machine.get("cores_usable")),
        "frequency_max_100_mhz": _rounded(machine.get("frequency_max_mhz"), 100.0),
        "memory_gib": _rounded(machine.get("memory_bytes"), 2.0**30),
        "gpus": sorted(_gpu(line) for line in _texts(machine.get("gpus"))),
        "architecture": _plain(machine.get("architecture")),
        "system": system or None,
        "governor": _plain(machine.get("governor")),
        "turbo_off": _plain(machine.get("turbo_off")),
        "smt": _plain(machine.get("smt")),
        "virtualization": _plain(machine.get("virtualization")),
        "cgroup_cpu_max": _plain(machine.get("cgroup_cpu_max")),
    }
    if by_host:
        settings["host"] = _plain(machine.get("host"))
    return settings


def machine_id(settings: Mapping[str, Any]) -> str:
    """Eight hexadecimal digits that stand for the settings of a machine."""
    text = dump_json(dict(sorted(settings.items())), indent=None)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:_ID_LENGTH]


def machine_name(settings: Mapping[str, Any]) -> str:
    """Processor, cores, memory, GPUs and governor in one line, as far as they are known."""
    cores, memory = settings["cores_usable"], settings["memory_gib"]
    parts = [
        settings.get("host"),
        settings["cpu"] or "unknown processor",
        f"{cores} cores" if cores else None,
        f"{memory} GiB" if memory else None,
        *settings["gpus"],
        f"governor {settings['governor']}" if settings["governor"] else None,
    ]
    return ", ".join(str(part) for part in parts if part)


def _run_folders(folder: Path, depth: int) -> Iterator[Path]:
    """Folders with a ``run.json``, at most ``depth`` levels below. Links are not followed."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(item.name for item in entries if item.is_dir(follow_symlinks=False))
    except OSError:
        return  # nothing of ours can be read there
    for name in names:
        inner = folder / name
        if (inner / RUN_FILE).is_file():
            yield inner
        elif depth > 1 and not name.startswith("."):
            yield from _run_folders(inner, depth - 1)


def _started(info: RunInfo) -> dt.datetime:
    started = dt.datetime.fromisoformat(info.started)
    return started if started.tzinfo else started.replace(tzinfo=dt.UTC)


def read_past_run(folder: Path) -> FoundRun:
    """Read ``run.json``, whoever wrote it. Raises BadInputError where it is none of ours."""
    try:
        info = _RUN_INFO.validate_python(dataclasses.asdict(read_run_info(folder)))
        return FoundRun(folder, info, _started(info))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise BadInputError(f"{folder / RUN_FILE}: {place}: {first['msg']}") from error
    except ValueError as error:
        raise BadInputError(f"{folder / RUN_FILE}: started: {error}") from error


def find_runs(results: Path, *, depth: int = DEEPEST) -> tuple[list[FoundRun], list[Skipped]]:
    """The finished runs below a folder, oldest first, and those that are left out.

    A run that was copied to two places counts once.
    """
    found: dict[tuple[str, str], FoundRun] = {}
    skipped = []
    for folder in _run_folders(results, depth):
        try:
            run = read_past_run(folder)
        except BadInputError as error:
            skipped.append(Skipped(str(folder), error.message))
            continue
        if run.info.finished is None:
            skipped.append(Skipped(str(folder), "the run has no end: under way, or cut off"))
            continue
        for part in _by_its_machines(run, skipped):
            found.setdefault((part.name, part.info.started), part)
    return sorted(found.values(), key=lambda run: (run.started, run.name)), skipped


def _by_its_machines(run: FoundRun, skipped: list[Skipped]) -> list[FoundRun]:
    """The run; that of a fleet as one run of each of its machines."""
    if not run.info.machines:
        return [run]
    try:
        return [read_past_run(part) for part in parts(run.folder)]
    except (BadInputError, StorageError) as error:
        skipped.append(Skipped(str(run.folder), error.message))
        return []


def by_machine(
    runs: list[FoundRun], *, by_host: bool = False, most_runs: int = MOST_RUNS
) -> list[MachineRuns]:
    """The newest runs of each machine; the machine that ran last comes first."""
    groups: dict[str, tuple[dict[str, Any], list[FoundRun]]] = {}
    for run in runs:
        settings = machine_settings(run.info.machine, by_host=by_host)
        groups.setdefault(machine_id(settings), (settings, []))[1].append(run)
    machines = [
        MachineRuns(key, machine_name(settings), settings, tuple(some[-most_runs:]))
        for key, (settings, some) in groups.items()
    ]
    return sorted(machines, key=lambda machine: machine.runs[-1].started, reverse=True)


def read_cells(run: FoundRun) -> tuple[CellResult, ...]:
    """The cells of a run. Raises BadInputError where they cannot be read, whoever wrote them."""
    if run.cells is not None:
        return run.cells
    try:
        cells = load_run(run.folder).cells
    except AttributeError as error:
        raise BadInputError(f"{run.folder}: its cells are no objects") from error
    names: list[object] = [cell.cell for cell in cells]
    if not all(isinstance(name, str) for name in names):
        raise BadInputError(f"{run.folder}: the name of a cell is no text")
    return cells

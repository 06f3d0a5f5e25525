"""The machines of a fleet's run: each one's part as a run directory of its own.

A fleet writes one run directory: rows of ``cells.json`` and lines of ``launches.jsonl`` name their
``machine``, ``run.json`` has the fingerprints of all (``machines``). ``RUN/machines/NAME/`` has
what is of one of them in the form of an ordinary run, so that whatever reads a run reads it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import shutil
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from deploymark.bench.errors import BadInputError
from deploymark.bench.records.energy import ENERGY_FILE
from deploymark.bench.records.files import sha256_of
from deploymark.bench.records.launches import LAUNCHES_FILE, Record, append_launch, read_launches
from deploymark.bench.records.memory import MEMORY_LINES_FILE
from deploymark.bench.records.run import (
    CELLS_FILE,
    FIDELITY_FILE,
    FIDELITY_FOLDER,
    LABELS_STEM,
    LOGS_FOLDER,
    PREDICTIONS_FOLDER,
    RUN_FILE,
    SAMPLES_FILE,
    VARIANTS_FILE,
    Run,
    load_run,
    read_run_info,
    write_cells,
    write_run_info,
)
from deploymark.bench.room import writing

MACHINES_FOLDER = "machines"

_LINES = (LAUNCHES_FILE, MEMORY_LINES_FILE, ENERGY_FILE)
_SHARED = (VARIANTS_FILE, FIDELITY_FILE, f"{FIDELITY_FOLDER}/*", f"{LABELS_STEM}-*.json")
_NAME = re.compile(r"\w[\w.-]{0,100}")


def parts(folder: Path) -> list[Path]:
    """The parts of a fleet's run, by machine; the folder itself for a run of one machine.

    So for what is no run: whoever reads it tells. Parts are written where they are not there yet or
    are older than the run's cells. Raises BadInputError for a run without cells, StorageError where
    it cannot be written.
    """
    try:
        machines = read_run_info(folder).machines
    except BadInputError:
        return [folder]
    if not machines:
        return [folder]
    run = load_run(folder)
    _check_names(folder, machines)
    found = [folder / MACHINES_FOLDER / name for name in sorted(run.info.machines)]
    cells = (folder / CELLS_FILE).stat().st_mtime_ns
    if any(_age(part) < cells for part in found):
        split(run)
    return found


def expanded(folders: Sequence[Path]) -> list[Path]:
    """Run directories with the parts of each fleet's run in its place."""
    return [part for folder in folders for part in parts(folder)]


def title(folder: Path) -> str:
    """The name of a run: its folder's, and for a part of a fleet's run ``RUN.MACHINE``."""
    folder = folder.resolve()
    return f"{folder.parents[1].name}.{folder.name}" if _is_part(folder) else folder.name


def machine_of_part(folder: Path) -> str | None:
    """The machine whose part of a fleet's run a folder is; None where it is none."""
    folder = folder.resolve()
    return folder.name if _is_part(folder) else None


def _is_part(folder: Path) -> bool:
    return folder.parent.name == MACHINES_FOLDER and (folder.parents[1] / RUN_FILE).is_file()


def require_one_machine(run: Run) -> None:
    """Raise BadInputError for a fleet's run, where one machine has to be named."""
    if run.info.machines:
        names = ", ".join(sorted(run.info.machines))
        raise BadInputError(
            f"{run.folder} is a run of several machines: {names}",
            remedy=f"Name the part of one: {run.folder / MACHINES_FOLDER / min(run.info.machines)}",
        )


def _age(part: Path) -> int:
    try:
        return (part / RUN_FILE).stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def split(run: Run) -> None:
    """Write the part of each machine below ``machines/``; parts that are there are made anew.

    Raises BadInputError for a machine's name that is no name of a folder, StorageError.
    """
    _check_names(run.folder, run.info.machines)
    with writing(run.folder):
        for name in run.info.machines:
            _write_part(run, name)


def _check_names(folder: Path, names: Collection[str]) -> None:
    for name in names:
        if not _NAME.fullmatch(name):
            raise BadInputError(f"{folder / RUN_FILE}: machines: {name!r} is no machine's name")


def _write_part(run: Run, name: str) -> None:
    place = run.folder / MACHINES_FOLDER / name
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    for pattern in _SHARED:
        for path in run.folder.glob(pattern):
            _same(path, place / path.relative_to(run.folder))
    for folder, ending in ((PREDICTIONS_FOLDER, ".npz"), (LOGS_FOLDER, ".log")):
        for path in (run.folder / folder).glob(f"*@{name}{ending}"):
            _same(path, place / folder / f"{path.name.removesuffix(f'@{name}{ending}')}{ending}")
    for file in _LINES:
        _write_lines(run.folder, place, file, name)
    checksums = {}
    if (
        sha256 := _write_samples(run.folder / SAMPLES_FILE, place / SAMPLES_FILE, name)
    ) is not None:
        checksums[SAMPLES_FILE] = sha256
    write_cells(place, [cell for cell in run.cells if cell.machine == name])
    info = dataclasses.replace(
        run.info, machine=run.info.machines[name], machines={}, checksums=checksums
    )
    # last: what is older than the run's cells is made anew
    write_run_info(place, info)


def _same(path: Path, target: Path) -> None:
    """The same file at another place: linked, where that can be."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(path, target)
    except OSError:
        shutil.copy2(path, target)


def _write_lines(folder: Path, place: Path, file: str, name: str) -> None:
    if not (folder / file).is_file():
        return
    with (place / file).open("a", encoding="utf-8") as stream:
        for record in _of_machine(folder, file, name):
            append_launch(stream, record)


def _of_machine(folder: Path, file: str, name: str) -> Iterator[Record]:
    for record in read_launches(folder, file):
        if record.get("machine") == name:
            boxes = record.get("predictions")
            own = {"predictions": f"{record['cell']}.npz"} if boxes else {}
            yield {**record, **own}


def _write_samples(path: Path, target: Path, name: str) -> str | None:
    """The samples of one machine, and their SHA-256; None where the run has none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with contextlib.suppress(FileNotFoundError, pa.ArrowInvalid):
        table = pq.read_table(path, filters=[("machine", "==", name)])
        pq.write_table(table.drop_columns(["machine"]), target, compression="zstd")
        return sha256_of(target)
    return None

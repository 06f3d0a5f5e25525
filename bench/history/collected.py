"""Many runs in one data set: cells and launches as Parquet, partitioned by machine.

``runs/machine=ID/…``, ``cells/machine=ID/…`` and ``launches/machine=ID/…`` hold a file for each
collection: DuckDB, pandas and Arrow read them as they are. A folder, or an object store that
pyarrow has a file system for (``s3://…``, ``gs://…``). A run that is in it already is not added
again, and nothing in it is ever changed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import json
import re
import statistics
import tempfile
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from deploymark.bench.errors import BadInputError
from deploymark.bench.history.past_runs import (
    FoundRun,
    by_machine,
    find_runs,
    read_cells,
    read_past_run,
)
from deploymark.bench.records.files import dump_json, known, printable, read_beside
from deploymark.bench.records.launches import LAUNCHES_FILE, Record, read_launches
from deploymark.bench.records.run import (
    CELLS_FILE,
    RUN_FILE,
    VARIANTS_FILE,
    CellResult,
    RunInfo,
)
from deploymark.bench.records.trends import Skipped

MARK = "deploymark-dataset.json"
"""The file that tells a data set from a folder of runs."""

DATASET_VERSION = 1

_BESIDE = (VARIANTS_FILE, "answer.json", "scenarios.json")
"""Small files of a run that its reports read, kept whole."""

_TYPES: Mapping[str, pa.DataType] = {
    "str": pa.string(),
    "Status": pa.string(),
    "bool": pa.bool_(),
    "int": pa.int64(),
    "float": pa.float64(),
    "list[str]": pa.list_(pa.string()),
    "int | str": pa.string(),
}

_OF_RUN = pa.schema(
    [
        ("run", pa.string()),
        ("started", pa.timestamp("us", tz="UTC")),
        ("host", pa.string()),
        ("git_commit", pa.string()),
        ("deploymark_version", pa.string()),
    ]
)
"""What every row of every table says of its run."""


def _cells_schema() -> pa.Schema:
    fields = [
        pa.field(field.name, _TYPES[str(field.type).removesuffix(" | None")])
        for field in dataclasses.fields(CellResult)
    ]
    return pa.schema([*_OF_RUN, *fields])


SCHEMAS: Mapping[str, pa.Schema] = {
    "runs": pa.schema(
        [*_OF_RUN, ("finished", pa.string()), ("info", pa.string()), ("beside", pa.string())]
    ),
    "cells": _cells_schema(),
    "launches": pa.schema(
        [
            *_OF_RUN,
            ("cell", pa.string()),
            ("launch", pa.int64()),
            ("status", pa.string()),
            ("disturbed", pa.bool_()),
            ("launch_started", pa.string()),
            ("duration_s", pa.float64()),
            ("iterations", pa.int64()),
            ("latency_p50_ms", pa.float64()),
            ("record", pa.string()),
        ]
    ),
}
"""The tables. ``info`` is ``run.json``, ``record`` the line of ``launches.jsonl``, as JSON."""


@dataclasses.dataclass(frozen=True)
class Collected:
    """What a collection did: runs that were added, that were there already, that were left out."""

    added: tuple[str, ...]
    present: tuple[str, ...]
    skipped: tuple[Skipped, ...]


@dataclasses.dataclass(frozen=True)
class _Place:
    """A data set: a file system, and the folder in it."""

    system: pafs.FileSystem
    folder: str
    told: str

    def has(self, name: str) -> bool:
        """Whether there is such a file or folder."""
        info = self.system.get_file_info(f"{self.folder}/{name}")
        return bool(info.type != pafs.FileType.NotFound)

    def table(self, name: str, columns: Sequence[str], only: Collection[str] | None) -> pa.Table:
        """Some columns of a table, of the runs ``only``; all of them where it is None."""
        folder = f"{self.folder}/{name}"
        if not self.has(name):
            return SCHEMAS[name].empty_table().select([*columns])
        schema = pa.schema([*SCHEMAS[name], ("machine", pa.string())])
        partitioning = ds.partitioning(pa.schema([("machine", pa.string())]), flavor="hive")
        found = ds.dataset(
            folder, schema, format="parquet", filesystem=self.system, partitioning=partitioning
        )
        chosen = None if only is None else ds.field("run").isin(list(only))
        return found.to_table(columns=[*columns], filter=chosen)


def _place(name: str) -> _Place:
    """Where a data set is. Raises BadInputError for an address that no file system is for."""
    try:
        if "://" in name:
            system, folder = pafs.FileSystem.from_uri(name)
        else:
            system, folder = pafs.LocalFileSystem(), str(Path(name).absolute())
    except (OSError, ValueError, pa.ArrowException, ImportError) as error:
        raise BadInputError(
            f"{name}: no file system is known for it: {error}",
            remedy="Give a folder, or an address such as s3://bucket/folder.",
        ) from error
    return _Place(system, folder.rstrip("/"), name)


def is_dataset(name: str) -> bool:
    """Whether there is a data set of runs. Raises BadInputError for one of another version."""
    if "://" not in name and not (Path(name) / MARK).is_file():
        return False
    place = _place(name)
    if not place.has(MARK):
        return False
    _check_version(place)
    return True


def _check_version(place: _Place) -> None:
    try:
        with place.system.open_input_stream(f"{place.folder}/{MARK}") as stream:
            found = json.loads(stream.read())["dataset_version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInputError(f"{place.told}/{MARK} cannot be read: {error}") from error
    if found != DATASET_VERSION:
        raise BadInputError(
            f"{place.told} is a data set of version {found!r}, this Deploymark reads "
            f"{DATASET_VERSION}",
            remedy="Use the version of Deploymark that wrote it, or a newer one.",
        )


def collect(sources: Sequence[Path], into: str) -> Collected:
    """Append the finished runs of ``sources`` (runs, or folders of runs) to a data set.

    Raises BadInputError where nothing is a run, or the data set cannot be read or written.
    """
    runs, skipped = _found(sources)
    place = _place(into)
    try:
        _prepare(place)
        there = set(place.table("runs", ["run"], None).column("run").to_pylist())
        new = [run for run in runs if run.name not in there]
        added = []
        for machine in by_machine(new, most_runs=max(1, len(new))):
            done, left = _append(place, machine.machine, machine.runs)
            added += done
            skipped += left
    except (OSError, pa.ArrowException) as error:
        raise BadInputError(f"{into} cannot be written: {error}") from error
    present = tuple(run.name for run in runs if run.name in there)
    return Collected(tuple(added), present, tuple(skipped))


def _found(sources: Sequence[Path]) -> tuple[list[FoundRun], list[Skipped]]:
    runs: dict[str, FoundRun] = {}
    skipped: list[Skipped] = []
    for source in sources:
        if not source.is_dir():
            raise BadInputError(f"{source} is no folder", remedy="Name runs, or folders of runs.")
        if (source / RUN_FILE).is_file():
            run = read_past_run(source.resolve())
            if run.info.finished is None:
                skipped.append(Skipped(str(source), "the run has no end: under way, or cut off"))
            else:
                runs.setdefault(run.name, run)
            continue
        some, left = find_runs(source)
        skipped += left
        for run in some:
            runs.setdefault(run.name, run)
    if not runs and not skipped:
        named = ", ".join(str(source) for source in sources)
        raise BadInputError(f"{named}: there is no run", remedy="Name runs, or folders of runs.")
    return sorted(runs.values(), key=lambda run: (run.started, run.name)), skipped


def _prepare(place: _Place) -> None:
    """Make the data set where there is none. Raises BadInputError where something else is there."""
    if place.has(MARK):
        _check_version(place)
        return
    selector = pafs.FileSelector(place.folder, allow_not_found=True)
    if place.system.get_file_info(selector):
        raise BadInputError(
            f"{place.told} is there, and is no data set of runs",
            remedy="Name a folder that is empty or not there yet.",
        )
    place.system.create_dir(place.folder, recursive=True)
    with place.system.open_output_stream(f"{place.folder}/{MARK}") as stream:
        stream.write((dump_json({"dataset_version": DATASET_VERSION}) + "\n").encode())


def _append(
    place: _Place, machine: str, runs: Sequence[FoundRun]
) -> tuple[list[str], list[Skipped]]:
    rows: dict[str, list[dict[str, Any]]] = {"launches": [], "cells": [], "runs": []}
    added, skipped = [], []
    for run in runs:
        try:
            cells, launches = _cell_rows(run), _launch_rows(run)
            rows["runs"].append(_run_row(run))
        except BadInputError as error:
            skipped.append(Skipped(str(run.folder), error.message))
            continue
        rows["cells"] += cells
        rows["launches"] += launches
        added.append(run.name)
    if added:
        # The runs last: a run whose row is there is there whole.
        for name, some in rows.items():
            _write(place, f"{name}/machine={machine}", pa.Table.from_pylist(some, SCHEMAS[name]))
    return added, skipped


def _write(place: _Place, folder: str, table: pa.Table) -> None:
    """A file of its own for each collection, whole or not there."""
    target = f"{place.folder}/{folder}"
    place.system.create_dir(target, recursive=True)
    name = f"{uuid.uuid4().hex}.parquet"
    partial = f"{target}/.{name}.partial"
    pq.write_table(table, partial, filesystem=place.system, compression="zstd")
    place.system.move(partial, f"{target}/{name}")


def _of_run(run: FoundRun) -> dict[str, Any]:
    return {
        "run": run.name,
        "started": run.started,
        "host": run.host,
        "git_commit": run.info.git_commit,
        "deploymark_version": run.info.deploymark_version,
    }


def _run_row(run: FoundRun) -> dict[str, Any]:
    beside = {}
    for name in _BESIDE:
        if (run.folder / name).is_file():
            beside[name] = read_beside(run.folder / name, object)
    info = dataclasses.asdict(run.info)
    return {
        **_of_run(run),
        "finished": run.info.finished,
        "info": dump_json(info, indent=None),
        "beside": dump_json(beside, indent=None),
    }


def _cell_rows(run: FoundRun) -> list[dict[str, Any]]:
    rows = []
    for cell in read_cells(run):
        values = dataclasses.asdict(cell)
        rows.append({**_of_run(run), **values, "imgsz": str(cell.imgsz)})
    try:
        pa.Table.from_pylist(rows, SCHEMAS["cells"])
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise BadInputError(f"{run.folder / CELLS_FILE}: {error}") from error
    return rows


def _launch_rows(run: FoundRun) -> list[dict[str, Any]]:
    path = run.folder / LAUNCHES_FILE
    try:
        rows = [{**_of_run(run), **_launch(record)} for record in read_launches(run.folder)]
        pa.Table.from_pylist(rows, SCHEMAS["launches"])
    except FileNotFoundError:
        return []
    except (pa.ArrowException, KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadInputError(f"{path} cannot be read: {error!r}") from error
    return rows


def _launch(record: Record) -> dict[str, Any]:
    times = record.get("latency_ns") or []
    return {
        "cell": record["cell"],
        "launch": record["launch"],
        "status": record["status"],
        "disturbed": bool(record.get("disturbed")),
        "launch_started": record.get("started"),
        "duration_s": record.get("duration_s"),
        "iterations": len(times),
        "latency_p50_ms": statistics.median(times) / 1e6 if times else None,
        "record": dump_json(dict(record), indent=None),
    }


def runs_of(name: str) -> list[FoundRun]:
    """All runs of a data set, oldest first; their cells are not read yet. Raises BadInputError."""
    place = _place(name)
    table = _read(place, "runs", ["run", "started", "info"], None)
    found = []
    for row in table.to_pylist():
        try:
            info = RunInfo(**known(RunInfo, json.loads(row["info"])))
        except (TypeError, ValueError, AttributeError) as error:
            raise BadInputError(f"{name}: run {row['run']!r} cannot be read: {error}") from error
        started: dt.datetime = row["started"]
        found.append(FoundRun(Path(name) / row["run"], info, started))
    return sorted(found, key=lambda run: (run.started, run.name))


def with_cells(
    name: str, runs: Sequence[FoundRun], figures: Collection[str], wanted: Callable[[str], bool]
) -> list[FoundRun]:
    """Runs with the ``wanted`` of their cells: names, axes, status and some figures of them.

    Raises BadInputError.
    """
    needed = {*_ALWAYS, *figures}
    columns = [field.name for field in dataclasses.fields(CellResult) if field.name in needed]
    table = _read(_place(name), "cells", ["run", *columns], [run.name for run in runs])
    # Arrow holds more than Python should be asked to look at.
    names = [cell for cell in pc.unique(table.column("cell")).to_pylist() if wanted(cell)]
    table = table.filter(pc.is_in(table.column("cell"), pa.array(names, pa.string())))
    by_run: dict[str, list[CellResult]] = {}
    values = [table.column(column).to_pylist() for column in columns]
    for run, *row in zip(table.column("run").to_pylist(), *values, strict=True):
        by_run.setdefault(run, []).append(CellResult(**dict(zip(columns, row, strict=True))))
    return [dataclasses.replace(run, cells=tuple(by_run.get(run.name, ()))) for run in runs]


_ALWAYS = (
    "cell",
    "status",
    "disturbed",
    "model",
    "variant",
    "precision",
    "backend",
    "artifact_sha256",
    "latency_ci_low_ms",
    "latency_ci_high_ms",
    "energy_source",
)
"""What a history tells of a cell besides its figures."""


def _read(place: _Place, table: str, columns: Sequence[str], only: Collection[str] | None) -> Any:
    try:
        return place.table(table, columns, only)
    except (OSError, pa.ArrowException, KeyError) as error:
        raise BadInputError(f"{place.told}/{table} cannot be read: {error}") from error


def split_run(path: str) -> tuple[str, str] | None:
    """``DATASET/RUN`` as its two parts; None for what is no run of a data set."""
    dataset, _, run = path.rstrip("/").rpartition("/")
    if not dataset or not run or Path(path).is_dir():
        return None
    return (dataset, run) if is_dataset(dataset) else None


def restore(dataset: str, run: str, folder: Path) -> Path:
    """Write a run of a data set as a run directory below ``folder``, for what reads one.

    It has ``run.json``, ``cells.json``, ``launches.jsonl`` and what lay beside; its boxes and logs
    stay where it was measured. Raises BadInputError.
    """
    place = _place(dataset)
    (row, *_) = _read(place, "runs", ["run", "info", "beside"], [run]).to_pylist() or [None]
    if row is None:
        names = _read(place, "runs", ["run"], None).column("run").to_pylist()
        raise BadInputError(
            f"{dataset} has no run {printable(run)!r}",
            remedy=f"It has {len(names)}, the newest is {max(names, default='none')}.",
        )
    # the folder's name is what reports call the run
    target = folder / (run if re.fullmatch(r"\w[\w.-]{0,200}", run) else "run")
    target.mkdir(parents=True)
    columns = [field.name for field in dataclasses.fields(CellResult)]
    cells = _read(place, "cells", columns, [run]).to_pylist()
    for cell in cells:
        cell["imgsz"] = int(cell["imgsz"]) if str(cell["imgsz"]).isdigit() else cell["imgsz"]
    launches = _read(place, "launches", ["record"], [run]).column("record").to_pylist()
    (target / RUN_FILE).write_text(row["info"] + "\n", encoding="utf-8")
    (target / CELLS_FILE).write_text(dump_json(cells) + "\n", encoding="utf-8")
    (target / LAUNCHES_FILE).write_text("".join(f"{x}\n" for x in launches), encoding="utf-8")
    for name, content in json.loads(row["beside"]).items():
        if name in _BESIDE:
            (target / name).write_text(dump_json(content) + "\n", encoding="utf-8")
    return target


@contextlib.contextmanager
def run_folders(paths: Sequence[str]) -> Iterator[list[Path]]:
    """Run directories by their paths; runs of data sets (``DATASET/RUN``) are there meanwhile.

    Raises BadInputError where a data set has no such run.
    """
    with tempfile.TemporaryDirectory(prefix="deploymark-") as temporary:
        folders = []
        for number, path in enumerate(paths):
            found = split_run(path)
            place = Path(temporary) / str(number)
            folders.append(Path(path) if found is None else restore(*found, place))
        yield folders

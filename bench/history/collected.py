"""Collecting runs into a data set (``bench.history.dataset``), and getting one back.

A run that is in it already is not added again, and nothing in it is ever changed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import statistics
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from deploymark.bench.errors import BadInputError
from deploymark.bench.history.dataset import (
    CELL_COLUMNS,
    DATASET_VERSION,
    MARK,
    SCHEMAS,
    Place,
    check_dataset,
    is_dataset,
    place_of,
    read_table,
)
from deploymark.bench.history.past_runs import (
    FoundRun,
    by_machine,
    find_runs,
    read_cells,
    read_past_run,
)
from deploymark.bench.records.files import dump_json, printable, read_beside
from deploymark.bench.records.launches import LAUNCHES_FILE, Record, read_launches
from deploymark.bench.records.run import (
    CELLS_FILE,
    RUN_FILE,
    VARIANTS_FILE,
)
from deploymark.bench.records.trends import Skipped

_BESIDE = (VARIANTS_FILE, "answer.json", "scenarios.json")
"""Small files of a run that its reports read, kept whole."""


@dataclasses.dataclass(frozen=True)
class Collected:
    """What a collection did: runs that were added, that were there already, that were left out."""

    added: tuple[str, ...]
    present: tuple[str, ...]
    skipped: tuple[Skipped, ...]


def collect(sources: Sequence[Path], into: str) -> Collected:
    """Append the finished runs of ``sources`` (runs, or folders of runs) to a data set.

    Raises BadInputError where nothing is a run, or the data set cannot be read or written.
    """
    runs, skipped = _found(sources)
    place = place_of(into)
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


def _prepare(place: Place) -> None:
    """Make the data set where there is none. Raises BadInputError where something else is there."""
    if place.has(MARK):
        check_dataset(place)
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
    place: Place, machine: str, runs: Sequence[FoundRun]
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


def _write(place: Place, folder: str, table: pa.Table) -> None:
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
        row = dataclasses.asdict(cell)
        values = {name: row[name] for name in CELL_COLUMNS}
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
    place = place_of(dataset)
    (row, *_) = read_table(place, "runs", ["run", "info", "beside"], [run]).to_pylist() or [None]
    if row is None:
        names = read_table(place, "runs", ["run"], None).column("run").to_pylist()
        raise BadInputError(
            f"{dataset} has no run {printable(run)!r}",
            remedy=f"It has {len(names)}, the newest is {max(names, default='none')}.",
        )
    # the folder's name is what reports call the run
    target = folder / (run if re.fullmatch(r"\w[\w.-]{0,200}", run) else "run")
    target.mkdir(parents=True)
    columns = list(CELL_COLUMNS)
    cells = read_table(place, "cells", columns, [run]).to_pylist()
    for cell in cells:
        cell["imgsz"] = int(cell["imgsz"]) if str(cell["imgsz"]).isdigit() else cell["imgsz"]
    launches = read_table(place, "launches", ["record"], [run]).column("record").to_pylist()
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

"""A data set of many runs: where it lies, its tables, and reading them.

``runs/machine=ID/…``, ``cells/machine=ID/…`` and ``launches/machine=ID/…`` hold a file for each
collection (``bench.history.collected``): DuckDB, pandas and Arrow read them as they are. A folder,
or an object store that pyarrow has a file system for (``s3://…``, ``gs://…``).
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.fs as pafs

from deploymark.bench.errors import BadInputError
from deploymark.bench.history.past_runs import FoundRun
from deploymark.bench.records.files import known
from deploymark.bench.records.run import CellResult, RunInfo

MARK = "deploymark-dataset.json"
"""The file that tells a data set from a folder of runs."""

DATASET_VERSION = 1

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


CELL_COLUMNS = tuple(
    field.name for field in dataclasses.fields(CellResult) if field.name != "machine"
)
"""Columns of the cells. Their ``machine`` is a run's own: here that is what runs are grouped by."""


def _cells_schema() -> pa.Schema:
    fields = [
        pa.field(field.name, _TYPES[str(field.type).removesuffix(" | None")])
        for field in dataclasses.fields(CellResult)
        if field.name in CELL_COLUMNS
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
class Place:
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


def place_of(name: str) -> Place:
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
    return Place(system, folder.rstrip("/"), name)


def is_dataset(name: str) -> bool:
    """Whether there is a data set of runs. Raises BadInputError for one of another version."""
    if "://" not in name and not (Path(name) / MARK).is_file():
        return False
    place = place_of(name)
    if not place.has(MARK):
        return False
    check_dataset(place)
    return True


def check_dataset(place: Place) -> None:
    """Raise BadInputError for a data set of another version, or a mark that cannot be read."""
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


def runs_of(name: str) -> list[FoundRun]:
    """All runs of a data set, oldest first; their cells are not read yet. Raises BadInputError."""
    place = place_of(name)
    table = read_table(place, "runs", ["run", "started", "info"], None)
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
    columns = [name for name in CELL_COLUMNS if name in needed]
    table = read_table(place_of(name), "cells", ["run", *columns], [run.name for run in runs])
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


def read_table(
    place: Place, table: str, columns: Sequence[str], only: Collection[str] | None
) -> Any:
    """Some columns of a table, of the runs ``only``. Raises BadInputError where it is none."""
    try:
        return place.table(table, columns, only)
    except (OSError, pa.ArrowException, KeyError) as error:
        raise BadInputError(f"{place.told}/{table} cannot be read: {error}") from error

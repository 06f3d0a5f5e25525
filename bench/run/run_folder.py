"""Making a run directory and opening one again."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import deploymark
from deploymark.backends import waiting
from deploymark.bench.errors import BadInputError
from deploymark.bench.machine.fingerprint import fingerprint, git_commit
from deploymark.bench.matrix.schema import Matrix, recorded_matrix
from deploymark.bench.records.files import sha256_of
from deploymark.bench.records.launches import LAUNCHES_FILE, check_launches
from deploymark.bench.records.run import (
    LOGS_FOLDER,
    PREDICTIONS_FOLDER,
    RUN_FILE,
    SAMPLES_FILE,
    RunInfo,
    read_run_info,
    write_run_info,
)
from deploymark.bench.room import writing
from deploymark.bench.run.launch import now
from deploymark.bench.run.plan import Plan
from deploymark.bench.run.planned_model import PlannedModel
from deploymark.bench.run.weighing import enforcement_note

LATEST = "latest"
LATEST_GATE = "latest-gate"
_COMMIT_LENGTH = 8
_GROUP_SAMPLES = 1 << 20


def _model_facts(model: PlannedModel) -> dict[str, Any]:
    detector = next(iter(model.detectors.values()))
    return {
        "name": model.name,
        "path": str(model.path),
        "sha256": model.sha256,
        "family": detector.family,
        "licence": model.licence,
        "classes": len(detector.names),
        "input": dataclasses.asdict(detector.spec),
        "output": dataclasses.asdict(detector.output),
        "params": detector.params,
    }


def _dataset_facts(model: PlannedModel) -> dict[str, Any]:
    dataset = model.dataset
    return {
        "name": dataset.name,
        "model": model.name,
        "scored_images": len(dataset.scored),
        "scored_hash": dataset.scored_hash,
        "calibration_images": len(dataset.calibration),
        "calibration_hash": dataset.calibration_hash,
        "calibration_source": dataset.calibration_source,
        "labelled": dataset.labelled,
        "census": dataset.census.record(model.match),
    }


def _notes(plan: Plan) -> list[str]:
    limited = plan.matrix.fit or any(cell.cell.limit_mb is not None for cell in plan.cells)
    notes = [enforcement_note()] if limited else []
    for model in plan.models.values():
        dataset = model.dataset
        notes += [f"{model.name}: {text}" for text in dataset.census.notes(model.match)]
        aside = len(dataset.calibration)
        if dataset.calibration_source == "validation":
            notes.append(
                f"{model.name}: the data set has no train split of other images, so {aside} of "
                f"its validation images were set aside to calibrate on; they are not scored."
            )
        if not dataset.labelled:
            notes.append(
                f"{model.name}: its images have no labels, so there is no mAP; agreement with an "
                f"FP32 cell of the unchanged model stands in, on {len(dataset.scored)} images."
            )
        if dataset.calibration_source == "folder":
            notes.append(
                f"{model.name}: {aside} of the images were set aside to calibrate on; agreement is "
                "measured on the others."
            )
    return notes


_OPENMP_PREFIXES = ("OMP_", "GOMP_", "KMP_")


def _environment_notes(environment: Mapping[str, str] = os.environ) -> list[str]:
    """What of the user's shell decides how threads run: what workers do without, and what they get.

    The numbers of threads are the cells'.
    """
    without = waiting.inherited(environment)
    rest = {
        name: value
        for name, value in environment.items()
        if name.startswith(_OPENMP_PREFIXES) and name not in without and name != "OMP_NUM_THREADS"
    }
    said = {
        "not handed on to workers, whose threads wait as the cell's runtime options say (wait: "
        "passive)": without,
        "handed on to every worker": rest,
    }
    return [
        f"Set in the environment, {what}: "
        f"{', '.join(f'{name}={value}' for name, value in sorted(variables.items()))}."
        for what, variables in said.items()
        if variables
    ]


def describe(plan: Plan) -> RunInfo:
    """The ``run.json`` of a run that is about to start."""
    return RunInfo(
        matrix=plan.matrix.model_dump(mode="json"),
        matrix_file=plan.matrix_file,
        machine=fingerprint(),
        packages=dict(plan.packages),
        seed=plan.matrix.seed,
        started=now(),
        deploymark_version=deploymark.__version__,
        git_commit=git_commit(Path.cwd()),
        selection=plan.selection,
        options=list(plan.options),
        models=[_model_facts(model) for model in plan.models.values()],
        datasets=[_dataset_facts(model) for model in plan.models.values()],
        left_out=[dataclasses.asdict(item) for item in plan.left_out],
        notes=_notes(plan) + _environment_notes(),
    )


def create(info: RunInfo, results: Path) -> Path:
    """Make the run directory, with its ``run.json``. Raises BadInputError if it cannot be made."""
    folder = dated_folder(results, str(info.machine["host"]), info.git_commit)
    try:
        write_run_info(folder, info)
    except BaseException:
        discard(folder)
        raise
    return folder


def dated_folder(results: Path, host: str, commit: str | None, prefix: str = "") -> Path:
    """Make ``results/<prefix><UTC>-<host>-<commit>`` with its folders of logs and boxes.

    Raises BadInputError if it cannot be made.
    """
    name = re.sub(r"[^A-Za-z0-9.]+", "_", host)[:40] or "host"
    moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    stem = f"{prefix}{moment}-{name}-{(commit or 'nogit')[:_COMMIT_LENGTH]}"
    try:
        results.mkdir(parents=True, exist_ok=True)
        folder = _fresh_folder(results, stem)
        (folder / LOGS_FOLDER).mkdir()
        (folder / PREDICTIONS_FOLDER).mkdir()
    except OSError as error:
        raise BadInputError(
            f"{results}: the run directory cannot be made: {error.strerror or error}",
            remedy="Name another folder with --results DIR.",
        ) from error
    return folder


def has_launches(folder: Path) -> bool:
    """Whether a launch of the run was finished."""
    try:
        return b"\n" in (folder / LAUNCHES_FILE).read_bytes()
    except FileNotFoundError:
        return False


def discard(folder: Path) -> None:
    """Remove the directory of a run in which nothing was launched."""
    if not has_launches(folder):
        shutil.rmtree(folder, ignore_errors=True)


def _fresh_folder(results: Path, stem: str) -> Path:
    folder, number = results / stem, 1
    while True:
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
            folder = results / f"{stem}-{number}"
        else:
            return folder


def point_latest(folder: Path, link: str = LATEST) -> None:
    """Let ``link`` beside the run directory point to it, where the platform has such links."""
    partial = folder.parent / f".{link}.{os.getpid()}"
    with contextlib.suppress(OSError):
        partial.unlink(missing_ok=True)
        partial.symlink_to(folder.name, target_is_directory=True)
        partial.replace(folder.parent / link)


def reopen(folder: Path) -> tuple[RunInfo, Matrix]:
    """The run to go on with. Raises BadInputError if it is none, or of another machine."""
    info = read_run_info(folder)
    check_launches(folder)
    here = fingerprint()
    for key in ("host", "cpu"):
        if info.machine.get(key) != here[key]:
            raise BadInputError(
                f"{folder} was begun on another machine ({key} {info.machine.get(key)!r}, "
                f"here {here[key]!r})",
                remedy="Go on with it there, or start a new run here.",
            )
    return info, recorded_matrix(info.matrix, folder / RUN_FILE)


def check_same_inputs(info: RunInfo, plan: Plan) -> None:
    """Raises BadInputError where a model or a data set has changed since the run began."""
    fresh = describe(plan)
    for what, old, new, keys in (
        ("model", info.models, fresh.models, ("name", "sha256")),
        ("data set", info.datasets, fresh.datasets, ("name", "scored_hash", "calibration_hash")),
    ):
        before = [tuple(item.get(key) for key in keys) for item in old]
        if before != [tuple(item.get(key) for key in keys) for item in new]:
            raise BadInputError(
                f"a {what} has changed since the run began", remedy="Start a new run instead."
            )


@dataclasses.dataclass(frozen=True)
class SampleRow:
    """A launch's part of ``samples.parquet``; ``machine`` in a fleet's run."""

    cell: str
    launch: int
    nanoseconds: Sequence[int]
    machine: str = ""


def write_samples(folder: Path, rows: Iterable[SampleRow]) -> str:
    """Write ``samples.parquet``: a row an iteration; its SHA-256.

    Raises StorageError where the disk takes no more.
    """
    partial = folder / f".{SAMPLES_FILE}.partial"
    with writing(folder / SAMPLES_FILE):
        try:
            _write_samples(partial, rows)
            sha256 = sha256_of(partial)
            partial.replace(folder / SAMPLES_FILE)
        finally:
            partial.unlink(missing_ok=True)
    return sha256


def _write_samples(file: Path, rows: Iterable[SampleRow]) -> None:
    """Write the rows in groups, so that a fleet's need not be in memory at once."""
    writer: pq.ParquetWriter | None = None
    group: list[SampleRow] = []
    count = 0
    try:
        for row in rows:
            group.append(row)
            count += len(row.nanoseconds)
            if count >= _GROUP_SAMPLES:
                table = _sample_table(group)
                writer = writer or pq.ParquetWriter(file, table.schema, compression="zstd")
                writer.write_table(table)
                group, count = [], 0
        if group or writer is None:
            table = _sample_table(group)
            writer = writer or pq.ParquetWriter(file, table.schema, compression="zstd")
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()


def _sample_table(rows: Sequence[SampleRow]) -> pa.Table:
    counts = [len(row.nanoseconds) for row in rows]
    nothing = np.zeros(0, np.int64)

    def words(values: Sequence[str]) -> pa.DictionaryArray:
        distinct = list(dict.fromkeys(values))
        places = np.repeat([distinct.index(value) for value in values], counts)
        return pa.DictionaryArray.from_arrays(
            pa.array(places, pa.int32()), pa.array(distinct, pa.string())
        )

    columns = {
        "cell": words([row.cell for row in rows]),
        "launch": pa.array(np.repeat([row.launch for row in rows], counts), pa.int32()),
        "iteration": pa.array(np.concatenate([nothing, *map(np.arange, counts)]), pa.int32()),
        "nanoseconds": pa.array(
            np.concatenate([nothing, *(np.asarray(row.nanoseconds, np.int64) for row in rows)])
        ),
    }
    if any(row.machine for row in rows):
        columns["machine"] = words([row.machine for row in rows])
    return pa.table(columns)

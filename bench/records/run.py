"""The run directory: its names, its records, reading and writing them.

The layout is a contract that other programs read (``docs/run-directory.md``). A figure that was not
measured is ``None``, never 0 and never NaN.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from deploymark.backends.base import PRECISIONS, Size
from deploymark.bench.errors import BadInputError
from deploymark.bench.records.files import (
    check_version,
    known,
    read_beside,
    read_json,
    unreadable,
    unsealed,
    write_sealed,
)
from deploymark.bench.records.outcomes import Status
from deploymark.bench.records.strict_json import check_machine, shaped
from deploymark.bench.records.under_way import under_way

SCHEMA_VERSION = 1

PRECISION_ORDER: tuple[str, ...] = PRECISIONS
"""The order in which tables and charts show precisions."""

NOT_FAILURES: frozenset[Status] = frozenset({"ok", "unsupported", "unavailable"})
"""Statuses that do not fail a run: the other ones are something that should have worked."""

RUN_FILE = "run.json"
CELLS_FILE = "cells.json"
SAMPLES_FILE = "samples.parquet"
BENCHMARK_FILE = "benchmark.json"
REPORT_FILE = "report.html"
SUMMARY_FILE = "summary.md"
LOGS_FOLDER = "logs"
PREDICTIONS_FOLDER = "predictions"
VARIANTS_FILE = "variants.json"
LABELS_STEM = "labels"
"""Beginning of the names of files that hold the labels of a run whose data set is elsewhere."""

FIDELITY_FILE = "fidelity.json"
FIDELITY_FOLDER = "fidelity"


@dataclasses.dataclass
class CellResult:
    """All figures of one cell, flat; the order of the fields is the order in ``cells.json``.

    Times end in ``_ms`` (milliseconds), sizes in ``_bytes``, energy in joules (``_j_``) and watts
    (``_w``); ``throughput_ips`` is images per second; ``map50_95`` and ``map50`` are COCO's AP in
    [0, 1]. ``agreement`` is the AP of the cell's boxes with those of the cell
    ``agreement_reference`` taken as the truth, ``score_drift`` the mean change of the scores of
    boxes found by both (``bench.score.fidelity``). ``warnings`` and ``notes`` are sentences for
    people: what to doubt, and how the artifact came out. Figures are over the ``launches`` that
    count (``counted``); where some of them were disturbed the cell is marked ``disturbed``: its
    ``reason`` says by what, and its interval covers all that was seen. ``interval_half_width`` is
    half of the interval of ``latency_p50_ms``, relative to it. ``disturbed_launches`` are all that
    were, ``steady_launches`` were steady when their warm-up ended; ``tail_reason`` says why a
    percentile is null. Of the ``bursts`` that inferences were timed in, ``quiet_bursts`` were not
    disturbed; in launches with enough of them the others are set aside. ``stopped`` says why a cell
    that cannot be the answer to the run's question got no further launches. ``accuracy_doubt`` says
    why the mAP of a cell is not that of its detector (a floor of scores baked into the file): it
    meets no constraint and is no reference. ``imgsz`` is the side of a square input, and
    ``384x640``, height and width, of another; ``height`` and ``width`` are numbers. What the
    artifact takes and gives is in words in ``input_contract`` and ``output_contract``; ``family``
    and ``licence`` are the model's.

    Memory is that of a pass of its own (``bench.worker.weigh``), medians over its launches:
    ``peak_rss_bytes`` over all of one, ``load_peak_rss_bytes`` while it loads,
    ``steady_rss_bytes`` once it has inferred; of that ``uss_bytes`` no other process has (the
    unique set size), ``model_rss_bytes`` came with the model and its inferences, and
    ``memory_per_copy_bytes`` is what a second session of the artifact adds to the process.
    Launches ran within ``memory_limit_mb`` (MiB; None without a limit), and ``min_memory_mb`` (MiB)
    is the smallest limit that works; ``memory_enforced_by`` says what enforces it
    (``bench.children.memory_limit``). ``memory_reason`` says why one of these is null.

    ``energy_j_per_image`` is what an image takes above idle power,
    ``energy_gross_j_per_image`` with it, over ``energy_launches``; ``energy_kind`` says how it was
    measured (``bench.meters.base.Kind``), or ``modelled``, which is no measurement, and
    ``energy_reason`` why a figure is null. ``images_per_wh`` are of the gross one, and
    ``battery_hours`` of the duty cycle that the matrix gives, idle included.
    """

    cell: str
    status: Status
    reason: str | None = None
    disturbed: bool = False
    model: str = ""
    variant: str = ""
    sparsity: float | None = None
    precision: str = ""
    backend: str = ""
    device: str = ""
    imgsz: int | str = 0
    height: int = 0
    width: int = 0
    batch: int = 1
    threads: int = 1
    artifact_sha256: str | None = None
    artifact_bytes: int | None = None
    artifact_gzip_bytes: int | None = None
    launches: int = 0
    iterations: int = 0
    latency_p50_ms: float | None = None
    latency_p90_ms: float | None = None
    latency_p95_ms: float | None = None
    latency_p99_ms: float | None = None
    latency_mean_ms: float | None = None
    latency_ci_low_ms: float | None = None
    latency_ci_high_ms: float | None = None
    cold_ms: float | None = None
    load_ms: float | None = None
    e2e_p50_ms: float | None = None
    throughput_ips: float | None = None
    peak_rss_bytes: int | None = None
    model_rss_bytes: int | None = None
    device_memory_bytes: int | None = None
    energy_j_per_image: float | None = None
    energy_gross_j_per_image: float | None = None
    energy_idle_w: float | None = None
    energy_source: str | None = None
    energy_kind: str | None = None
    energy_scope: str | None = None
    energy_period_ms: float | None = None
    min_memory_mb: int | None = None
    map50_95: float | None = None
    map50: float | None = None
    map_images: int | None = None
    params: int | None = None
    macs: int | None = None
    nonzero_fraction: float | None = None
    executed_precision: str | None = None
    energy_reason: str | None = None
    remedy: str | None = None
    warnings: list[str] = dataclasses.field(default_factory=list)
    agreement: float | None = None
    agreement_reference: str | None = None
    score_drift: float | None = None
    notes: list[str] = dataclasses.field(default_factory=list)
    interval_half_width: float | None = None
    latency_p95_ci_low_ms: float | None = None
    latency_p95_ci_high_ms: float | None = None
    warmup_iterations: float | None = None
    warmup_ms: float | None = None
    steady_launches: int | None = None
    disturbed_launches: int | None = None
    tail_reason: str | None = None
    runtime_axes: str | None = None
    runtime_settings: str | None = None
    bursts: int | None = None
    quiet_bursts: int | None = None
    stopped: str | None = None
    accuracy_doubt: str | None = None
    family: str | None = None
    licence: str | None = None
    input_contract: str | None = None
    output_contract: str | None = None
    uss_bytes: int | None = None
    load_peak_rss_bytes: int | None = None
    steady_rss_bytes: int | None = None
    memory_per_copy_bytes: int | None = None
    artifact_zstd_bytes: int | None = None
    memory_limit_mb: int | None = None
    memory_enforced_by: str | None = None
    memory_reason: str | None = None
    energy_ci_low_j_per_image: float | None = None
    energy_ci_high_j_per_image: float | None = None
    energy_gross_ci_low_j_per_image: float | None = None
    energy_gross_ci_high_j_per_image: float | None = None
    energy_launches: int | None = None
    images_per_wh: float | None = None
    battery_hours: float | None = None
    machine: str | None = None

    @property
    def size(self) -> Size:
        """Height and width of the input in pixels; of an older run by its ``imgsz``."""
        return Size(self.height, self.width) if self.height else Size.of(self.imgsz)


@dataclasses.dataclass
class RunInfo:
    """``run.json``: what was run, on what, when, and how it ended.

    ``started`` and ``finished`` are ISO 8601 in UTC; ``exit_status`` is the exit code, None while
    the run is under way or was cut off. ``matrix`` is the resolved matrix. ``models`` has one
    mapping a model (name, path, sha256, classes, …), ``datasets`` one
    mapping a data set (name, scored_images, calibration_images, calibration_source, census, …), and
    ``left_out`` one a cell that was not planned (cell, reason). ``notes`` are sentences for the
    reader of the report; ``disturbed`` is one on all cells that are marked, empty where none is.
    ``timings`` are seconds by part of the run (``build_s``, ``measure_s``, …). ``options`` are the
    words of the command line that changed the matrix of ``matrix_file`` (``--model``, ``/my.pt``).
    ``bundle`` tells the bundle that was measured (file, sha256 of its manifest, python of its
    workers), empty where none was. ``checksums`` are SHA-256 of files that have none of their own,
    by name.
    """

    matrix: dict[str, Any]
    matrix_file: str
    machine: dict[str, Any]
    packages: dict[str, str]
    seed: int
    started: str
    schema_version: int = SCHEMA_VERSION
    deploymark_version: str = ""
    git_commit: str | None = None
    selection: str = ""
    finished: str | None = None
    exit_status: int | None = None
    artifacts_built: int | None = None
    artifacts_reused: int | None = None
    models: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    datasets: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    left_out: list[dict[str, str]] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    disturbed: str = ""
    timings: dict[str, float] = dataclasses.field(default_factory=dict)
    bundle: dict[str, Any] = dataclasses.field(default_factory=dict)
    options: list[str] = dataclasses.field(default_factory=list)
    checksums: dict[str, str] = dataclasses.field(default_factory=dict)
    machines: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Run:
    """A run directory that was read."""

    folder: Path
    info: RunInfo
    cells: tuple[CellResult, ...]


def write_run_info(folder: Path, info: RunInfo) -> None:
    """Write ``run.json``."""
    write_sealed(folder / RUN_FILE, dataclasses.asdict(info))


def write_cells(folder: Path, cells: Sequence[CellResult]) -> None:
    """Write ``cells.json``."""
    write_sealed(folder / CELLS_FILE, [cell_row(cell) for cell in cells])


def cell_row(cell: CellResult) -> dict[str, Any]:
    """A row of ``cells.json``, in the order of the contract: the machine stands beside the cell."""
    values = dataclasses.asdict(cell)
    return {"cell": values.pop("cell"), "machine": values.pop("machine"), **values}


def write_variants(folder: Path, variants: Sequence[Mapping[str, Any]]) -> None:
    """Write ``variants.json``: what the recipes did, one mapping a model and variant."""
    write_sealed(folder / VARIANTS_FILE, variants)


def read_run_info(folder: Path) -> RunInfo:
    """Read ``run.json``. Raises BadInputError where it is missing or of a newer schema."""
    path = folder / RUN_FILE
    try:
        values = read_json(path)
    except FileNotFoundError:
        raise BadInputError(
            f"{folder} is not a run directory: it has no {RUN_FILE}",
            remedy="Name a folder below results/, or results/latest.",
        ) from None
    version = values.get("schema_version") if isinstance(values, dict) else None
    check_version(
        path, version, SCHEMA_VERSION, remedy="Use the version of Deploymark that wrote the run."
    )
    try:
        info = shaped(RunInfo, known(RunInfo, values))
        check_machine(info.machine)
        unsealed(values)
    except ValueError as error:
        raise BadInputError(f"{path} is incomplete or no record of a run: {error}") from error
    return info


def load_run(folder: Path) -> Run:
    """Read a run directory.

    Raises BadInputError where it is none, or where no cell has been written yet.
    """
    info = read_run_info(folder)
    path = folder / CELLS_FILE
    try:
        cells = tuple(_cells(read_json(path)))
    except FileNotFoundError:
        if under_way(folder):
            raise BadInputError(
                f"{folder} is a run that is running: it has no {CELLS_FILE} yet",
                remedy="Wait for its end; its progress is where it was started.",
            ) from None
        raise BadInputError(
            f"{folder} has no {CELLS_FILE}: the run was stopped before it ended",
            remedy=f"Go on with: deploymark run --resume {folder}",
        ) from None
    except (TypeError, AttributeError, ValueError) as error:
        again = f"Make it again of the launches: deploymark run --resume {folder}"
        raise unreadable(path, error, remedy=again) from error
    return Run(folder=folder, info=info, cells=cells)


def _cells(rows: Any) -> Iterator[CellResult]:
    """The cells of ``cells.json``. Raises ValueError: which cell, which column, what is there."""
    if not isinstance(rows, list):
        raise ValueError("expected a list of cells")  # noqa: TRY004 - input, no bug
    for index, row in enumerate(rows):
        if not isinstance(row, dict):
            raise ValueError(f"[{index}]: expected a mapping")  # noqa: TRY004 - as above
        try:
            cell = shaped(CellResult, known(CellResult, row))
            unsealed(row)
            yield cell
        except ValueError as error:
            raise ValueError(f"[{index}].{error}") from None


def read_variants(folder: Path) -> list[dict[str, Any]]:
    """``variants.json``: one mapping a model and variant with a recipe, what its steps did.

    Empty where there is none. Raises BadInputError where it cannot be read.
    """
    found = read_beside(folder / VARIANTS_FILE, list)
    return [entry for entry in found if isinstance(entry, dict)]


def read_fidelity(folder: Path) -> dict[str, dict[str, Any]]:
    """``fidelity.json``: by cell its reference and its worst images (``bench.score.fidelity``).

    Empty where there is none. Raises BadInputError where it cannot be read.
    """
    found = read_beside(folder / FIDELITY_FILE, dict)
    return {name: entry for name, entry in found.items() if isinstance(entry, dict)}

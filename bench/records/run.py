"""The run directory: its names, its records, reading and writing them.

The layout is a contract that other programs read (``docs/run-directory.md``). A figure that was not
measured is ``None``, never 0 and never NaN: ``json`` is told to refuse NaN.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TextIO, get_args

from deploymark.backends.base import PRECISIONS
from deploymark.bench.errors import BadInputError

SCHEMA_VERSION = 1

Status = Literal[
    "ok",
    "unsupported",
    "unavailable",
    "export_failed",
    "load_failed",
    "crashed",
    "timeout",
    "out_of_memory",
    "invalid",
]

STATUSES: tuple[Status, ...] = get_args(Status)

Record = Mapping[str, Any]
"""A line of ``launches.jsonl``."""

PRECISION_ORDER: tuple[str, ...] = PRECISIONS
"""The order in which tables and charts show precisions."""

NOT_FAILURES: frozenset[Status] = frozenset({"ok", "unsupported", "unavailable"})
"""Statuses that do not fail a run: the other ones are something that should have worked."""

RUN_FILE = "run.json"
CELLS_FILE = "cells.json"
LAUNCHES_FILE = "launches.jsonl"
SAMPLES_FILE = "samples.parquet"
BENCHMARK_FILE = "benchmark.json"
REPORT_FILE = "report.html"
SUMMARY_FILE = "summary.md"
LOGS_FOLDER = "logs"
PREDICTIONS_FOLDER = "predictions"
VARIANTS_FILE = "variants.json"
FIDELITY_FILE = "fidelity.json"
SCENARIOS_FILE = "scenarios.json"
SCENARIO_LINES_FILE = "scenarios.jsonl"
FIDELITY_FOLDER = "fidelity"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a child process or a cell ended. ``reason`` and ``remedy`` are for people."""

    status: Status
    reason: str = ""
    remedy: str = ""

    @property
    def ok(self) -> bool:
        """True where there is something to use."""
        return self.status == "ok"


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
    percentile is null.
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
    imgsz: int = 0
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
    energy_idle_w: float | None = None
    energy_source: str | None = None
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


@dataclasses.dataclass
class RunInfo:
    """``run.json``: what was run, on what, when, and how it ended.

    ``started`` and ``finished`` are ISO 8601 in UTC; ``exit_status`` is the exit code, None while
    the run is under way or was cut off. ``matrix`` is the resolved matrix. ``models`` has one
    mapping a model (name, path, sha256, classes, …), ``datasets`` one
    mapping a data set (name, scored_images, calibration_images, calibration_source, …), and
    ``left_out`` one a cell that was not planned (cell, reason). ``notes`` are sentences for the
    reader of the report; ``disturbed`` is one on all cells that are marked, empty where none is.
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


@dataclasses.dataclass(frozen=True)
class Run:
    """A run directory that was read."""

    folder: Path
    info: RunInfo
    cells: tuple[CellResult, ...]


def dump_json(value: Any, *, indent: int | None = 1) -> str:
    """JSON text. Raises ValueError for NaN and infinity, which no reader of a run may meet."""
    return json.dumps(value, indent=indent, allow_nan=False, ensure_ascii=False)


def write_text_atomically(path: Path, text: str) -> None:
    """Replace ``path`` in one step, so that no reader sees half of it."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def write_run_info(folder: Path, info: RunInfo) -> None:
    """Write ``run.json``."""
    write_text_atomically(folder / RUN_FILE, dump_json(dataclasses.asdict(info)) + "\n")


def write_cells(folder: Path, cells: Sequence[CellResult]) -> None:
    """Write ``cells.json``."""
    rows = [dataclasses.asdict(cell) for cell in cells]
    write_text_atomically(folder / CELLS_FILE, dump_json(rows) + "\n")


def write_variants(folder: Path, variants: Sequence[Mapping[str, Any]]) -> None:
    """Write ``variants.json``: what the recipes did, one mapping a model and variant."""
    write_text_atomically(folder / VARIANTS_FILE, dump_json(list(variants)) + "\n")


def append_launch(stream: TextIO, record: Mapping[str, Any]) -> None:
    """Add one line to ``launches.jsonl`` or its like, on the disk before this returns."""
    stream.write(dump_json(record, indent=None) + "\n")
    stream.flush()
    os.fsync(stream.fileno())


def read_launches(folder: Path, file: str = LAUNCHES_FILE) -> Iterator[dict[str, Any]]:
    """The finished launches, in order. A last line cut off by a kill is left out.

    Raises BadInputError for a line that is no JSON.
    """
    path = folder / file
    if not path.exists():
        return
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.endswith("\n"):
                return
            try:
                yield json.loads(line)
            except ValueError as error:
                raise BadInputError(f"{path}:{number} cannot be read: {error}") from error


def counted(records: Sequence[Record], *, disturbed: bool) -> list[Record]:
    """The launches of a cell that make its figures, of all lines that it has, in order.

    Those that finished undisturbed. In a cell that is marked ``disturbed`` each launch counts, by
    its last attempt: the undisturbed one where there is one, as none follows it. So it is where
    every launch was disturbed, too: the cell is ``invalid`` then, and its figures show how far off.
    """
    done = [record for record in records if record["status"] == "ok"]
    calm = [record for record in done if not record.get("disturbed")]
    if calm and not disturbed:
        return calm
    return list({record["launch"]: record for record in done}.values())


def drop_torn_line(folder: Path, file: str = LAUNCHES_FILE) -> None:
    """Cut off a last line that has no end, so that the next append starts a line of its own."""
    path = folder / file
    if not path.exists():
        return
    whole = path.read_bytes()
    keep = whole.rfind(b"\n") + 1
    if keep != len(whole):
        with path.open("r+b") as stream:
            stream.truncate(keep)


def _known(cls: type[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that ``cls`` has a field for: later versions may add columns."""
    names = {field.name for field in dataclasses.fields(cls)}
    return {name: value for name, value in values.items() if name in names}


def read_run_info(folder: Path) -> RunInfo:
    """Read ``run.json``. Raises BadInputError where it is missing or of a newer schema."""
    path = folder / RUN_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInputError(
            f"{folder} is not a run directory: it has no {RUN_FILE}",
            remedy="Name a folder below results/, or results/latest.",
        ) from None
    except (OSError, ValueError) as error:
        raise BadInputError(f"{path} cannot be read: {error}") from error
    version = values.get("schema_version") if isinstance(values, dict) else None
    if version != SCHEMA_VERSION:
        raise BadInputError(
            f"{path} has schema version {version!r}, this Deploymark reads {SCHEMA_VERSION}",
            remedy="Use the version of Deploymark that wrote the run.",
        )
    try:
        return RunInfo(**_known(RunInfo, values))
    except TypeError as error:
        raise BadInputError(f"{path} is incomplete: {error}") from error


def load_run(folder: Path) -> Run:
    """Read a run directory.

    Raises BadInputError where it is none, or where no cell has been written yet.
    """
    info = read_run_info(folder)
    path = folder / CELLS_FILE
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        cells = tuple(CellResult(**_known(CellResult, row)) for row in rows)
    except FileNotFoundError:
        raise BadInputError(
            f"{folder} has no {CELLS_FILE}: the run was stopped before it ended",
            remedy=f"Go on with: deploymark run --resume {folder}",
        ) from None
    except (OSError, ValueError, TypeError) as error:
        raise BadInputError(f"{path} cannot be read: {error}") from error
    return Run(folder=folder, info=info, cells=cells)


def _read_beside(path: Path, kind: type[Any]) -> Any:
    """The JSON of a file that not every run has: an empty ``kind`` where there is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return kind()
    except (OSError, ValueError) as error:
        raise BadInputError(f"{path} cannot be read: {error}") from error
    if not isinstance(value, kind):
        raise BadInputError(f"{path} holds no JSON {kind.__name__}")
    return value


def read_variants(folder: Path) -> list[dict[str, Any]]:
    """``variants.json``: one mapping a model and variant with a recipe, what its steps did.

    Empty where there is none. Raises BadInputError where it cannot be read.
    """
    found = _read_beside(folder / VARIANTS_FILE, list)
    return [entry for entry in found if isinstance(entry, dict)]


def read_fidelity(folder: Path) -> dict[str, dict[str, Any]]:
    """``fidelity.json``: by cell its reference and its worst images (``bench.score.fidelity``).

    Empty where there is none. Raises BadInputError where it cannot be read.
    """
    found = _read_beside(folder / FIDELITY_FILE, dict)
    return {name: entry for name, entry in found.items() if isinstance(entry, dict)}


@dataclasses.dataclass
class ScenarioResult:
    """One scenario of MLPerf's LoadGen on one cell with so many streams: ``scenarios.json``, flat.

    ``scenario`` is the kind, ``name`` tells two of a kind apart. ``valid`` is LoadGen's own verdict
    and ``invalid_reason`` its words. Latencies are LoadGen's, from the issue of a query to its
    completion, of whole queries in a multi-stream scenario, and None offline, where all queries
    are one. A percentile that fewer than ten queries lie beyond is None. ``rate_ips`` is what the
    streams reached together before LoadGen began; ``logs`` is relative to the run directory.
    ``disturbed`` are sentences on what else happened meanwhile (``bench.matrix.validity``).
    """

    cell: str
    scenario: str
    name: str
    streams: int
    status: Status
    reason: str | None = None
    remedy: str | None = None
    variant: str = ""
    precision: str = ""
    backend: str = ""
    device: str = ""
    imgsz: int = 0
    batch: int = 1
    threads: int = 1
    valid: bool | None = None
    invalid_reason: str | None = None
    min_duration_met: bool | None = None
    min_queries_met: bool | None = None
    early_stopping_met: bool | None = None
    latency_target_met: bool | None = None
    samples_per_second: float | None = None
    latency_p50_ms: float | None = None
    latency_p90_ms: float | None = None
    latency_p95_ms: float | None = None
    latency_p97_ms: float | None = None
    latency_p99_ms: float | None = None
    latency_mean_ms: float | None = None
    latency_max_ms: float | None = None
    queries: int | None = None
    samples: int | None = None
    samples_per_query: int | None = None
    over_latency_queries: int | None = None
    target_qps: float | None = None
    target_latency_ms: float | None = None
    target_percentile: float | None = None
    min_duration_s: float | None = None
    min_queries: int | None = None
    official: bool = False
    seed: int | None = None
    rate_ips: float | None = None
    steady: bool | None = None
    load_ms: float | None = None
    peak_rss_bytes: int | None = None
    loadgen_version: str | None = None
    logs: str | None = None
    started: str | None = None
    duration_s: float | None = None
    disturbed: list[str] = dataclasses.field(default_factory=list)


def write_scenarios(folder: Path, scenarios: Sequence[ScenarioResult]) -> None:
    """Write ``scenarios.json``."""
    rows = [dataclasses.asdict(scenario) for scenario in scenarios]
    write_text_atomically(folder / SCENARIOS_FILE, dump_json(rows) + "\n")


def scenario_of(values: Mapping[str, Any]) -> ScenarioResult:
    """A record of ``scenarios.json`` or ``scenarios.jsonl``. Raises TypeError if incomplete."""
    return ScenarioResult(**_known(ScenarioResult, values))


def read_scenarios(folder: Path) -> list[ScenarioResult]:
    """``scenarios.json``: empty where there is none. Raises BadInputError if it cannot be read."""
    path = folder / SCENARIOS_FILE
    found = _read_beside(path, list)
    try:
        return [scenario_of(entry) for entry in found if isinstance(entry, dict)]
    except TypeError as error:
        raise BadInputError(f"{path} is incomplete: {error}") from error

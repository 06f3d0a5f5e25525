"""The columns of the table of cells: name, unit, meaning, and how a figure is written."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

from deploymark.bench.records.energy import MODELLED, OF_ENERGY
from deploymark.bench.records.memory import MEMORY_FIGURES
from deploymark.bench.records.run import CellResult
from deploymark.reports.page import figures

Kind = Literal["text", "axis", "figure", "count", "score", "change"]
"""``text`` is shown always; ``axis`` tells cells apart and is shown where it differs. ``figure``
has three significant digits, ``count`` is a whole number, ``score`` has three decimals, ``change``
its sign too."""

DISTURBED = "~ disturbed"
"""Marks a cell whose figures are of launches that were disturbed."""

LONG_TEXTS = frozenset({"executed_precision", "input_contract", "notes"})
"""Columns whose text is cut off in the table by its style sheet, and whole in its title."""

_FEWEST_ITERATIONS = {"latency_p90_ms": 100, "latency_p95_ms": 200, "latency_p99_ms": 1000}
"""Iterations below which a percentile q is left out of the results: 10 / (1 - q)."""


@dataclasses.dataclass(frozen=True)
class Column:
    """One column. ``key`` is the name in ``cells.json``; ``unit`` is the unit shown.

    A figure times ``scale`` is in ``unit``. ``meaning`` is one sentence for the reader.
    ``high_first`` is for figures where the reader looks for the highest.
    """

    key: str
    title: str
    kind: Kind
    meaning: str
    unit: str = ""
    scale: float = 1.0
    high_first: bool = False

    @property
    def numeric(self) -> bool:
        """True where values sort as numbers and align right."""
        return self.kind in {"figure", "count", "score", "change"}


@dataclasses.dataclass(frozen=True)
class Field:
    """One cell of the table: ``text`` to show, or why there is none in ``title``.

    ``value`` is the number to sort by, in the column's unit; None for text and where not measured.
    """

    text: str
    value: float | None = None
    title: str = ""
    extra: str = ""
    absent: bool = False


def no_figure(why: str) -> Field:
    """The dash, which says on pointing why there is no figure."""
    return Field(figures.ABSENT, title=why, absent=True)


def _latency(key: str, title: str, meaning: str) -> Column:
    return Column(key, title, "figure", meaning, unit="ms")


def _size(key: str, title: str, meaning: str) -> Column:
    return Column(key, title, "figure", meaning, unit="MiB", scale=1 / figures.MIB)


COLUMNS: tuple[Column, ...] = (
    Column("cell", "cell", "text", "One point of the matrix."),
    Column("status", "status", "text", "How the cell ended."),
    Column("precision", "precision", "text", "The number format asked for."),
    Column("backend", "backend", "text", "The exporter and runtime."),
    Column("variant", "variant", "text", "The model after its recipe: dense, pruned, …"),
    Column("model", "model", "axis", "The checkpoint."),
    Column("device", "device", "axis", "The device the runtime was told to use."),
    Column("family", "family", "axis", "The architecture, or the conventions it follows."),
    Column("licence", "licence", "axis", "The model's licence, as the matrix says."),
    Column(
        "imgsz",
        "image size",
        "axis",
        "Side of the square input, or height x width, in pixels.",
        unit="px",
    ),
    Column("batch", "batch", "axis", "Images in one inference."),
    Column("threads", "threads", "axis", "Threads of one inference."),
    Column(
        "memory_limit_mb",
        "memory limit",
        "axis",
        "Limit of memory that every launch ran within.",
        unit="MiB",
    ),
    _latency(
        "latency_p50_ms",
        "p50 [95 % CI]",
        "Median latency of one inference, model only, and the 95 % confidence interval over "
        "launches.",
    ),
    _latency("latency_p90_ms", "p90", "90th percentile of latency over all launches."),
    _latency("latency_p95_ms", "p95", "95th percentile of latency over all launches."),
    _latency("latency_p99_ms", "p99", "99th percentile of latency over all launches."),
    _latency("cold_ms", "cold", "The first inference after loading, median of launches."),
    _latency(
        "warmup_ms",
        "warm-up",
        "Time from the cold inference to the steady state, median of launches.",
    ),
    _latency("load_ms", "load", "Opening the artifact in the runtime, median of launches."),
    _latency("e2e_p50_ms", "end to end p50", "Median time of one batch, image files to boxes."),
    Column(
        "throughput_ips",
        "throughput",
        "figure",
        "Images per second: the batch over the mean latency.",
        unit="images/s",
        high_first=True,
    ),
    _size("peak_rss_bytes", "peak RSS", "Highest resident memory of a worker, median of launches."),
    _size(
        "model_rss_bytes", "model RSS", "Resident memory that the model and its inferences added."
    ),
    _size("uss_bytes", "unique set", "Memory that no other process has, once it has inferred."),
    _size("load_peak_rss_bytes", "load peak", "Highest resident memory while the artifact loads."),
    _size("steady_rss_bytes", "steady RSS", "Resident memory once it has inferred."),
    _size("memory_per_copy_bytes", "per copy", "What a second session adds to the same process."),
    Column(
        "min_memory_mb",
        "works within",
        "figure",
        "Smallest limit of memory that three launches of three worked within.",
        unit="MiB",
    ),
    _size("device_memory_bytes", "device memory", "Memory held on the accelerator."),
    _size("artifact_bytes", "artifact", "Size of the exported files."),
    _size("artifact_gzip_bytes", "artifact, gzip", "Size of the exported files under gzip."),
    _size("artifact_zstd_bytes", "artifact, zstd", "Size of the exported files under Zstandard."),
    Column("map50_95", "mAP50-95", "score", "COCO AP over IoU 0.50 to 0.95.", high_first=True),
    Column("map50", "mAP50", "score", "COCO AP at IoU 0.50.", high_first=True),
    Column(
        "agreement",
        "agreement",
        "score",
        "AP of the cell's boxes with those of its reference taken as the truth.",
        high_first=True,
    ),
    Column(
        "score_drift",
        "score drift",
        "change",
        "Mean change of the scores of boxes that the cell and its reference both find.",
    ),
    Column(
        "energy_j_per_image",
        "energy",
        "figure",
        "Energy of one image above idle, by the sensor named at the figure.",
        unit="mJ/image",
        scale=1e3,
    ),
    Column(
        "energy_gross_j_per_image",
        "energy, gross",
        "figure",
        "Energy of one image with the idle power of the same time.",
        unit="mJ/image",
        scale=1e3,
    ),
    Column("energy_idle_w", "idle", "figure", "Power with the model loaded, at rest.", unit="W"),
    Column(
        "images_per_wh",
        "images a Wh",
        "figure",
        "Images of steady inferences a watt-hour, idle power in it.",
        high_first=True,
    ),
    Column(
        "battery_hours",
        "battery",
        "figure",
        "Hours that the battery lasts at the images a second asked for, idle power in it.",
        unit="h",
        high_first=True,
    ),
    Column("launches", "launches", "count", "Fresh worker processes that measured the cell."),
    Column(
        "disturbed_launches", "disturbed", "count", "Launches that were disturbed, all attempts."
    ),
    Column("iterations", "iterations", "count", "Timed inferences over all launches."),
    Column("bursts", "bursts", "count", "Bursts of some 75 ms that inferences were timed in."),
    Column(
        "quiet_bursts",
        "quiet bursts",
        "count",
        "Bursts in which nothing else happened; where they suffice, figures come from them.",
    ),
    Column(
        "params", "parameters", "figure", "Weights of the detector.", unit="million", scale=1e-6
    ),
    Column(
        "macs", "MACs", "figure", "Multiply-accumulates of one image.", unit="billion", scale=1e-9
    ),
    Column("nonzero_fraction", "non-zero", "score", "Share of the weights that are not zero."),
    Column("input_contract", "input", "axis", "How pictures are made into the model's input."),
    Column("output_contract", "output", "axis", "How the model's outputs read."),
    Column("executed_precision", "executed precision", "text", "What the runtime says it ran."),
    Column("notes", "notes", "text", "How the artifact came out."),
)

BY_KEY = {column.key: column for column in COLUMNS}


_NO_LABELS = "not measured: the images have no labels"

_ABSENCES = {
    "executed_precision": "the runtime does not tell",
    "min_memory_mb": "not looked for: deploymark fit",
    "map50": _NO_LABELS,
    "map50_95": _NO_LABELS,
    "notes": "no notes",
}
"""Why a column of an ok cell is empty, where it is more than not measured."""


_OF_MEMORY = frozenset({*MEMORY_FIGURES, "min_memory_mb"})

_SCORES = frozenset({"map50", "map50_95"})


def _reason(cell: CellResult, key: str) -> str | None:
    """Why an ok cell has no figure of energy or memory, where the run recorded it."""
    if key == "energy_j_per_image":
        return cell.energy_reason
    return cell.memory_reason if key in _OF_MEMORY else None


def _absence(cell: CellResult, key: str) -> str:
    """Why there is no figure, in one sentence."""
    if cell.status != "ok":
        why = f": {cell.reason}" if cell.status == "invalid" and key in _SCORES else ""
        return f"not measured: {cell.status}{why}"
    if reason := _reason(cell, key):
        return f"not measured: {reason}"
    if key in OF_ENERGY and cell.energy_reason:
        return f"not measured: {cell.energy_reason}"
    fewest = _FEWEST_ITERATIONS.get(key, 0)
    if cell.iterations < fewest:
        return f"not given: {cell.iterations} iterations, {fewest} needed"
    if key in {"agreement", "score_drift"}:
        return "not compared" if cell.agreement_reference is None else "no boxes to compare"
    return _ABSENCES.get(key, "not measured")


def _number(column: Column, value: float) -> str:
    if column.kind == "count":
        return f"{value:.0f}"
    if column.kind == "change":
        return figures.signed(value, 3)
    return f"{value:.3f}" if column.kind == "score" else figures.significant(value)


_ENDS_OF_ENERGY = {
    "energy_j_per_image": ("energy_ci_low_j_per_image", "energy_ci_high_j_per_image"),
    "energy_gross_j_per_image": (
        "energy_gross_ci_low_j_per_image",
        "energy_gross_ci_high_j_per_image",
    ),
}


def _energy_notes(cell: CellResult, key: str) -> tuple[str, str]:
    """The sensor and what it sees; and whether it is a model and no sensor."""
    told = [cell.energy_source or ""]
    if cell.energy_kind and cell.energy_scope and cell.energy_kind != MODELLED:
        told.append(f"{cell.energy_kind}, {cell.energy_scope}")
    ends = [getattr(cell, end) for end in _ENDS_OF_ENERGY.get(key, ())]
    if ends and None not in ends:
        told.append(f"95 % interval {figures.interval(*(end * 1e3 for end in ends))} mJ")
    return MODELLED if cell.energy_kind == MODELLED else "", ", ".join(filter(None, told))


def _notes(cell: CellResult, column: Column) -> tuple[str, str]:
    """What stands beside a figure, and its title."""
    extra = ""
    title = f"enforced by {cell.memory_enforced_by}" if column.key == "min_memory_mb" else ""
    if column.key == "latency_p50_ms":
        extra, title = _interval_notes(cell)
    elif column.key == "latency_p95_ms":
        ends = figures.interval(cell.latency_p95_ci_low_ms, cell.latency_p95_ci_high_ms)
        title = f"95 % confidence interval over launches {ends}" if ends else ""
    elif column.key == "warmup_ms" and cell.warmup_iterations is not None:
        title = figures.plural(round(cell.warmup_iterations), "inference")
    elif column.key == "launches" and cell.steady_launches is not None:
        title = f"{cell.steady_launches} steady when their warm-up ended"
    elif column.key in {*OF_ENERGY, "energy_idle_w"}:
        extra, title = _energy_notes(cell, column.key)
    elif column.key in _SCORES and cell.map_images is not None:
        extra, title = _score_notes(cell, cell.map_images)
    elif column.key in {"agreement", "score_drift"} and cell.agreement_reference:
        title = f"with {cell.agreement_reference}"
    elif column.key == "status":
        extra, title = DISTURBED if cell.disturbed else "", cell.reason or ""
    elif column.key in LONG_TEXTS:
        title = str(_value(cell, column) or "")
    return extra, title


def _score_notes(cell: CellResult, images: int) -> tuple[str, str]:
    over = f"over {figures.plural(images, 'image')}"
    return ("cut", f"{over}\n{cell.accuracy_doubt}") if cell.accuracy_doubt else ("", over)


def _interval_notes(cell: CellResult) -> tuple[str, str]:
    extra = figures.interval(cell.latency_ci_low_ms, cell.latency_ci_high_ms) or ""
    title = _interval_title(cell) if extra else "no interval: it takes two launches or more"
    by = cell.reason if cell.disturbed else None
    return extra, "\n".join(part for part in (title, by) if part)


def _interval_title(cell: CellResult) -> str:
    width = figures.measured(cell.interval_half_width)
    if width is None:
        return ""
    return f"±{figures.significant(100 * width, 2)} % over {cell.launches} launches"


def field(cell: CellResult, column: Column) -> Field:
    """One figure of a cell as it is shown."""
    value = _value(cell, column)
    if not _present(value, column):
        return no_figure(_absence(cell, column.key))
    extra, title = _notes(cell, column)
    if column.numeric:
        number = float(value) * column.scale
        return Field(_number(column, number), value=number, title=title, extra=extra)
    sort_by = float(value) if isinstance(value, int) else None
    if column.key == "imgsz":
        sort_by = float(cell.size.pixels)
    return Field(str(value), value=sort_by, title=title, extra=extra)


def _value(cell: CellResult, column: Column) -> Any:
    value = getattr(cell, column.key)
    return " ".join(value) if isinstance(value, list) else value


def shown_columns(cells: Sequence[CellResult]) -> dict[str, bool]:
    """For each column's key, whether it is shown before the reader asks for all.

    Left out are columns of figures without a single one, axes that are the same for all cells, and
    notes, which are long.
    """
    shown = {}
    for column in COLUMNS:
        if column.kind == "axis":
            shown[column.key] = len({getattr(cell, column.key) for cell in cells}) > 1
        elif column.key == "notes":
            shown[column.key] = False
        elif column.numeric or column.key == "executed_precision":
            shown[column.key] = any(_present(getattr(cell, column.key), column) for cell in cells)
        else:
            shown[column.key] = True
    return shown


def _present(value: Any, column: Column) -> bool:
    """Whether a value of ``cells.json`` is a figure, rather than a mark that there is none."""
    if not column.numeric:
        return value not in {None, ""}
    # Nothing was counted in a cell that never ran: no figure, rather than a 0 among figures.
    return figures.measured(value) is not None and not (column.kind == "count" and value == 0)


def common_axes(cells: Sequence[CellResult]) -> list[tuple[str, str]]:
    """(title, value with unit) of every axis that is the same for all cells."""
    common = []
    for column in COLUMNS:
        if column.kind != "axis":
            continue
        values = {getattr(cell, column.key) for cell in cells}
        if len(values) == 1:
            value = values.pop()
            if value not in {None, ""}:
                common.append((column.title, f"{value} {column.unit}".rstrip()))
    return common

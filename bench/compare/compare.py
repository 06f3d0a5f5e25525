"""``deploymark compare``: two or more runs side by side, a row a cell."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deploymark.bench.compare.run_differences import differences, machine_of, same_images
from deploymark.bench.errors import BadInputError, NothingToRunError
from deploymark.bench.matrix.selection import matches
from deploymark.bench.records.comparison import (
    DIFFERENCES,
    KEY_FIGURES,
    LATENCY,
    ComparedCell,
    ComparedRun,
    Comparison,
    Value,
)
from deploymark.bench.records.energy import OF_ENERGY
from deploymark.bench.records.launches import LAUNCHES_FILE, counted, read_launches
from deploymark.bench.records.machines import machine_of_part, title
from deploymark.bench.records.run import CellResult, Run, load_run
from deploymark.bench.statistics.launch_ratio import OF_A_LAUNCH, values_of_launches, welch_interval
from deploymark.bench.yaml_source import did_you_mean

DESCRIPTIVE = (
    "This describes, it decides nothing: separate runs cannot prove a change below what machines "
    "drift by between them (1 to 9 % of latency). To decide, use: deploymark gate"
)

_AXES = frozenset({"imgsz", "batch", "threads"})

FIGURES: tuple[str, ...] = tuple(
    field.name
    for field in dataclasses.fields(CellResult)
    if str(field.type) in {"int", "float", "int | None", "float | None"} and field.name not in _AXES
)
"""What can be compared: the columns of ``cells.json`` with numbers."""


@dataclasses.dataclass(frozen=True)
class _Column:
    """A run with its cells, and by cell and figure what each launch that counts measured."""

    run: Run
    cells: Mapping[str, CellResult]
    launches: Mapping[str, Mapping[str, Sequence[float]]]

    def of_launches(self, cell: str, figure: str) -> Sequence[float]:
        """The figure of each launch; empty where launches have none."""
        return self.launches.get(cell, {}).get(figure, ())


def _column(folder: Path) -> _Column:
    run = load_run(folder)
    cells = {cell.cell: cell for cell in run.cells}
    by_cell: dict[str, list[Mapping[str, Any]]] = {}
    try:
        for record in read_launches(folder):
            by_cell.setdefault(record["cell"], []).append(record)
        used = {
            name: counted(by_cell[name], disturbed=cell.disturbed)
            for name, cell in cells.items()
            if name in by_cell
        }
        launches = {
            cell: {name: values_of_launches(records, name) for name in OF_A_LAUNCH}
            for cell, records in used.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInputError(f"{folder / LAUNCHES_FILE} cannot be read: {error!r}") from error
    return _Column(run, cells, launches)


def _number(cell: CellResult, figure: str) -> float | None:
    value = getattr(cell, figure)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)


def _own_interval(cell: CellResult, figure: str) -> tuple[float | None, float | None]:
    if figure == LATENCY:
        return cell.latency_ci_low_ms, cell.latency_ci_high_ms
    if figure == "energy_j_per_image":
        return cell.energy_ci_low_j_per_image, cell.energy_ci_high_j_per_image
    return None, None


def _not_alike(figure: str, first: _Column, other: _Column, cell: str) -> str:
    """Why a figure of two runs must not be compared; empty where it may."""
    one, two = first.cells[cell], other.cells[cell]
    if figure in OF_ENERGY and one.energy_source != two.energy_source:
        return f"measured by {two.energy_source}, in the first run by {one.energy_source}"
    if figure in {"map50_95", "map50"} and not same_images(first.run, other.run, two.model):
        return "scored on other images than in the first run"
    return ""


def _alone(figure: str, row: CellResult | None) -> Value:
    """A figure of one run, not compared with anything."""
    if row is None:
        return Value(reason="this run has no such cell")
    if row.status != "ok":
        return Value(reason=f"{row.status}: {row.reason or 'no reason was recorded'}")
    number = _number(row, figure)
    if number is None:
        return Value(reason="not measured")
    low, high = _own_interval(row, figure)
    return Value(number, low, high)


def _against(first: _Column, column: _Column, figure: str, cell: str) -> Value:
    """A figure of one run beside that of the first."""
    base = _alone(figure, first.cells.get(cell)).value
    value = _alone(figure, column.cells.get(cell))
    if value.value is None or base is None:
        return value
    if reason := _not_alike(figure, first, column, cell):
        return dataclasses.replace(value, reason=reason)
    if figure in DIFFERENCES:
        return dataclasses.replace(value, difference=value.value - base)
    if base <= 0:
        return value
    ratio = value.value / base
    ends = welch_interval(first.of_launches(cell, figure), column.of_launches(cell, figure))
    if ends is None:
        reason = "no interval: it takes two launches in both runs" if figure in OF_A_LAUNCH else ""
        return dataclasses.replace(value, ratio=ratio, reason=reason)
    # widened where needed to hold the ratio of the medians, which is the figure told
    return dataclasses.replace(
        value, ratio=ratio, ratio_low=min(ends[0], ratio), ratio_high=max(ends[1], ratio)
    )


def _values(columns: Sequence[_Column], figure: str, cell: str) -> list[Value]:
    """A figure of a cell in all runs; the first relates to nothing."""
    first, *others = columns
    alone = _alone(figure, first.cells.get(cell))
    return [alone, *(_against(first, column, figure, cell) for column in others)]


def _fastest(latencies: Sequence[Value]) -> int | None:
    known = [
        (value.value, index) for index, value in enumerate(latencies) if value.value is not None
    ]
    return min(known)[1] if len(known) > 1 else None


def _row(columns: Sequence[_Column], cell: str, figures: Sequence[str]) -> ComparedCell:
    rows = [column.cells.get(cell) for column in columns]
    values = {figure: _values(columns, figure, cell) for figure in figures}
    return ComparedCell(
        cell,
        [None if row is None else row.status for row in rows],
        [None if row is None else row.artifact_sha256 for row in rows],
        values,
        _fastest([_alone(LATENCY, row) for row in rows]),
        [row is not None and row.disturbed for row in rows],
    )


def labelled(runs: Sequence[Run], *, several_machines: bool) -> list[ComparedRun]:
    """The runs under names that tell them apart: machines by their host, runs by their folder."""
    folders = [title(run.folder) for run in runs]
    labels = [
        machine_of_part(run.folder) or str(run.info.machine.get("host") or "unknown host")
        for run in runs
    ]
    details = [str(run.info.machine.get("cpu") or "") for run in runs]
    if several_machines and len(set(labels)) < len(labels):
        repeated = Counter(labels)
        labels = [
            f"{label} {folder}" if repeated[label] > 1 else label
            for label, folder in zip(labels, folders, strict=True)
        ]
    if not several_machines:
        labels, details = folders, [run.info.started for run in runs]
    repeated = Counter(labels)
    return [
        ComparedRun(
            f"{label} ({index + 1})" if repeated[label] > 1 else label,
            detail,
            str(run.folder),
            run.info.started,
            run.info.machine,
            run.info.finished is not None,
        )
        for index, (run, label, detail) in enumerate(zip(runs, labels, details, strict=True))
    ]


def _notes(runs: Sequence[ComparedRun], cells: Sequence[ComparedCell]) -> list[str]:
    notes = [DESCRIPTIVE]
    if not any(all(cell.statuses) for cell in cells):
        notes.append("No cell is in all of the runs.")
    other = sum(len(set(filter(None, cell.artifacts))) > 1 for cell in cells)
    if other:
        notes.append(
            f"{other} of {len(cells)} cells have artifacts of other bytes in some of the runs: an "
            "exporter of another version, another model, other calibration images or options."
        )
    notes += [
        f"{run.label} has no end: it is under way or was cut off."
        for run in runs
        if not run.finished
    ]
    return notes


def known_figures(figures: Sequence[str], option: str, example: str) -> tuple[str, ...]:
    """The figures that an option names, once each; ``example`` is what to write for it.

    Raises BadInputError for what is no column with numbers.
    """
    for figure in figures:
        if figure not in FIGURES:
            raise BadInputError(
                f"{option} {figure}: no column of cells.json with numbers"
                f"{did_you_mean(figure, FIGURES)}",
                remedy=f"Write for example: {option} {example}",
            )
    return tuple(dict.fromkeys(figures))


def compare(
    folders: Sequence[Path], *, select: str = "", figures: Sequence[str] = ()
) -> Comparison:
    """Read run directories and put them side by side; the first is what the others relate to.

    ``select`` is an expression as of ``-k``; ``figures`` are columns of ``cells.json`` instead of
    the key figures. Raises BadInputError for fewer than two runs, the same run twice, an unknown
    figure or a folder that is no run; NothingToRunError where ``select`` leaves no cell.
    """
    if len(folders) < 2:  # noqa: PLR2004 - side by side takes two
        raise BadInputError(
            "compare takes two run directories or more",
            remedy="Write: deploymark compare results/ONE results/OTHER",
        )
    named: dict[Path, Path] = {}
    for folder in folders:
        other = named.setdefault(folder.resolve(), folder)
        if other is not folder:
            raise BadInputError(f"{folder} and {other} are the same run")
    wanted = known_figures(figures, "--figures", ",".join(KEY_FIGURES[:3])) or KEY_FIGURES
    columns = [_column(folder) for folder in folders]
    names = dict.fromkeys(cell for column in columns for cell in column.cells)
    chosen = [cell for cell in names if matches(select, cell)]
    if not chosen:
        raise NothingToRunError(
            f"-k {select!r} selects no cell of the runs" if select else "the runs have no cells"
        )
    cells = [_row(columns, cell, wanted) for cell in chosen]
    present = [
        figure
        for figure in wanted
        if any(value.value is not None for cell in cells for value in cell.figures[figure])
    ]
    cells = [
        dataclasses.replace(cell, figures={figure: cell.figures[figure] for figure in present})
        for cell in cells
    ]
    read = [column.run for column in columns]
    several_machines = len({machine_of(run) for run in read}) > 1
    runs = labelled(read, several_machines=several_machines)
    return Comparison(
        runs,
        present,
        cells,
        differences(read),
        several_machines,
        _notes(runs, cells),
    )

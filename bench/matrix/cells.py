"""A matrix expanded to its cells, with ids that are stable and unique."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pydantic

from deploymark.backends.inputs import Size
from deploymark.bench.errors import NothingToRunError
from deploymark.bench.matrix.axes import OptionValue
from deploymark.bench.matrix.entries import BackendEntry, ModelEntry, model_name
from deploymark.bench.matrix.given import GivenArtifact
from deploymark.bench.matrix.scenario_settings import Scenario, scenarios_of
from deploymark.bench.matrix.schema import Matrix
from deploymark.bench.matrix.sections import CellPattern, Include, Limits, Measure, Settings
from deploymark.bench.matrix.selection import matches
from deploymark.bench.matrix.steps import Step, is_quantization_aware, without_rounding
from deploymark.bench.records.reference import UNCHANGED
from deploymark.bench.yaml_source import YamlSource, did_you_mean, sentence

DENSE = "dense"

AS_IS = "as-is"
"""Variant of an artifact that was made elsewhere: nobody knows what was done to its model."""


def is_changed(variant: str) -> bool:
    """Whether a recipe of the run changed the weights of a variant."""
    return variant not in UNCHANGED


@dataclasses.dataclass(frozen=True)
class Cell:
    """One point of the matrix. ``device`` is empty until the backend's default is known.

    ``threads`` is None where the matrix says ``auto``. ``runtime_axes`` are the runtime options
    that are an axis, with their values here; ``runtime_options`` has them too. ``python`` is the
    interpreter of the worker, None for this one. ``given`` is the file to measure where it was made
    elsewhere. ``memory_limit_mb`` is the axis; ``limit_mb`` is what launches run within.
    """

    model: str
    variant: str
    precision: str
    backend: str
    device: str
    imgsz: Size
    batch: int
    threads: int | None
    steps: tuple[Step, ...] = ()
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    runtime_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    measure: Measure = Measure()
    limits: Limits = Limits()
    python: str | None = None
    head: str = "auto"
    given: GivenArtifact | None = None
    scenarios: tuple[Scenario, ...] = ()
    runtime_axes: tuple[tuple[str, OptionValue], ...] = ()
    memory_limit_mb: int | None = None

    @property
    def id(self) -> str:
        """``yolo11n-l1_50-int8-openvino-cpu-320``; batch and threads only where not 1 and auto.

        A limit of memory that is an axis follows: ``…-320-m128``.

        A rectangle has both sides, the height first: ``…-cpu-384x640``.
        Runtime options follow where they are an axis: ``…-320-spinning_false``.
        """
        parts = [self.model, self.variant, self.precision, self.backend, self.device or "cpu"]
        parts.append(str(self.imgsz))
        if self.batch != 1:
            parts.append(f"b{self.batch}")
        if self.threads is not None:
            parts.append(f"t{self.threads}")
        if self.memory_limit_mb is not None:
            parts.append(f"m{self.memory_limit_mb}")
        parts += [f"{name}_{option_text(value)}" for name, value in self.runtime_axes]
        return "-".join(parts)

    @property
    def limit_mb(self) -> int | None:
        """MiB that launches run within, by the cell's axis or its limits; None for no limit."""
        return self.memory_limit_mb or self.limits.memory_limit_mb


def option_text(value: OptionValue) -> str:
    """A value as a matrix has it: ``true``, ``passive``, ``10``."""
    return str(value).lower() if isinstance(value, bool) else str(value)


@dataclasses.dataclass(frozen=True)
class LeftOut:
    """A cell that the axes give and the matrix takes away, with the reason."""

    cell: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Expansion:
    """The cells of a matrix and those it excludes."""

    cells: tuple[Cell, ...]
    left_out: tuple[LeftOut, ...]


def expand(
    matrix: Matrix,
    source: YamlSource | None = None,
    *,
    default_devices: Mapping[str, str] | None = None,
    given: Mapping[str, Sequence[GivenArtifact]] | None = None,
) -> Expansion:
    """All cells of a matrix, in the order of the file.

    ``default_devices`` gives each backend's device where the matrix names none ("cpu" otherwise),
    ``given`` by model's name the artifacts that were made elsewhere: their size, batch and
    precision are those of the file, and variants do not apply to them. The precision ``int8-qat``
    is that of the variants whose recipe ends in quantization-aware training, where there are any.
    Raises BadInputError for duplicates, for a rule of the file that matches nothing, and
    NothingToRunError if no cell is left.
    """
    where = source or YamlSource(file="the matrix", document=None)
    _unique_names(matrix, where)
    devices = default_devices or {}
    # The precision of those variants alone; asked for without any, each cell says that.
    trained_rounding = any(
        is_quantization_aware(_variant(variant)[1]) for variant in matrix.variants
    )
    cells: list[Cell] = []
    for model in matrix.models:
        if model.artifact is not None:
            artifacts = (given or {}).get(model_name(model), ())
            cells += [
                cell
                for artifact in artifacts
                for cell in _artifact_cells(matrix, model, artifact, devices)
            ]
            continue
        cells += [
            _cell(matrix, model, _variant(variant), entry, precision, device, *sizes, axes=axes)
            for variant, entry in itertools.product(matrix.variants, matrix.backend_entries())
            for device in entry.devices or (devices.get(entry.name, "cpu"),)
            for precision in entry.precisions or matrix.precisions
            for sizes in itertools.product(
                matrix.imgsz, matrix.batch, matrix.threads, matrix.memory_limit_mb
            )
            for axes in entry.axis_points()
            if not (trained_rounding and without_rounding(precision, _variant(variant)[1]))
        ]
    _no_duplicates(cells, where)
    kept, left_out = _exclude(matrix, cells, where)
    known = {cell.id for cell in kept}
    for index, item in enumerate(matrix.include):
        cell = _included(matrix, item, index, devices, where)
        if cell.id in known:
            raise where.error(("include", index), f"duplicate cell {cell.id}")
        known.add(cell.id)
        kept.append(cell)
    if not kept:
        raise NothingToRunError(
            f"{where.file}: the matrix has no cell left", remedy="Loosen its `exclude` section."
        )
    return Expansion(cells=tuple(_override(matrix, kept, where)), left_out=tuple(left_out))


def _unique_names(matrix: Matrix, where: YamlSource) -> None:
    for key, names in (
        ("models", [model_name(model) for model in matrix.models]),
        ("variants", [_variant(variant)[0] for variant in matrix.variants]),
    ):
        for index, name in enumerate(names):
            if name in names[:index]:
                raise where.error(
                    (key, index),
                    f"two {key} are called {name!r}, and cells are told apart by the names",
                    remedy="Give one of them a name of its own: `name: other`.",
                )


def _no_duplicates(cells: Sequence[Cell], where: YamlSource) -> None:
    twice = [name for name, count in Counter(cell.id for cell in cells).items() if count > 1]
    if not twice:
        return
    document = where.document if isinstance(where.document, dict) else {}
    for key in ("backends", "precisions", "imgsz", "batch", "threads", "memory_limit_mb"):
        values = list(document.get(key, ()))
        for index, value in enumerate(values):
            if value in values[:index]:
                raise where.error(
                    (key, index), f"duplicate cell {twice[0]}: {value!r} is given twice"
                )
    raise where.error(("backends",), f"duplicate cell {twice[0]}")


def _variant(variant: Any) -> tuple[str, tuple[Step, ...]]:
    return (DENSE, ()) if variant == DENSE else (variant.name, variant.steps)


def _artifact_cells(
    matrix: Matrix, model: ModelEntry, artifact: GivenArtifact, devices: Mapping[str, str]
) -> list[Cell]:
    """The cells of one artifact under one backend."""
    entries = {entry.name: entry for entry in matrix.backend_entries()}
    entry = entries.get(artifact.backend) or BackendEntry(name=artifact.backend)
    cells = [
        _cell(
            matrix,
            model,
            (AS_IS, ()),
            entry,
            model.precision or artifact.precision or "fp32",
            device,
            *sizes,
            axes=axes,
        )
        for device in entry.devices or (devices.get(entry.name, "cpu"),)
        for sizes in itertools.product(
            matrix.imgsz if artifact.imgsz is None else (artifact.imgsz,),
            matrix.batch if artifact.batch is None else (artifact.batch,),
            matrix.threads,
            matrix.memory_limit_mb,
        )
        for axes in entry.axis_points()
    ]
    # How the file was exported is past: the options are those of other cells.
    return [dataclasses.replace(cell, given=artifact, options={}) for cell in cells]


def _cell(
    matrix: Matrix,
    model: ModelEntry,
    variant: tuple[str, tuple[Step, ...]],
    entry: BackendEntry,
    precision: str,
    device: str,
    imgsz: Size,
    batch: int,
    threads: int | str,
    memory_limit_mb: int | None,
    *,
    axes: tuple[tuple[str, OptionValue], ...],
) -> Cell:
    return Cell(
        model=model_name(model),
        head=model.head,
        variant=variant[0],
        steps=variant[1],
        precision=precision,
        backend=entry.name,
        device=device,
        imgsz=imgsz,
        batch=batch,
        threads=threads if isinstance(threads, int) else None,
        options=entry.options,
        runtime_options={**entry.runtime_options, **dict(axes)},
        runtime_axes=axes,
        measure=matrix.measure,
        limits=matrix.limits,
        python=entry.python,
        scenarios=scenarios_of(matrix.scenario),
        memory_limit_mb=memory_limit_mb,
    )


def pattern_matches(pattern: CellPattern, cell: Cell) -> bool:
    """Whether every key that the pattern gives has the cell's value, or one of a list."""
    for name in CellPattern.model_fields:
        wanted = getattr(pattern, name)
        value = getattr(cell, name)
        if name == "threads" and value is None:
            value = "auto"
        if wanted is not None and value not in (wanted if isinstance(wanted, tuple) else (wanted,)):
            return False
    return True


def _exclude(
    matrix: Matrix, cells: Sequence[Cell], where: YamlSource
) -> tuple[list[Cell], list[LeftOut]]:
    kept, left_out = [], []
    used: set[int] = set()
    for cell in cells:
        hits = [i for i, pattern in enumerate(matrix.exclude) if pattern_matches(pattern, cell)]
        used.update(hits)
        if hits:
            left_out.append(LeftOut(cell=cell.id, reason=matrix.exclude[hits[0]].reason))
        else:
            kept.append(cell)
    _all_used("exclude", len(matrix.exclude), used, where)
    return kept, left_out


def _all_used(key: str, count: int, used: set[int], where: YamlSource) -> None:
    if where.document is None or where.given:
        return  # the command line narrowed the matrix: a rule may be left without a cell
    for index in range(count):
        if index not in used:
            raise where.error((key, index), "matches no cell of this matrix")


def _included(
    matrix: Matrix, item: Include, index: int, devices: Mapping[str, str], where: YamlSource
) -> Cell:
    models = {model_name(model): model for model in matrix.models if model.artifact is None}
    variants = dict(_variant(variant) for variant in matrix.variants)
    for key, value, known in (
        ("model", item.model, list(models)),
        ("variant", item.variant, list(variants)),
    ):
        if value is not None and value not in known:
            hint = did_you_mean(value, known)
            raise where.error(
                ("include", index, key), f"no {key} of this matrix (got {value!r}){hint}"
            )
    if not models:
        raise where.error(("include", index), "adds a cell of a checkpoint, and there is none")
    entries = {entry.name: entry for entry in matrix.backend_entries()}
    entry = entries.get(item.backend) or BackendEntry(name=item.backend)
    variant = item.variant or next(iter(variants))
    return _cell(
        matrix,
        models[item.model] if item.model else next(iter(models.values())),
        (variant, variants[variant]),
        entry,
        item.precision,
        item.device or next(iter(entry.devices or ()), devices.get(entry.name, "cpu")),
        item.imgsz or matrix.imgsz[0],
        item.batch or matrix.batch[0],
        item.threads or matrix.threads[0],
        item.memory_limit_mb or matrix.memory_limit_mb[0],
        axes=entry.axis_points()[0],
    )


def _override(matrix: Matrix, cells: Sequence[Cell], where: YamlSource) -> list[Cell]:
    result = list(cells)
    used: set[int] = set()
    for index, override in enumerate(matrix.overrides):
        for place, cell in enumerate(result):
            if pattern_matches(override.when, cell):
                used.add(index)
                result[place] = _changed(cell, override.set, index, where)
    _all_used("overrides", len(matrix.overrides), used, where)
    return result


def _changed(cell: Cell, settings: Settings, index: int, where: YamlSource) -> Cell:
    changes: dict[str, Any] = {}
    if settings.scenario is not None:
        changes["scenarios"] = scenarios_of(settings.scenario)
    for name in settings.runtime_options or {}:
        if name in dict(cell.runtime_axes):
            raise where.error(
                ("overrides", index, "set", "runtime_options", name),
                f"is an axis of {cell.backend}: an override would contradict the id of {cell.id}",
            )
    for key in ("options", "runtime_options"):
        if (value := getattr(settings, key)) is not None:
            changes[key] = {**getattr(cell, key), **value}
    for key in ("measure", "limits"):
        if (value := getattr(settings, key)) is None:
            continue
        current = getattr(cell, key)
        try:
            changes[key] = type(current).model_validate({**current.model_dump(), **value})
        except pydantic.ValidationError as error:
            first = error.errors(include_url=False)[0]
            path = ("overrides", index, "set", key, *first["loc"])
            if first["type"] == "extra_forbidden":
                what = (
                    f"unknown key{did_you_mean(first['loc'][-1], list(type(current).model_fields))}"
                )
            else:  # of keys that contradict each other the input is all of them
                got = value if not first["loc"] else first["input"]
                what = f"{sentence(first)} (got {got!r})"
            raise where.error(path, what) from error
    return dataclasses.replace(cell, **changes)


def select(expansion: Expansion, expression: str) -> tuple[Cell, ...]:
    """The cells that ``-k`` chooses. Raises NothingToRunError if there is none."""
    chosen = tuple(cell for cell in expansion.cells if matches(expression, cell.id))
    if not chosen:
        raise NothingToRunError(
            f"-k {expression!r} selects none of the {len(expansion.cells)} cells",
            remedy="See their ids with: deploymark list",
        )
    return chosen

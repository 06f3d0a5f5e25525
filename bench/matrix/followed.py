"""Whether exported files can follow what was asked: their size and precision are their own."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from deploymark.backends.base import Size
from deploymark.bench.errors import BadInputError, together
from deploymark.bench.matrix.cells import Cell
from deploymark.bench.matrix.given import GivenArtifact, names_values
from deploymark.bench.matrix.schema import Matrix
from deploymark.bench.yaml_source import YamlSource

Given = Mapping[str, Sequence[GivenArtifact]]


def with_asked_precision(matrix: Matrix, given: Given, where: YamlSource) -> Given:
    """The files; one that does not tell its precision has the one of ``--precisions``."""
    if not where.option_of(("precisions",)) or len(matrix.precisions) != 1:
        return given
    (asked,) = matrix.precisions
    return {
        name: [dataclasses.replace(item, precision=item.precision or asked) for item in items]
        for name, items in given.items()
    }


def check_followed(
    matrix: Matrix, cells: Sequence[Cell], chosen: Sequence[Cell], where: YamlSource
) -> None:
    """Raise BadInputError, all faults at once, where a value that is named cannot be followed.

    ``cells`` are all of the matrix, ``chosen`` those to be measured. A size or a precision of the
    command line holds for every chosen cell; one of the file, for at least one cell.
    """
    faults = [
        *_faults(matrix, cells, chosen, where, "imgsz", "imgsz"),
        *_faults(matrix, cells, chosen, where, "precisions", "precision"),
    ]
    if faults:
        raise together(faults)


def _faults(
    matrix: Matrix,
    cells: Sequence[Cell],
    chosen: Sequence[Cell],
    where: YamlSource,
    axis: str,
    column: str,
) -> Iterator[BadInputError]:
    # What nothing here can read does not tell its size or precision.
    told = [cell for cell in cells if cell.given is None or cell.given.outcome is None]
    files = [cell for cell in told if cell.given is not None]
    if not files or not names_values(where, axis):
        return
    values = [_value(value) for value in getattr(matrix, axis)]
    if where.option_of((axis,)):
        for cell in _one_a_file(chosen):
            if _value(getattr(cell, column)) not in values:
                yield where.error((axis,), _reason(cell, axis), remedy=_remedy(axis))
    followed = {_value(getattr(cell, column)) for cell in told}
    for index, value in enumerate(values):
        if value not in followed and all(entry.path is None for entry in matrix.models):
            cell = files[0]
            what = f"{value}: {_reason(cell, axis)}" if len(values) > 1 else _reason(cell, axis)
            yield where.error((axis, index), what, remedy=_remedy(axis))


def _value(value: int | str | Size) -> str | Size:
    """Sizes as such, however they were written; precisions are words."""
    return value if isinstance(value, str) else Size.of(value)


def _one_a_file(cells: Sequence[Cell]) -> list[Cell]:
    """The first cell of each file."""
    found: dict[str, Cell] = {}
    for cell in cells:
        if cell.given is not None and cell.given.outcome is None:
            found.setdefault(cell.model, cell)
    return list(found.values())


def _reason(cell: Cell, axis: str) -> str:
    name = cell.given.path.name if cell.given is not None else cell.model
    if axis == "imgsz":
        return f"{name} is fixed at {cell.imgsz} px"
    return (
        f"{name} is {cell.precision} as it is: the precision of an exported file cannot be changed"
    )


def _remedy(axis: str) -> str:
    if axis == "imgsz":
        return "Leave it out, or export the model at that size (or with open sizes)."
    return "Leave it out, or give the checkpoint, which is exported in each precision."

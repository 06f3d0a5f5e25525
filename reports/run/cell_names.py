"""What a cell is called within its run, and the command that measures just this one again."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Sequence

from deploymark.bench.records.run import CellResult, RunInfo

_PARTS = ("model", "variant", "precision", "backend", "device", "imgsz")
"""What an id begins with, in order, joined by hyphens."""


def short_names(cells: Sequence[CellResult]) -> list[str]:
    """The part of each id that differs between the cells; whole ids where it would not be unique.

    Ids that are not made of the cell's axes stay whole.
    """
    values = {part: {str(getattr(cell, part)) for cell in cells} for part in _PARTS}
    same = {part for part, found in values.items() if len(found) == 1}
    names = [_short(cell, same) for cell in cells]
    counts = Counter(names)
    return [
        name if name and counts[name] == 1 else cell.cell
        for cell, name in zip(cells, names, strict=True)
    ]


def _short(cell: CellResult, same: set[str]) -> str:
    kept, rest = [], cell.cell
    for part in _PARTS:
        value = str(getattr(cell, part))
        if rest != value and not rest.startswith(f"{value}-"):
            return cell.cell
        rest = rest[len(value) + 1 :]
        if part not in same:
            kept.append(value)
    return "-".join(filter(None, [*kept, rest]))


def selections(cells: Sequence[CellResult]) -> dict[str, str]:
    """By cell: the ``-k`` expression that selects it and no other; empty where there is none.

    An id may be part of longer ones, which are excluded by name. A cell whose id has spaces or
    brackets, or is a word of the expression itself, cannot be named.
    """
    ids = [cell.cell.lower() for cell in cells]
    whole = "\n".join(ids)
    found = {}
    for cell, name in zip(cells, ids, strict=True):
        if not name or re.search(r"[\s()]", name) or name in {"and", "or", "not"}:
            found[cell.cell] = ""
            continue
        others = [] if whole.count(name) == 1 else [i for i in ids if name in i and i != name]
        nameable = not any(re.search(r"[\s()]", other) for other in others)
        words = (cell.cell, *(f"not {other}" for other in dict.fromkeys(others)))
        found[cell.cell] = " and ".join(words) if nameable else ""
    return found


def rerun_commands(info: RunInfo, cells: Sequence[CellResult]) -> dict[str, str]:
    """By cell: the command line that measures it alone, with the options that the run was given."""
    return {
        cell: shlex.join(["deploymark", "run", info.matrix_file, *info.options, "-k", selection])
        if selection and info.matrix_file
        else ""
        for cell, selection in selections(cells).items()
    }

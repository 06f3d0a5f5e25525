"""Which cell of the candidate is compared with which of the baseline."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping

from deploymark.bench.matrix.cells import Cell

_AXES: tuple[tuple[str, ...], ...] = (
    ("variant", "precision", "backend", "device", "imgsz", "batch", "threads", "runtime_axes"),
    ("precision", "backend", "device", "imgsz", "batch", "threads", "runtime_axes"),
    ("variant", "backend", "device", "imgsz", "batch", "threads", "runtime_axes"),
    ("backend", "device", "imgsz", "batch", "threads", "runtime_axes"),
)
"""What must be equal of two cells with different ids, in the order tried: another model first, then
another variant (a recipe's result as a file of its own), then another precision."""


def match(baseline: Mapping[str, Cell], candidate: Mapping[str, Cell]) -> dict[str, str]:
    """The baseline's cell of each of the candidate's, by id; those without one are not there.

    Equal ids belong together. The rest are matched by their axes, where one cell alone on either
    side has them: two model files are compared so, whatever their names.
    """
    found = {name: name for name in candidate if name in baseline}
    for axes in _AXES:
        left_base = {name: _key(cell, axes) for name, cell in baseline.items()}
        for used in found.values():
            left_base.pop(used, None)
        left = {name: _key(cell, axes) for name, cell in candidate.items() if name not in found}
        counts, counts_base = Counter(left.values()), Counter(left_base.values())
        by_key = {key: name for name, key in left_base.items()}
        for name, key in left.items():
            if counts[key] == 1 and counts_base[key] == 1:
                found[name] = by_key[key]
    return found


def _key(cell: Cell, axes: tuple[str, ...]) -> Hashable:
    return tuple(getattr(cell, axis) for axis in axes)

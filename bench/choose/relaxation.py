"""Where no cell meets what was asked: the nearest one, and what would have to give way."""

from __future__ import annotations

from collections.abc import Sequence

from deploymark.bench.choose.rule import Entrant
from deploymark.bench.errors import BadInputError
from deploymark.bench.matrix.constraints import Constraint
from deploymark.bench.records.answer import Held, Relaxation


def nearest(entrants: Sequence[Entrant], constraints: Sequence[Constraint]) -> Relaxation | None:
    """The cell whose largest relaxation is the smallest, relative to what was asked.

    Its bounds are enough (the cell then surely meets them) and no larger than needed, to four
    digits. None where no cell has all figures that were asked for.
    """
    found: list[tuple[float, str, list[tuple[str, str]]]] = []
    for one in entrants:
        if one.failed or one.lacking:
            continue
        try:
            gives = [
                _give(constraint, held)
                for constraint, held in zip(constraints, one.held, strict=True)
                if held.state != "met"
            ]
        except BadInputError:
            continue  # no bound of that form would do: a share of FP32's below zero
        found.append((max(g[0] for g in gives), one.cell, [(a, b) for _, a, b in gives]))
    if not found:
        return None
    _, cell, bounds = min(found)
    return Relaxation(cell, bounds)


def _give(constraint: Constraint, held: Held) -> tuple[float, str, str]:
    """How far a bound has to give way, relative to it, and the bound before and after."""
    after = constraint.relaxed(held.judged)
    whole = constraint.limit if constraint.kind != "difference" else held.value.value
    share = abs(after.limit - constraint.limit) / (abs(whole or 0.0) or 1.0)
    return share, constraint.text, after.text

"""The order of launches: all cells in each round, in a seeded random order.

A machine drifts (heat, neighbours, clocks). Interleaving lets the drift hit every cell alike, as
randomised complete blocks do (Montgomery, Design and Analysis of Experiments, ch. 4).
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Collection, Mapping


@dataclasses.dataclass(frozen=True)
class LaunchSlot:
    """One launch to be made: the cell's id and which of its launches it is, from 0."""

    cell: str
    launch: int


def schedule(launches: Mapping[str, int], seed: int) -> list[LaunchSlot]:
    """All launches of all cells, by rounds: round r has the r-th launch of every cell that has one.

    The order within a round depends on the seed, the round and the ids, and not on the order in
    which the cells are given.
    """
    slots: list[LaunchSlot] = []
    for number in range(max(launches.values(), default=0)):
        cells = sorted(cell for cell, count in launches.items() if count > number)
        # A string seeds the generator the same way in every process (Random.seed, version 2).
        random.Random(f"{seed}/{number}").shuffle(cells)  # noqa: S311 - no secret
        slots += [LaunchSlot(cell, number) for cell in cells]
    return slots


def remaining(
    slots: list[LaunchSlot], done: Collection[tuple[str, int]], failed: Collection[str]
) -> list[LaunchSlot]:
    """The launches still to be made: neither done before, nor of a cell that has failed."""
    return [
        slot for slot in slots if (slot.cell, slot.launch) not in done and slot.cell not in failed
    ]

"""Failed launches that are made again: which may end otherwise, and what is told of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TypeVar

from deploymark.bench.matrix.cells import Cell
from deploymark.bench.records.launches import Record, standing

_FULL_DISK = ("no space left on device", "disk quota exceeded")
"""What ENOSPC and EDQUOT read as."""

_TWICE = 2

_Line = TypeVar("_Line", bound=Record)


def may_have_gone(records: Sequence[Record], *, limited: bool) -> set[int]:
    """Indices of the failed launches of a cell that a resumed run makes again.

    Those killed from outside, stopped at the time limit, on a full disk, out of memory where it was
    not the cell's own limit (``limited``), and those that crashed. A crash that came twice in the
    same words is the cell's, as is all that a runtime refuses.
    """
    crashes = Counter(
        record["reason"]
        for record in records
        if record["status"] == "crashed" and not record.get("outside")
    )

    def may(record: Record) -> bool:
        status, reason = record["status"], record["reason"]
        if record.get("outside") or any(words in reason.lower() for words in _FULL_DISK):
            return True
        if status == "crashed":
            return crashes[reason] < _TWICE
        return status == "timeout" or (status == "out_of_memory" and not limited)

    return {
        index for index, record in enumerate(records) if record["status"] != "ok" and may(record)
    }


def remembered(records: Sequence[_Line], *, limited: bool) -> list[_Line]:
    """The records without those of failures that may have gone: what a resumed pass starts from."""
    gone = may_have_gone(records, limited=limited)
    return [record for index, record in enumerate(records) if index not in gone]


def is_limited(cell: Cell) -> bool:
    """Whether the cell runs under a limit of memory that the matrix sets."""
    return cell.limit_mb is not None or cell.limits.memory_mb is not None


def told_of_retries(records: Sequence[Record]) -> list[str]:
    """A sentence on the failed launches of a cell that were made again; none where none was."""
    kept = {id(record) for record in standing(records)}
    again = [record for record in records if id(record) not in kept]
    if not again:
        return []
    reasons = "; ".join(dict.fromkeys(f"{item['status']}: {item['reason']}" for item in again))
    count = "1 launch was" if len(again) == 1 else f"{len(again)} launches were"
    return [f"{count} made again after a failure: {reasons}"]

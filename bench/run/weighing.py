"""One launch of the memory pass, and what a launch under a limit came to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from deploymark.bench.children.memory_limit import Way, enforcement
from deploymark.bench.children.spawn import ChildEnd
from deploymark.bench.matrix.cells import Cell
from deploymark.bench.records.outcomes import Outcome
from deploymark.bench.run.executor import HERE, Executor

INFERENCES = 5
"""Of a launch that weighs: the first one allocates, the others show that nothing more comes."""

_MAYBE_THE_LIMIT = {
    "rlimit-data": ("crashed", "load_failed", "timeout"),
    "cgroup-v2": ("timeout",),
}
"""How launches may end at a limit without saying so, by how it is enforced."""


def weigh(
    job: Mapping[str, Any],
    cell: Cell,
    threads: int,
    log: Path,
    *,
    limit_mb: int | None,
    copies: bool = False,
    timeout_s: float | None = None,
    executor: Executor = HERE,
) -> ChildEnd:
    """A fresh worker that loads, infers a few times and tells its memory; its figures.

    ``job`` is a ``session_job`` of kind ``memory``. Where the worker ends while it loads the
    ``copies``, the figures from before are there all the same, and say how it ended.
    """
    told: dict[str, Any] = {}

    def listen(message: dict[str, Any]) -> None:
        told.update(message.get("figures") or {})

    end = executor.work(
        {**job, "inferences": INFERENCES, "copies": copies},
        timeout_s=timeout_s or cell.limits.launch_timeout_s,
        log=log,
        python=cell.python,
        threads=threads,
        on_message=listen,
        memory_limit_mb=limit_mb,
    )
    if told and not end.outcome.ok:
        why = f"a second session ended {end.outcome.status}: {end.outcome.reason}"
        return ChildEnd(Outcome("ok"), {**told, "copy_reason": why}, end.duration_s)
    return end


def blamed(
    outcome: Outcome,
    limit_mb: int | None,
    without: Callable[[], Outcome],
    way: Way | None,
) -> Outcome:
    """How a launch under a limit ended: ``out_of_memory`` where it ends well ``without`` one.

    ``way`` is how the limit was enforced.

    Under RLIMIT_DATA an allocation fails, and what a runtime makes of that is its own affair: an
    error of any wording, a segmentation fault, a wait for threads that never began. A control group
    says itself what it ended, but not what it slowed down: where pages of files no longer fit they
    are read again and again.
    """
    if (
        limit_mb is None
        or outcome.outside
        or outcome.status not in _MAYBE_THE_LIMIT.get(way or "", ())
    ):
        return outcome
    if not without().ok:
        return outcome
    return Outcome(
        "out_of_memory",
        f"within {limit_mb} MiB ({way}), and well without: {outcome.reason}",
        "Raise memory_limit_mb, or choose a smaller imgsz, batch or precision.",
    )


def enforcement_note() -> str:
    """How limits of memory were enforced, for the notes of a run."""
    how = enforcement()
    if how.way == "cgroup-v2":
        return "Limits of memory were those of control groups (cgroup v2, memory.max, no swap)."
    if how.way is None:
        return f"Limits of memory were not enforced: {how.reason}."
    return (
        "Limits of memory were enforced by RLIMIT_DATA, the weaker way: it counts private writable "
        f"memory, touched or not, and no pages of files. No control group: {how.reason}."
    )

"""A pair: two fresh workers alive at once, measured in alternating short bursts.

The drift of the machine hits both alike: each round has a burst of either side, in random order, a
tenth of a second apart at most, so the ratio within a round hardly knows it. Georges, Buytaert and
Eeckhout ("Statistically rigorous Java performance evaluation", OOPSLA 2007) show why the processes
must be fresh and more than one; alternating within short time is Kalibera and Jones' advice
("Rigorous benchmarking in reasonable time", ISMM 2013) taken to live processes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from deploymark.bench.children.spawn import (
    WORKER,
    Child,
    outcome_of_failure,
    started,
    thread_environment,
)
from deploymark.bench.gate.cpu_sets import choose
from deploymark.bench.gate.rule import pair_log_ratio
from deploymark.bench.matrix.cells import Cell
from deploymark.bench.records.outcomes import Outcome
from deploymark.bench.run.launch import session_job
from deploymark.bench.store import StoredArtifact
from deploymark.bench.worker.measure import bursts

BURST_MS = 100.0
"""A burst of slow inferences is cut to about this long, so that the drift between the two bursts of
a round stays small."""

COPIES_S = 1.0
"""Seconds that a side may take to load further copies of its model."""

COPIES_MEMORY = 0.1
"""Share of the free memory that the further copies of both sides may take."""

SIDES = ("baseline", "candidate")
"""The sides of a pair, in the order of everything that has two."""


@dataclasses.dataclass(frozen=True)
class Measurable:
    """One side of a cell: an artifact and what it is measured with.

    ``images`` is the ``.npy`` of the letterboxed images.
    """

    cell: Cell
    threads: int
    artifact: StoredArtifact
    images: Path


@dataclasses.dataclass(frozen=True)
class PairPlan:
    """How a pair is measured: rounds of one burst a side, so many inferences a burst at most.

    ``copies`` of the model, at most, take the rounds in turn. ``burst_limits`` mark the bursts that
    something disturbed (``Validity.burst_limits``).
    """

    rounds: int
    burst_iterations: int
    copies: int = 1
    burst_limits: bursts.Limits = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class PairRecord:
    """What a pair measured, or why it did not.

    ``latency_ns`` has a side, a round and an inference, ``quiet`` a side and a round; ``sides`` the
    other figures of each side (memory, cold inference). ``failed_side`` says whose worker
    ended the pair.
    """

    outcome: Outcome
    failed_side: str = ""
    seconds: float = 0.0
    log_ratio: float | None = None
    copies: int = 1
    latency_ns: tuple[list[list[int]], list[list[int]]] = dataclasses.field(
        default_factory=lambda: ([], [])
    )
    quiet: tuple[list[bool], list[bool]] = dataclasses.field(default_factory=lambda: ([], []))
    sides: tuple[dict[str, Any], dict[str, Any]] = dataclasses.field(
        default_factory=lambda: ({}, {})
    )

    @property
    def quiet_rounds(self) -> list[bool]:
        """Of each round, whether neither side's burst was disturbed."""
        return [all(marks) for marks in zip(*self.quiet, strict=True)]


class _SideFailedError(Exception):
    """One of the two workers ended the pair; never leaves this module."""

    def __init__(self, side: int, outcome: Outcome) -> None:
        super().__init__(outcome.reason)
        self.side = side
        self.outcome = outcome


def _next(child: Child, side: int, event: str, deadline: float, limit_s: float) -> dict[str, Any]:
    """The child's next message of a kind. Raises _SideFailedError where none comes."""
    while True:
        try:
            message = child.receive(deadline)
        except TimeoutError:
            raise _SideFailedError(side, child.outcome_of_timeout(limit_s)) from None
        if message is None:
            raise _SideFailedError(side, child.outcome_of_end())
        if message.get("event") == "failed":
            raise _SideFailedError(side, outcome_of_failure(message))
        if message.get("event") == event:
            return message


def _iterations(ready: Sequence[dict[str, Any]], at_most: int) -> int:
    """Inferences of a burst: fewer where the slower side takes long."""
    slowest_ms = max(float(np.median(message["latency_ns"])) for message in ready) / 1e6
    return max(1, min(at_most, int(BURST_MS / max(slowest_ms, 1e-6))))


def _copies(ready: Sequence[dict[str, Any]], plan: PairPlan) -> int:
    """Copies of a model: as many as are cheap to load and to hold, and no more than rounds."""
    load_s = max(message["load_ms"] for message in ready) / 1e3
    held = sum(message["model_rss_bytes"] or 0 for message in ready)
    by_memory = COPIES_MEMORY * psutil.virtual_memory().available / max(held, 1)
    further = int(min(COPIES_S / max(load_s, 1e-6), by_memory, plan.copies - 1))
    return min(1 + further, plan.rounds)


def _facts(ready: dict[str, Any], end: dict[str, Any]) -> dict[str, Any]:
    """The figures of a side besides its bursts."""
    left_out = {"event", "latency_ns"}
    return {key: value for key, value in {**ready, **end}.items() if key not in left_out}


def _begin(
    side: Measurable, index: int, cpus: Sequence[int], limits: bursts.Limits, log: Path
) -> contextlib.AbstractContextManager[Child]:
    """Start the worker of a side."""
    job = session_job("pair", side.cell, side.threads, side.artifact, side.images)
    return started(
        WORKER,
        {**job, "cpus": cpus, "burst_limits": dict(limits)},
        log=log.with_name(f"{log.stem}-{SIDES[index]}.log"),
        python=side.cell.python,
        env=thread_environment(side.threads),
        memory_limit_mb=side.cell.limit_mb,
    )


def measure_pair(
    baseline: Measurable, candidate: Measurable, plan: PairPlan, log: Path, order: random.Random
) -> PairRecord:
    """Measure one pair of fresh workers; ``order`` decides which side starts, and each round.

    On devices other than the processor there is one copy of the model: their memory is scarce.

    Raises BadInputError if an interpreter is none.
    """
    sides = (baseline, candidate)
    limit_s = max(side.cell.limits.launch_timeout_s for side in sides)
    begun = time.monotonic()
    deadline = begun + limit_s
    times: tuple[list[list[int]], list[list[int]]] = ([], [])
    quiet: tuple[list[bool], list[bool]] = ([], [])
    threads = max(side.threads for side in sides)
    on_cpu = all(side.cell.device == "cpu" for side in sides)
    cpus = choose(threads, order) if on_cpu else ()
    with contextlib.ExitStack() as stack:
        # The process that is first to load is the slower one by a fraction of a per cent.
        begun_in_turn = {
            index: stack.enter_context(_begin(sides[index], index, cpus, plan.burst_limits, log))
            for index in order.sample((0, 1), 2)
        }
        children = [begun_in_turn[0], begun_in_turn[1]]
        try:
            ready = [
                _next(child, index, "reply", deadline, limit_s)
                for index, child in enumerate(children)
            ]
            copies = _copies(ready, plan) if on_cpu else 1
            for child in children:
                child.send({"do": "load", "copies": copies})
            for index, child in enumerate(children):
                ready[index] |= _next(child, index, "reply", deadline, limit_s)
            command = {"do": "burst", "iterations": _iterations(ready, plan.burst_iterations)}
            for _ in range(plan.rounds):
                for index in order.sample((0, 1), 2):
                    children[index].send(command)
                    reply = _next(children[index], index, "reply", deadline, limit_s)
                    times[index].append(reply["latency_ns"])
                    quiet[index].append(reply["quiet"])
            ends = []
            for index, child in enumerate(children):
                child.send({"do": "end"})
                ends.append(_next(child, index, "result", deadline, limit_s))
        except _SideFailedError as failure:
            return PairRecord(
                failure.outcome,
                failed_side=SIDES[failure.side],
                seconds=time.monotonic() - begun,
                latency_ns=times,
                quiet=quiet,
            )
    facts = [_facts(first, last) for first, last in zip(ready, ends, strict=True)]
    record = PairRecord(
        Outcome("ok"),
        seconds=time.monotonic() - begun,
        copies=copies,
        latency_ns=times,
        quiet=quiet,
        sides=(facts[0], facts[1]),
    )
    return dataclasses.replace(
        record, log_ratio=pair_log_ratio(*times, record.quiet_rounds, copies)
    )

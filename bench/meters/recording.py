"""The parent's end of the recorder: which meters there are, and what they have read so far."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deploymark.bench.children.spawn import Child, started
from deploymark.bench.meters.base import Facts, MeterDiedError, Missing
from deploymark.bench.meters.trace import LEAST_GAPS, Trace, update_period_s

RECORDER = "deploymark.bench.meters.recorder"
"""The module that a recorder is."""

START_S = 60.0
"""Seconds in which a recorder finds its meters: zeus imports pandas and scikit-learn."""

ANSWER_S = 20.0
"""Seconds in which it tells what it read."""

PERIOD_S = 3.0
PERIOD_TOLD_S = 120.0
"""How long a sensor is read to see how often it is updated; and one at most that is said to be
slow, seconds."""

_STEP_S = 0.25


class Recording:
    """A recorder at work. Made by ``recorded``."""

    def __init__(self, child: Child) -> None:
        self._child = child
        told = self._next("found", START_S)
        self.facts = [Facts(**facts) for facts in told["meters"]]
        self.missing = [Missing(**missing) for missing in told["missing"]]
        self._times_s: list[list[float]] = [[] for _ in self.facts]
        self._values: list[list[float]] = [[] for _ in self.facts]
        self._failures: list[tuple[str, str] | None] = [None for _ in self.facts]

    def traces(self) -> list[Trace]:
        """What every meter has read so far, in the order of ``facts``.

        Raises MeterDiedError where the recorder is gone.
        """
        self._child.send({"do": "tell"})
        told = self._next("readings", ANSWER_S)
        for index, readings in enumerate(told["meters"]):
            self._times_s[index] += [at_ns / 1e9 for at_ns in readings["times_ns"]]
            self._values[index] += readings["values"]
            if readings["failure"] is not None:
                kind, words = readings["failure"]
                self._failures[index] = kind, words
        return [
            Trace(facts, np.array(times_s), np.array(values), failure)
            for facts, times_s, values, failure in zip(
                self.facts, self._times_s, self._values, self._failures, strict=True
            )
        ]

    def periods_s(self) -> list[float | None]:
        """How often each sensor is updated, once enough was read to tell, seconds.

        None where that cannot be seen: the sensor did not move, or is slower than is waited for.
        Raises MeterDiedError where the recorder is gone.
        """
        begun_s = time.monotonic()
        while True:
            traces = self.traces()
            waited_s = time.monotonic() - begun_s
            if all(
                waited_s >= _search_s(trace.facts) or _is_known(trace) or trace.failure
                for trace in traces
            ):
                return [update_period_s(trace) for trace in traces]
            time.sleep(_STEP_S)

    def _next(self, event: str, seconds: float) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        try:
            while (message := self._child.receive(deadline)) is not None:
                if message.get("event") == event:
                    return message
                if message.get("event") == "failed":
                    raise MeterDiedError(f"the recorder failed: {message['reason']}")
        except TimeoutError:
            raise MeterDiedError(f"the recorder did not answer in {seconds:g} s") from None
        raise MeterDiedError(f"the recorder ended: {self._child.outcome_of_end().reason}")


def _search_s(facts: Facts) -> float:
    """How long is waited for the period of a sensor."""
    told_s = facts.told_period_s or 0.0
    return min(PERIOD_TOLD_S, max(PERIOD_S, (LEAST_GAPS + 2) * told_s))


def _is_known(trace: Trace) -> bool:
    """Whether its updates can be told by what was read, and not by what is said of it."""
    if trace.facts.every_line:
        return len(trace.times_s) > 1 + LEAST_GAPS
    return int(np.count_nonzero(np.diff(trace.values))) > LEAST_GAPS


@contextlib.contextmanager
def recorded(
    external: Mapping[str, Any] | None,
    log: Path,
    *,
    roots: Mapping[str, str] | None = None,
    names: Sequence[str] | None = None,
) -> Iterator[Recording]:
    """A recorder of every meter, or of those by their ``names``; gone when the block is left.

    ``external`` and ``roots`` are those of ``bench.meters.finding.find_all``. Raises MeterDiedError
    where it does not start.
    """
    job = {"external": external, "roots": dict(roots or {}), "names": names}
    with started(RECORDER, job, log=log) as child:
        yield Recording(child)
        child.send({"do": "end"})
        child.wait_briefly()

"""The recorder: a process beside the worker that reads every meter and keeps when it said what.

It is a child like others (``bench.children.child``), started and asked by
``bench.meters.recording``. Each meter has a thread: often at first, to see how often the sensor is
updated; then 20 times a period, which costs the machine hardly anything.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time

import numpy as np

from deploymark.bench.children.child import Message, Send, next_command, serve
from deploymark.bench.meters.base import GarbageError, Meter, MeterError
from deploymark.bench.meters.finding import find_all
from deploymark.bench.meters.trace import Trace, update_period_s

SEARCH_S = 1.0
SEARCH_STEP_S = 0.001
"""For so long each sensor is read so often: RAPL is updated every millisecond."""

READS_A_PERIOD = 20
LEAST_STEP_S = 0.01
MOST_STEP_S = 0.5
UNKNOWN_STEP_S = 0.02
"""How often a sensor is read after that, seconds: so many times a period, between these; and where
no period was seen. A hundred readings a second keep a processor busy for a thousandth of its time.
"""


def step_s(period_s: float | None) -> float:
    """Seconds between two readings of a sensor that is updated so often."""
    if period_s is None:
        return UNKNOWN_STEP_S
    return min(MOST_STEP_S, max(LEAST_STEP_S, period_s / READS_A_PERIOD))


class Reader:
    """One meter and what it has said since it was last asked."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter
        self._lock = threading.Lock()
        self._times_ns: list[int] = []
        self._values: list[float] = []
        self._failure: tuple[str, str] | None = None
        self._thread = threading.Thread(target=self._read, name=meter.facts.name, daemon=True)
        self._thread.start()

    def take(self) -> Message:
        """What came since the last time, and what ended it where something has."""
        with self._lock:
            taken = {
                "times_ns": self._times_ns,
                "values": self._values,
                "failure": self._failure,
            }
            self._times_ns, self._values = [], []
        return taken

    def _read(self) -> None:
        try:
            if self.meter.facts.every_line:
                while True:
                    self._read_once()
            self._read_at(self._search())
        except GarbageError as error:
            self._failure = "garbage", error.message
        except MeterError as error:
            self._failure = "died", error.message
        except Exception as error:  # noqa: BLE001 - a third party's meter raises what it likes
            self._failure = "died", f"{type(error).__name__}: {error}"

    def _search(self) -> float:
        """Read as often as may be for a while; the step to go on with."""
        begun_s = time.monotonic()
        times_s: list[float] = []
        values: list[float] = []
        while time.monotonic() < begun_s + SEARCH_S:
            at_ns, value = self._read_once()
            times_s.append(at_ns / 1e9)
            values.append(value)
            time.sleep(SEARCH_STEP_S)
        trace = Trace(self.meter.facts, np.array(times_s), np.array(values))
        return step_s(update_period_s(trace))

    def _read_at(self, seconds: float) -> None:
        while True:
            time.sleep(seconds)
            self._read_once()

    def _read_once(self) -> tuple[int, float]:
        """Read and keep; the time is that in the middle of the reading, or of a line's coming."""
        before_ns = time.monotonic_ns()
        value = self.meter.read()
        after_ns = time.monotonic_ns()
        at_ns = after_ns if self.meter.facts.every_line else (before_ns + after_ns) // 2
        with self._lock:
            self._times_ns.append(at_ns)
            self._values.append(value)
        return at_ns, value


def work(job: Message, send: Send) -> Message:
    """Find the meters, read them, and tell what they said when asked, until told to end."""
    found = find_all(job["external"], job["roots"])
    chosen = [m for m in found.meters if job["names"] is None or m.facts.name in job["names"]]
    send(
        {
            "event": "found",
            "meters": [dataclasses.asdict(meter.facts) for meter in chosen],
            "missing": [dataclasses.asdict(missing) for missing in found.missing],
        }
    )
    readers = [Reader(meter) for meter in chosen]
    while next_command()["do"] == "tell":
        send({"event": "readings", "meters": [reader.take() for reader in readers]})
    for meter in found.meters:
        with contextlib.suppress(Exception):
            meter.close()
    return {}


if __name__ == "__main__":
    serve(work)

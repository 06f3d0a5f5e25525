"""One pair of the fidelity suite: Deploymark's worker and a bare loop, alive at once, in turns.

Both sides infer in bursts of a tenth of a second in random order, with a rest before each, so that
what the machine does meanwhile happens to both; the median over rounds of the log-ratio is the
pair's. ``bench.gate.pairing`` tells why. Nothing is bound to processors, and neither process has
anything in its environment that a fresh shell has not, but what the worker itself sets.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import random
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from deploymark.backends import registry
from deploymark.bench.children.spawn import Child, started, thread_environment
from deploymark.bench.gate.pairing import BURST_MS, Measurable
from deploymark.bench.run.launch import session_job
from deploymark.bench.worker.letterbox import to_input
from tests.backends import bare_loops
from tests.backends.bare_loops import Job, plain_environment

ROUNDS = 20
BURST_ITERATIONS = 10

REST_S = 0.05
"""Rest before a burst: threads of the other side spin for some milliseconds after their work (GCC's
OpenMP, ONNX Runtime, pthreadpool)."""

LONG_RESTS_S = {"paddle": 0.25}
"""Where they spin on for longer: Intel's OpenMP for 200 ms (``KMP_BLOCKTIME``)."""

IMAGES = 8
WARMUP_S = 1.0
TIMEOUT_S = 180.0

SESSION = """
import json, sys
import numpy as np
from pathlib import Path
from deploymark.backends.base import Artifact, LoadOptions
from deploymark.backends.registry import resolve

job = json.loads(sys.argv[1])
batches = np.load(job["images"])
options = LoadOptions("cpu", job["precision"], job["threads"], batches[0].shape)
artifact = Artifact(Path(job["folder"]), job["entry"])
session = resolve(job["spec"]).load(artifact, options)
np.save(job["output"], np.stack([session.infer(images).copy() for images in batches]))
"""


class PairError(Exception):
    """A side did not do what it was told; the message says which, and its last words."""


@dataclasses.dataclass(frozen=True)
class Pair:
    """Nanoseconds of a side, a round and an inference."""

    harness_ns: list[list[int]]
    bare_ns: list[list[int]]

    @property
    def log_ratio(self) -> float:
        """Harness over bare loop: the median over rounds of the logarithm of the bursts' ratio."""
        sides = zip(_burst_medians(self.harness_ns), _burst_medians(self.bare_ns), strict=True)
        return statistics.median(math.log(harness / bare) for harness, bare in sides)

    @property
    def harness_ms(self) -> float:
        """Median over rounds of the harness's bursts."""
        return statistics.median(_burst_medians(self.harness_ns)) / 1e6

    @property
    def bare_ms(self) -> float:
        """Median over rounds of the bare loop's bursts."""
        return statistics.median(_burst_medians(self.bare_ns)) / 1e6


def _burst_medians(rounds: Sequence[Sequence[int]]) -> list[float]:
    """Median of each burst but its first inference, which finds the other side in the caches."""
    return [statistics.median(times[1:]) for times in rounds]


def float_images(prepared: Path, target: Path) -> Path:
    """The images that the worker times, as a user has them: float32 (images, 1, 3, size, size)."""
    pixels = np.load(prepared, mmap_mode="r")
    np.save(
        target, np.stack([to_input(pixels[i : i + 1]) for i in range(min(IMAGES, len(pixels)))])
    )
    return target


def bare_job(cell: Measurable, images: Path, output: Path | None = None) -> Job:
    """What the bare loop of a cell is told."""
    return Job(
        backend=cell.cell.backend,
        file=str(cell.artifact.folder / cell.artifact.entry),
        threads=cell.threads,
        precision=cell.cell.precision,
        images=str(images),
        warmup_s=WARMUP_S,
        output=None if output is None else str(output),
    )


class BareLoop:
    """A bare loop's process. Made by ``bare_loop``."""

    def __init__(self, job: Job, log: IO[bytes]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", bare_loops.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=plain_environment(os.environ),
            start_new_session=True,
        )
        self._timer = threading.Timer(TIMEOUT_S, self._process.kill)
        self._timer.daemon = True
        self._timer.start()
        self._tell(dataclasses.asdict(job))

    def _tell(self, message: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()

    def receive(self) -> list[int]:
        """Nanoseconds of the inferences that it made last. Raises PairError at its end."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise PairError(f"the bare loop ended with {self._process.wait()}")
        times: list[int] = json.loads(line)["latency_ns"]
        return times

    def burst(self, iterations: int) -> list[int]:
        """Nanoseconds of so many inferences."""
        self._tell({"iterations": iterations})
        return self.receive()

    def close(self) -> None:
        """Kill what is left of it."""
        self._timer.cancel()
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                assert stream is not None
                stream.close()


@contextlib.contextmanager
def bare_loop(job: Job, log: Path) -> Iterator[BareLoop]:
    """A bare loop at work, gone when the block is left."""
    with log.open("ab") as stream:
        loop = BareLoop(job, stream)
        try:
            yield loop
        finally:
            loop.close()


class Harness:
    """Deploymark's worker, on its job ``pair``."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self._deadline = child.started + TIMEOUT_S

    def receive(self) -> list[int]:
        """Nanoseconds of the inferences that it made last. Raises PairError where none come."""
        while True:
            try:
                message = self._child.receive(self._deadline)
            except TimeoutError:
                raise PairError(f"the worker was not done after {TIMEOUT_S:g} s") from None
            if message is None:
                raise PairError(f"the worker ended: {self._child.outcome_of_end().reason}")
            if message.get("event") == "failed":
                raise PairError(f"the worker failed: {message['reason']}")
            if message.get("event") == "reply":
                times: list[int] = message.get("latency_ns", [])
                return times

    def one_copy(self) -> None:
        """Have the model loaded once only, bound to nothing."""
        self._child.send({"do": "load", "copies": 1})
        self.receive()

    def burst(self, iterations: int) -> list[int]:
        """Nanoseconds of so many inferences."""
        self._child.send({"do": "burst", "iterations": iterations})
        return self.receive()


@contextlib.contextmanager
def harness(cell: Measurable, log: Path) -> Iterator[Harness]:
    """Deploymark's worker at work, gone when the block is left."""
    job = session_job("pair", cell.cell, cell.threads, cell.artifact, cell.images)
    environment = thread_environment(cell.threads)
    with started(
        "deploymark.bench.worker.main", {**job, "cpus": []}, log=log, env=environment
    ) as child:
        yield Harness(child)


def measure(cell: Measurable, images: Path, log: Path, order: random.Random) -> Pair:
    """One pair of fresh processes; ``order`` decides which side starts, and each round.

    The first round is not kept: it may find the processors at another clock. Raises PairError.
    """
    with contextlib.ExitStack() as stack:
        # One after the other, so that neither warms up against the other.
        waiting: dict[str, Harness | BareLoop] = {}
        ready: dict[str, float] = {}
        for side in order.sample(("harness", "bare"), 2):
            if side == "harness":
                waiting[side] = stack.enter_context(harness(cell, log))
            else:
                waiting[side] = stack.enter_context(bare_loop(bare_job(cell, images), log))
            ready[side] = statistics.median(waiting[side].receive())
        worker = waiting["harness"]
        assert isinstance(worker, Harness)
        worker.one_copy()
        fitting = int(BURST_MS / (max(ready.values()) / 1e6))
        iterations = 1 + max(1, min(BURST_ITERATIONS, fitting))
        rest_s = LONG_RESTS_S.get(cell.cell.backend, REST_S)
        times: dict[str, list[list[int]]] = {"harness": [], "bare": []}
        for _ in range(1 + ROUNDS):
            for side in order.sample(("harness", "bare"), 2):
                time.sleep(rest_s)
                times[side].append(waiting[side].burst(iterations))
    return Pair(times["harness"][1:], times["bare"][1:])


def largest_difference(cell: Measurable, images: Path, folder: Path, log: Path) -> float:
    """How far the session's predictions and the bare loop's are apart, on the same images.

    Pixels for boxes and [0, 1] for scores, the larger one; infinite where the shapes differ. Raises
    PairError.
    """
    theirs, ours = folder / "bare.npy", folder / "session.npy"
    with bare_loop(bare_job(cell, images, theirs), log) as loop:
        loop.receive()
    job = {
        "spec": registry.specs()[cell.cell.backend],
        "folder": str(cell.artifact.folder),
        "entry": cell.artifact.entry,
        "precision": cell.cell.precision,
        "threads": cell.threads,
        "images": str(images),
        "output": str(ours),
    }
    with log.open("ab") as stream:
        done = subprocess.run(
            [sys.executable, "-P", "-c", SESSION, json.dumps(job)],
            stdout=stream,
            stderr=stream,
            check=False,
            timeout=TIMEOUT_S,
        )
    if done.returncode:
        raise PairError(f"the session ended with {done.returncode}")
    session, bare = np.load(ours), np.load(theirs)
    if session.shape != bare.shape:
        return math.inf
    return float(np.abs(session - bare).max())

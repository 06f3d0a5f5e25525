"""What a branch of work costs a detector: the calibration of ``gate_slower.py``.

Within one process the detector twice and widened ones are alive together and take turns in short
bursts, in random order; a process gives one log-ratio each, the median of its rounds, as a pair of
the gate does. Noise is of the detector's size and the wanted share is a small part of that, so what
is measured is the work times eight, in several fresh processes; a line through some sizes gives the
size to try, and that is measured again until its eighth is within the tolerance. The second copy of
the detector must come out at 0: it tells how far single figures can be trusted.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gate_wider import Extra, widen

from deploymark.backends.base import Artifact, LoadOptions
from deploymark.backends.registry import resolve, specs
from deploymark.bench.children.spawn import thread_environment
from deploymark.bench.gate.rule import pair_log_ratio
from deploymark.bench.worker.letterbox import to_input
from deploymark.bench.worker.measure.latency import burst, no_collection, warm_up

BACKENDS = {".onnx": "onnxruntime", ".xml": "openvino"}
BURST = 5
PROBED = (0.1, 0.4, 0.7, 1.0)
"""Rows of the sizes that the line goes through, as shares of the image's."""
SHARE_OF_A_CONVOLUTION = 0.03
"""About what one convolution over all rows adds to a YOLO11n: how many a share needs."""
SHARE_OF_THE_REST = 0.01
"""About what the branch adds without one."""
BRANCHES = 8
"""Times that the work is there where its cost is measured."""
TOLERANCE = 0.0015
TRIES = 8
NEAR_ROWS = 8
"""So far from the rows that were measured the line may be trusted."""


@dataclasses.dataclass(frozen=True)
class Source:
    """The artifact that is to become slower, and what it is measured with.

    ``images`` is the ``.npy`` of letterboxed images. ``cpu_time`` measures a process's CPU time in
    place of the clock's: right for one thread alone, and hardly disturbed by other processes.
    """

    folder: Path
    entry: str
    images: Path
    threads: int = 1
    precision: str = "fp32"
    cpu_time: bool = False

    @property
    def path(self) -> Path:
        """The model file."""
        return self.folder / self.entry

    @property
    def backend(self) -> str:
        """Whose artifact it is."""
        if self.path.suffix not in BACKENDS:
            raise SystemExit(f"{self.path}: neither .onnx nor .xml")
        return BACKENDS[self.path.suffix]

    @property
    def imgsz(self) -> int:
        """Edge of the images, pixels."""
        return int(np.load(self.images, mmap_mode="r").shape[1])


def median_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Median and about its standard error: from the median deviation, as under the normal law."""
    middle = statistics.median(values)
    deviation = 1.4826 * statistics.median(abs(value - middle) for value in values)
    return middle, math.sqrt(math.pi / 2) * deviation / math.sqrt(len(values))


def in_this_process(job: dict[str, Any]) -> list[float]:
    """Child: log-ratio of each model over the first one, all alive at once and taking turns.

    Of every model there are some copies, whose figures are averaged; where a copy's memory falls
    makes a difference of its own. The first figure is the second copy of the first model.
    """
    spec = resolve(specs()[job["backend"]])
    prepared = np.load(job["images"], mmap_mode="r")
    inputs = [to_input(prepared[index : index + 1]) for index in range(min(8, len(prepared)))]
    options = LoadOptions("cpu", job["precision"], job["threads"], inputs[0].shape)
    order = random.Random()  # noqa: S311 - no secret
    arms = [(Path(path), copy) for path, copies in job["models"] for copy in range(copies)]
    sessions: dict[tuple[Path, int], Any] = {}
    for path, copy in order.sample(arms, len(arms)):
        sessions[path, copy] = spec.load(Artifact(path.parent, path.name), options)
        warm_up(sessions[path, copy].infer, inputs, max_s=1)
    clock = time.process_time_ns if job["cpu_time"] else time.perf_counter_ns
    times: dict[tuple[Path, int], list[list[int]]] = {arm: [] for arm in arms}
    until = time.monotonic() + job["seconds"]
    with no_collection():
        while time.monotonic() < until:
            for arm in order.sample(arms, len(arms)):
                times[arm].append(burst(sessions[arm].infer, inputs, BURST + 1, clock))
    ratios: dict[Path, list[float]] = {}
    for arm in arms:
        ratios.setdefault(arm[0], []).append(pair_log_ratio(times[arms[0]], times[arm]))
    first, *others = [statistics.fmean(found) for found in ratios.values()]
    return [ratios[arms[0][0]][1], *(other - first for other in others)]


def in_children(
    source: Source, models: Sequence[Path], copies: int, seconds: float, processes: int
) -> list[list[float]]:
    """Relative change over the source: a list of the processes' figures for each model.

    Before them that of a second copy of the source. Each process has so many ``copies`` of a model
    and measures for ``seconds``.
    """
    job = {
        "backend": source.backend,
        "images": str(source.images),
        "precision": source.precision,
        "threads": source.threads,
        "cpu_time": source.cpu_time,
        "models": [(str(source.path), 2), *((str(path), copies) for path in models)],
        "seconds": seconds,
    }
    found = []
    for _ in range(processes):
        done = subprocess.run(
            [sys.executable, __file__, json.dumps(job)],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            env={**os.environ, **thread_environment(source.threads)},
        )
        found.append([math.expm1(ratio) for ratio in json.loads(done.stdout.splitlines()[-1])])
    return [list(figures) for figures in zip(*found, strict=True)]


@dataclasses.dataclass(frozen=True)
class Response:
    """What rows cost: share = ``offset`` + ``slope`` · rows, with so many convolutions."""

    convolutions: int
    offset: float
    slope: float

    def cost(self, rows: int) -> float:
        """Share that so many rows cost."""
        return self.offset + self.slope * rows

    def rows(self, share: float, at_most: int) -> int:
        """Rows that should cost a share."""
        return min(at_most, max(1, round((share - self.offset) / self.slope)))


def convolutions_for(share: float) -> int:
    """Convolutions between the first one of the branch and its end, so that some rows do."""
    return 0 if share < SHARE_OF_THE_REST else math.ceil(share / SHARE_OF_A_CONVOLUTION)


def probe(source: Source, convolutions: int, seconds: float, processes: int) -> Response:
    """Measure a few numbers of rows, and draw the line."""
    rows = [max(1, round(part * source.imgsz)) for part in PROBED]
    with tempfile.TemporaryDirectory() as folder:
        models = [
            widen(source.path, Extra(convolutions, count, BRANCHES), Path(folder) / str(count))
            for count in rows
        ]
        _copy, *costs = in_children(source, models, 1, seconds, processes)
    middles = [statistics.median(figures) / BRANCHES for figures in costs]
    slope, offset = np.polyfit(rows, middles, 1)
    told = ", ".join(f"{count}: {middle:.2%}" for count, middle in zip(rows, middles, strict=True))
    print(f"  {convolutions} convolutions, rows and their cost: {told}", flush=True)
    if slope <= 0:
        raise SystemExit("more rows cost nothing: the machine is too noisy to calibrate on")
    return Response(convolutions, float(offset), float(slope))


@dataclasses.dataclass(frozen=True)
class Size:
    """A number of rows, what it costs, and in how many processes that was found."""

    rows: int
    share: float
    standard_error: float
    processes: int


def rows_of(
    source: Source, share: float, response: Response, folder: Path, seconds: float, processes: int
) -> Size:
    """Rows that cost a share. Exits where there are none.

    The line's slope holds; how far it lies off is the median over all processes so far.
    """
    rows = response.rows(share, source.imgsz)
    off: list[float] = []
    for _ in range(TRIES):
        tried = rows
        extra = Extra(response.convolutions, tried, BRANCHES)
        model = widen(source.path, extra, folder / str(tried))
        _copy, costs = in_children(source, [model], 2, seconds, processes)
        off += [cost / BRANCHES - response.cost(tried) for cost in costs]
        middle, error = median_and_error(off)
        moved = dataclasses.replace(response, offset=response.offset + middle)
        rows = moved.rows(share, source.imgsz)
        found = Size(rows, moved.cost(rows), error, len(off))
        print(f"  {tried} rows: {moved.cost(tried):.2%} ± {error:.2%} ({len(off)})", flush=True)
        near = abs(rows - tried) <= NEAR_ROWS
        if near and abs(found.share - share) + error <= TOLERANCE:
            return found
    raise SystemExit(
        f"no size came within {TOLERANCE:.2%} of {share:.2%} (nearest {found.share:.2%} ± "
        f"{error:.2%}, {rows} rows): try on a quiet machine, or with more --seconds or --processes"
    )


if __name__ == "__main__":
    print(json.dumps(in_this_process(json.loads(sys.argv[1]))))

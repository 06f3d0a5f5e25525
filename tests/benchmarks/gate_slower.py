"""Artifacts that are truly slower by a wanted share, for the gate's trials: more work, no sleep.

How much work a share takes is found by measuring (``gate_wider`` says what the work is). Within one
process the detector twice and widened ones are alive together and take turns in short bursts, in
random order; a process gives one log-ratio each, the median of its rounds, as a pair of the gate
does. Noise is of the detector's size and the wanted share is a small part of that, so what is
measured is the work times eight, in several fresh processes; a line through some sizes gives the
size to try, and that is measured again until its eighth is within the tolerance. The artifact with
the work once is measured last, and then in fresh pairs as the gate does it (``bench.pairing``); a
branch costs something whatever its size where there are several threads, and eight branches beside
each other hide that, so the size is moved where the pairs come out clearly elsewhere.
The second copy of the detector must come out at 0: it tells how far single figures can be trusted.

Run it on a quiet machine after ``deploymark run default --imgsz 160`` has filled the store; what is
there already is not made again::

    python tests/benchmarks/gate_slower.py --out slower --shares 3,2 --threads 1,2 --pairs 24
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import itertools
import json
import math
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from fidelity import images_file, stored
from gate_wider import Extra, widen

from backends.base import Artifact, LoadOptions
from backends.registry import resolve, specs
from bench.cells import Cell
from bench.gate_rule import pair_log_ratio
from bench.gate_settings import GateSettings
from bench.letterbox import to_input
from bench.matrix import Measure
from bench.measure.latency import burst, no_collection, warm_up
from bench.pairing import Measurable, PairPlan, measure_pair
from bench.spawn import thread_environment
from bench.store import StoredArtifact, folder_sha256

RECORD = "slower.json"
FILES = "files"
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


@dataclasses.dataclass(frozen=True)
class Slower:
    """A slower artifact, as it is kept beside its files.

    Shares are relative: 0.03 is 3 %. ``measured`` is an eighth of what the work costs eight times,
    the median over ``processes`` fresh processes; ``direct`` is the mean of the work once, and
    ``copy`` that of the unchanged copy, with their standard errors. ``pair_log_ratios`` are fresh
    pairs, empty where none were asked for.
    """

    source_sha256: str
    entry: str
    share: float
    threads: int
    extra: Extra
    measured: float
    standard_error: float
    direct: tuple[float, float]
    copy: tuple[float, float]
    processes: int
    load_average: float
    cpu_time: bool
    pair_log_ratios: tuple[float, ...] = ()

    def line(self) -> str:
        """What came out, for people."""
        text = (
            f"wanted {self.share:.2%}, got {self.measured:.2%} ± {self.standard_error:.2%} "
            f"({self.processes} processes); once {self.direct[0]:.2%} ± {self.direct[1]:.2%}, "
            f"copy {self.copy[0]:.2%} ± {self.copy[1]:.2%}, load {self.load_average:.1f}"
        )
        if len(self.pair_log_ratios) > 1:
            mean, error = _mean_and_error(self.pair_log_ratios)
            deviation = statistics.stdev(self.pair_log_ratios)
            text += (
                f"; {len(self.pair_log_ratios)} fresh pairs: {math.expm1(mean):.2%} ± {error:.2%}, "
                f"deviation of a pair {deviation:.2%}"
            )
        return f"{self.extra.convolutions} convolutions over {self.extra.rows} rows: {text}"


def _mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Mean and its standard error."""
    return statistics.fmean(values), statistics.stdev(values) / math.sqrt(len(values))


def _median_and_error(values: Sequence[float]) -> tuple[float, float]:
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
            [sys.executable, __file__, "--child", json.dumps(job)],
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


def slower(
    source: Source,
    share: float,
    out: Path,
    *,
    response: Response | None = None,
    seconds: float = 5.0,
    processes: int = 6,
) -> Slower:
    """Make the artifact slower by ``share`` (0.03 is 3 %), or read what was made before.

    ``out`` gets the artifact under ``files`` and the record ``slower.json``. Exits where no size is
    found that comes within the tolerance.
    """
    sha256 = folder_sha256(source.folder)
    if (made := read(out)) is not None:
        if (made.source_sha256, made.share, made.threads) == (sha256, share, source.threads):
            return made
        raise SystemExit(f"{out}: holds another slower artifact, remove it first")
    response = response or probe(source, convolutions_for(share), seconds, processes)
    with tempfile.TemporaryDirectory() as name:
        found = _rows_of(source, share, response, Path(name), seconds, processes)
    return _make(source, share, response.convolutions, found, out, seconds)


def _make(
    source: Source, share: float, convolutions: int, found: _Found, out: Path, seconds: float
) -> Slower:
    """Make the artifact with the work once, measure it, and keep it with its record."""
    extra = Extra(convolutions, found.rows)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out) as name:
        model = widen(source.path, extra, Path(name) / "once")
        copy, direct = in_children(source, [model], 2, seconds, found.processes)
        # Only whole results: the record is written when the files are in their place.
        shutil.rmtree(out / FILES, ignore_errors=True)
        shutil.move(Path(name) / "once", out / FILES)
    made = Slower(
        source_sha256=folder_sha256(source.folder),
        entry=source.entry,
        share=share,
        threads=source.threads,
        extra=extra,
        measured=found.share,
        standard_error=found.standard_error,
        direct=_mean_and_error(direct),
        copy=_mean_and_error(copy),
        processes=found.processes,
        load_average=os.getloadavg()[0],
        cpu_time=source.cpu_time,
    )
    write(made, out)
    return made


@dataclasses.dataclass(frozen=True)
class _Found:
    """A number of rows, what it costs, and in how many processes that was found."""

    rows: int
    share: float
    standard_error: float
    processes: int


def _rows_of(
    source: Source, share: float, response: Response, folder: Path, seconds: float, processes: int
) -> _Found:
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
        middle, error = _median_and_error(off)
        moved = dataclasses.replace(response, offset=response.offset + middle)
        rows = moved.rows(share, source.imgsz)
        found = _Found(rows, moved.cost(rows), error, len(off))
        print(f"  {tried} rows: {moved.cost(tried):.2%} ± {error:.2%} ({len(off)})", flush=True)
        near = abs(rows - tried) <= NEAR_ROWS
        if near and abs(found.share - share) + error <= TOLERANCE:
            return found
    raise SystemExit(
        f"no size came within {TOLERANCE:.2%} of {share:.2%} (nearest {found.share:.2%} ± "
        f"{error:.2%}, {rows} rows): try on a quiet machine, or with more --seconds or --processes"
    )


def read(out: Path) -> Slower | None:
    """What was made before, None where nothing was."""
    with contextlib.suppress(FileNotFoundError):
        held = json.loads((out / RECORD).read_text("utf-8"))
        held["extra"] = Extra(**held["extra"])
        for name in ("direct", "copy", "pair_log_ratios"):
            held[name] = tuple(held[name])
        return Slower(**held)
    return None


def write(made: Slower, out: Path) -> None:
    """Keep the record beside the files."""
    text = json.dumps(dataclasses.asdict(made), indent=1, allow_nan=False)
    (out / RECORD).write_text(text, "utf-8")


def as_stored(made: Slower, out: Path, original: StoredArtifact) -> StoredArtifact:
    """The slower artifact in the shape that ``bench.pairing.Measurable`` takes."""
    folder = out / FILES
    return dataclasses.replace(
        original,
        folder=folder,
        entry=made.entry,
        sha256=folder_sha256(folder),
        bytes=sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
    )


def pairs(source: Source, original: StoredArtifact, made: Slower, out: Path, count: int) -> Slower:
    """Measure fresh pairs as the gate does, until there are ``count`` of them; each is kept."""
    settings = GateSettings()
    plan = PairPlan(settings.bursts, settings.burst_iterations, settings.copies)
    axes = ("m", "dense", source.precision, source.backend, "cpu", source.imgsz, 1, source.threads)
    cell = Cell(*axes, measure=Measure())
    sides = (original, as_stored(made, out, original))
    baseline, candidate = (Measurable(cell, source.threads, side, source.images) for side in sides)
    order = random.Random()  # noqa: S311 - no secret
    while len(made.pair_log_ratios) < count:
        with tempfile.TemporaryDirectory() as logs:
            found = measure_pair(baseline, candidate, plan, Path(logs) / "pair.log", order)
        if found.log_ratio is None:
            raise SystemExit(f"{found.failed_side}: {found.outcome.reason}")
        made = dataclasses.replace(
            made, pair_log_ratios=(*made.pair_log_ratios, round(found.log_ratio, 7))
        )
        write(made, out)
    return made


def settled(
    source: Source, original: StoredArtifact, made: Slower, out: Path, count: int, seconds: float
) -> Slower:
    """Measure ``count`` fresh pairs, and move the size while they lie clearly off the share.

    Clearly is twice their standard error and the tolerance.
    """
    for _ in range(TRIES):
        made = pairs(source, original, made, out, count)
        print(f"  {made.line()}", flush=True)
        if len(made.pair_log_ratios) < 2:
            return made
        mean, error = _mean_and_error(made.pair_log_ratios)
        off = math.expm1(mean) - made.share
        if abs(off) <= max(TOLERANCE, 2 * error):
            return made
        of_a_row = made.measured / made.extra.rows
        rows = max(1, made.extra.rows - round(off / of_a_row))
        found = _Found(rows, rows * of_a_row, made.standard_error, made.processes)
        made = _make(source, made.share, made.extra.convolutions, found, out, seconds)
    raise SystemExit(f"{out.name}: no size came out at {made.share:.2%} in fresh pairs")


def folder_of(original: StoredArtifact, threads: int, share: float, root: Path) -> Path:
    """Where a slower artifact is kept."""
    recipe = original.recipe
    parts = (recipe["backend"], recipe["precision"], recipe["imgsz"], f"t{threads}", f"{share:.1%}")
    return root / "-".join(str(part) for part in parts)


def source_of(original: StoredArtifact, threads: int, *, cpu_time: bool = False) -> Source:
    """A stored artifact, with images of its size from the same store."""
    recipe = original.recipe
    images = images_file(recipe["imgsz"])
    return Source(original.folder, original.entry, images, threads, recipe["precision"], cpu_time)


def slower_artifact(
    original: StoredArtifact, threads: int, share: float, root: Path
) -> StoredArtifact:
    """An artifact of the store made slower by ``share``, kept in a folder of its own in ``root``.

    It is made at the first call; the machine should be quiet then.
    """
    out = folder_of(original, threads, share, root)
    return as_stored(slower(source_of(original, threads), share, out), out, original)


def make_all(options: argparse.Namespace) -> None:
    """Every backend, number of threads and share that was asked for, one folder each."""
    shares = [float(text) / 100 for text in options.shares.split(",")]
    threads = [int(text) for text in options.threads.split(",")]
    how = {"seconds": options.seconds, "processes": options.processes}
    for backend, count in itertools.product(options.backends.split(","), threads):
        original = stored(backend, options.imgsz, options.precision)
        source = source_of(original, count, cpu_time=options.cpu_time)
        responses: dict[int, Response] = {}
        for share in shares:
            out = folder_of(original, count, share, options.out)
            print(out.name, flush=True)
            convolutions = convolutions_for(share)
            if read(out) is None and convolutions not in responses:
                responses[convolutions] = probe(source, convolutions, **how)
            made = slower(source, share, out, response=responses.get(convolutions), **how)
            settled(source, original, made, out, options.pairs, options.seconds)


def main() -> None:
    """Make the slower artifacts and print what they came to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("slower"))
    parser.add_argument("--shares", default="3,2", help="per cent, comma-separated")
    parser.add_argument("--backends", default="onnxruntime,openvino")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--imgsz", type=int, default=160)
    parser.add_argument("--seconds", type=float, default=5.0, help="measuring, a process")
    parser.add_argument("--processes", type=int, default=6, help="fresh processes a figure")
    parser.add_argument("--pairs", type=int, default=0, help="fresh pairs to check with")
    parser.add_argument("--cpu-time", action="store_true", help="on a loaded machine, one thread")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(in_this_process(json.loads(options.child))))
        return
    if options.cpu_time and options.threads != "1":
        parser.error("--cpu-time tells latency with --threads 1 alone")
    make_all(options)


if __name__ == "__main__":
    main()

"""Artifacts that are truly slower by a wanted share, for the gate's trials: more work, no sleep.

How much work a share takes is found by measuring (``gate_wider`` says what the work is,
``gate_calibrate`` how it is sized). The artifact with the work once is then measured in fresh pairs
as the gate does it (``bench.gate.pairing``); a branch costs something whatever its size where there
are several threads, and the eight branches that are calibrated with hide that, so the size is moved
where the pairs come out clearly elsewhere.

Run it on a quiet machine after ``deploymark run default --imgsz 160`` has filled the store; what is
there already is not made again. It takes some 25 minutes. ``--sizes`` starts with those that an
earlier run kept with ``--keep``, where the machine is of the same kind: pairs alone then decide::

    python tests/benchmarks/gate_slower.py --out slower --shares 3,2 --threads 1,2 --pairs 16
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
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gate_calibrate import (
    TOLERANCE,
    TRIES,
    Response,
    Size,
    Source,
    convolutions_for,
    in_children,
    probe,
    rows_of,
)
from gate_wider import Extra, widen
from stored import images_file, stored

from deploymark.backends import inputs
from deploymark.bench.gate.pairing import Measurable, PairPlan, measure_pair
from deploymark.bench.matrix.cells import Cell
from deploymark.bench.matrix.gate_settings import GateSettings
from deploymark.bench.matrix.sections import Measure
from deploymark.bench.store import StoredArtifact, folder_sha256

RECORD = "slower.json"
FILES = "files"


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
        found = rows_of(source, share, response, Path(name), seconds, processes)
    return _make(source, share, response.convolutions, found, out, seconds)


def _make(
    source: Source, share: float, convolutions: int, found: Size, out: Path, seconds: float
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


def read(out: Path) -> Slower | None:
    """What was made before, None where nothing was."""
    with contextlib.suppress(FileNotFoundError):
        return as_slower(json.loads((out / RECORD).read_text("utf-8")))
    return None


def as_slower(held: dict[str, Any]) -> Slower:
    """A record as it was written."""
    lists = {name: tuple(held[name]) for name in ("direct", "copy", "pair_log_ratios")}
    return Slower(**{**held, **lists, "extra": Extra(**held["extra"])})


def write(made: Slower, out: Path) -> None:
    """Keep the record beside the files."""
    text = json.dumps(dataclasses.asdict(made), indent=1, allow_nan=False)
    (out / RECORD).write_text(text, "utf-8")


def as_stored(made: Slower, out: Path, original: StoredArtifact) -> StoredArtifact:
    """The slower artifact in the shape that ``bench.gate.pairing.Measurable`` takes."""
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
    size = inputs.Size.of(source.imgsz)
    axes = ("m", "dense", source.precision, source.backend, "cpu", size, 1, source.threads)
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
        found = Size(rows, rows * of_a_row, made.standard_error, made.processes)
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
    sizes = json.loads(options.sizes.read_text("utf-8")) if options.sizes else {}
    kept = {}
    for backend, count in itertools.product(options.backends.split(","), threads):
        original = stored(backend, options.imgsz, options.precision)
        source = source_of(original, count, cpu_time=options.cpu_time)
        responses: dict[int, Response] = {}
        for share in shares:
            out = folder_of(original, count, share, options.out)
            print(out.name, flush=True)
            convolutions = convolutions_for(share)
            if read(out) is None and out.name in sizes:
                known = as_slower(sizes[out.name])
                size = Size(known.extra.rows, known.measured, known.standard_error, known.processes)
                _make(source, share, known.extra.convolutions, size, out, options.seconds)
            elif read(out) is None and convolutions not in responses:
                responses[convolutions] = probe(source, convolutions, **how)
            made = slower(source, share, out, response=responses.get(convolutions), **how)
            made = settled(source, original, made, out, options.pairs, options.seconds)
            kept[out.name] = dataclasses.asdict(made)
    if options.keep:
        options.keep.write_text(json.dumps(kept, indent=1) + "\n", "utf-8")


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
    parser.add_argument("--sizes", type=Path, help="what --keep wrote on a machine of this kind")
    parser.add_argument("--keep", type=Path, help="write what came out to a file, too")
    options = parser.parse_args()
    if options.cpu_time and options.threads != "1":
        parser.error("--cpu-time tells latency with --threads 1 alone")
    make_all(options)


if __name__ == "__main__":
    main()

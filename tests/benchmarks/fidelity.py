"""Does the harness report what the runtime does? Two comparisons, interleaved in one run.

1. The harness's timed pass against a bare loop around the same session, in alternating bursts of
   ten inferences within one process: what the harness adds to an inference.
2. Whole launches of the harness against OpenVINO's ``benchmark_app`` (sync, same threads, same
   precision hint), in seeded random order.

Run it after ``deploymark run default`` has filled the store::

    python tests/benchmarks/fidelity.py --threads 1 --rounds 9
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from backends.base import Artifact, LoadOptions
from backends.registry import resolve, specs
from bench.cells import Cell
from bench.intervals import launch_interval
from bench.launch import LaunchTask, launch
from bench.letterbox import to_input
from bench.matrix import Measure
from bench.measure.latency import timed, warm_up
from bench.schedule import LaunchSlot
from bench.store import Store, StoredArtifact

BURST = 10
BURSTS = 20
ITERATIONS = 150


def stored(backend: str, imgsz: int, precision: str = "fp32") -> StoredArtifact:
    """The newest dense artifact of a backend and a precision, batch 1."""
    wanted = {"backend": backend, "precision": precision, "imgsz": imgsz, "batch": 1, "steps": []}
    found = [
        item
        for item in Store().entries()
        if all(item.recipe[key] == value for key, value in wanted.items())
    ]
    if not found:
        raise SystemExit(
            f"no dense {precision} artifact of {backend} at {imgsz} in the store: run first"
        )
    return max(found, key=lambda item: item.folder.stat().st_mtime)


def images_file(imgsz: int) -> Path:
    """Any prepared images of that size in the store."""
    return next((Store().root / "images").glob(f"*-{imgsz}.npy"))


def same_session(backend: str, imgsz: int, threads: int) -> None:
    """Child: alternate bursts of the harness's pass and of a bare loop on one session."""
    artifact = stored(backend, imgsz)
    options = LoadOptions("cpu", "fp32", threads, (1, 3, imgsz, imgsz))
    session = resolve(specs()[backend]).load(Artifact(artifact.folder, artifact.entry), options)
    prepared = np.load(images_file(imgsz), mmap_mode="r")
    inputs = [to_input(prepared[index : index + 1]) for index in range(8)]
    warm_up(session.infer, inputs, max_s=5)
    run = session.infer_impl
    harness: list[int] = []
    bare: list[int] = []
    for burst in range(BURSTS * 2):
        if burst % 2:
            harness += timed(
                session.infer, inputs, seconds=0, min_iterations=BURST, max_iterations=BURST
            )
        else:
            for index in range(BURST):
                image = inputs[index % len(inputs)]
                started = time.perf_counter_ns()
                run(image)
                bare.append(time.perf_counter_ns() - started)
    print(json.dumps([statistics.median(harness) / 1e6, statistics.median(bare) / 1e6]))


def in_child(backend: str, imgsz: int, threads: int) -> tuple[float, float]:
    """Milliseconds (harness, bare) of one fresh process."""
    arguments = ["--child", backend, "--imgsz", str(imgsz), "--threads", str(threads)]
    done = subprocess.run(
        [sys.executable, __file__, *arguments], capture_output=True, text=True, check=True
    )
    harness, bare = json.loads(done.stdout.splitlines()[-1])
    return harness, bare


def harness_launch(backend: str, imgsz: int, threads: int, *, pinning: bool) -> float:
    """p50 of one launch of the harness, milliseconds."""
    cell = Cell("m", "dense", "fp32", backend, "cpu", imgsz, 1, threads)
    measure = Measure(min_iterations=ITERATIONS, max_iterations=ITERATIONS, e2e_iterations=0)
    task = LaunchTask(
        slot=LaunchSlot(cell.id, 0),
        cell=dataclasses.replace(cell, measure=measure, runtime_options={"pinning": pinning}),
        threads=threads,
        artifact=stored(backend, imgsz),
        images=images_file(imgsz),
        e2e_images=[],
        predictions=None,
        inspect=False,
    )
    with tempfile.TemporaryDirectory() as folder:
        record = launch(task, Path(folder) / "log")
    if record["status"] != "ok":
        raise SystemExit(f"{backend}: {record['reason']}")
    return statistics.median(record["latency_ns"]) / 1e6


def benchmark_app(imgsz: int, threads: int) -> float:
    """Median latency that OpenVINO's own tool reports, milliseconds."""
    artifact = stored("openvino", imgsz)
    tool = Path(sys.executable).with_name("benchmark_app")
    arguments = (
        f"-d CPU -api sync -hint none -nstreams 1 -nthreads {threads} -infer_precision f32 "
        f"-niter {ITERATIONS}"
    )
    done = subprocess.run(
        [str(tool), "-m", str(artifact.folder / artifact.entry), *arguments.split()],
        capture_output=True,
        text=True,
        check=True,
    )
    found = re.search(r"Median:\s+([0-9.]+) ms", done.stdout)
    if found is None:
        raise SystemExit(done.stdout + done.stderr)
    return float(found[1])


def summary(ratios: list[float]) -> str:
    """Median of the rounds' ratios, and their 95 % interval."""
    interval = launch_interval(ratios)
    low, high = interval or (ratios[0], ratios[0])
    return f"{statistics.median(ratios):.4f} [{low:.4f}, {high:.4f}]"


def main() -> None:
    """Run the comparisons and print their medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--imgsz", type=int, default=320)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", choices=["session", "benchmark_app"])
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        same_session(options.child, options.imgsz, options.threads)
        return
    size = (options.imgsz, options.threads)
    arms: dict[str, Callable[[], tuple[float, ...]]] = {}
    if options.only != "benchmark_app":
        arms["onnxruntime"] = lambda: in_child("onnxruntime", *size)
        arms["openvino"] = lambda: in_child("openvino", *size)
    if options.only != "session":
        arms["harness"] = lambda: (harness_launch("openvino", *size, pinning=False),)
        arms["harness, pinned"] = lambda: (harness_launch("openvino", *size, pinning=True),)
        arms["benchmark_app"] = lambda: (benchmark_app(*size),)
    measured: dict[str, list[tuple[float, ...]]] = {name: [] for name in arms}
    order = random.Random(0)  # noqa: S311 - no secret
    for number in range(options.rounds):
        names = sorted(arms)
        order.shuffle(names)
        for name in names:
            measured[name].append(arms[name]())
        print(f"round {number + 1} of {options.rounds}", file=sys.stderr, flush=True)
    for name, rows in measured.items():
        print(f"{name}: {statistics.median(row[0] for row in rows):.3f} ms")
        if name in ("onnxruntime", "openvino"):
            print(f"  harness / bare loop: {summary([row[0] / row[1] for row in rows])}")
        if name.startswith("harness"):
            pairs = zip(rows, measured["benchmark_app"], strict=True)
            print(f"  / benchmark_app: {summary([row[0] / app[0] for row, app in pairs])}")


if __name__ == "__main__":
    main()

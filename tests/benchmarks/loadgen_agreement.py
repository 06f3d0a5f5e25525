"""Whether LoadGen's single-stream latency agrees with the harness's own, in one interleaved run.

One live session, and in each round a window of either in random order, so that the drift of the
machine hits both alike. Ratios are LoadGen's percentile over the harness's of the same round; their
interval is over rounds. Run it after ``deploymark run default --imgsz 160`` has filled the store::

    python tests/benchmarks/loadgen_agreement.py --rounds 40
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from stored import images_file, stored

from deploymark.backends.inputs import Size
from deploymark.bench.children.spawn import thread_environment
from deploymark.bench.matrix.cells import Cell
from deploymark.bench.run.launch import session_job
from deploymark.bench.run.scenario_log import read_figures
from deploymark.bench.statistics.intervals import launch_interval
from deploymark.bench.worker.letterbox import to_input
from deploymark.bench.worker.measure import latency, loadgen
from deploymark.bench.worker.measure.streams import Samples
from deploymark.bench.worker.session import Opened, open_session

TOLERANCE = 0.03
"""The agreement that is asked for: 3 %."""

PERCENTILES = {"p50": 0.50, "p90": 0.90}


def harness_window(opened: Opened, inferences: int) -> dict[str, float]:
    """Percentiles of one window of the harness's latency pass, milliseconds."""
    times = latency.timed(
        opened.session.infer,
        opened.inputs,
        seconds=0.0,
        min_iterations=inferences,
        max_iterations=inferences,
    )
    return {name: float(np.quantile(times, q)) / 1e6 for name, q in PERCENTILES.items()}


def loadgen_window(
    opened: Opened, samples: Samples, inferences: int, expected_ms: float, seed: int
) -> dict[str, float]:
    """Percentiles of one run of LoadGen's single stream on the same session, milliseconds."""
    scenario: dict[str, Any] = {
        "kind": "single-stream",
        "duration_s": 0.001,
        "queries": inferences,
        "percentile": 90.0,
    }
    with tempfile.TemporaryDirectory() as folder:
        loadgen.run_single_stream(
            opened.session,
            samples,
            scenario,
            seed=seed,
            expected_ms=expected_ms,
            folder=Path(folder),
        )
        figures = read_figures(Path(folder))
    return {name: figures[f"latency_{name}_ms"] for name in PERCENTILES}


def open_cell(backend: str, imgsz: int, threads: int) -> Opened:
    """The stored artifact, loaded in this process and warm."""
    os.environ.update(thread_environment(threads))
    cell = Cell("m", "dense", "fp32", backend, "cpu", Size.of(imgsz), 1, threads)
    artifact, images = stored(backend, imgsz), images_file(imgsz)
    opened = open_session(session_job("scenario", cell, threads, artifact, images), print_nothing)
    latency.warm_up(opened.session.infer, opened.inputs, max_s=5.0)
    return opened


def print_nothing(message: dict[str, Any]) -> None:
    """Takes the worker's messages of its progress."""
    del message


def verdict(name: str, ratios: list[float]) -> bool:
    """Print the ratio with its interval over rounds; whether all of it lies within 3 %."""
    middle = statistics.median(ratios)
    low, high = launch_interval(ratios) or (middle, middle)
    agree = low >= 1 - TOLERANCE and high <= 1 + TOLERANCE
    print(
        f"{name}: LoadGen over harness {middle:.4f} [{low:.4f}, {high:.4f}], "
        f"{'within' if agree else 'NOT shown to be within'} {TOLERANCE:.0%}"
    )
    return agree


def main() -> None:
    """Measure in rounds and print the ratios; exit code 1 where they are not within 3 %."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", default="onnxruntime")
    parser.add_argument("--imgsz", type=int, default=160)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--inferences", type=int, default=120, help="of a window")
    parser.add_argument(
        "--images", type=int, default=64, help="that LoadGen draws from; the harness takes 8"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the percentiles of each round here")
    options = parser.parse_args()
    opened = open_cell(options.backend, options.imgsz, options.threads)
    samples = Samples(opened.prepared[: options.images], to_input)
    order = random.Random(options.seed)  # noqa: S311 - no secret
    expected_ms = harness_window(opened, options.inferences)["p50"]
    rounds: list[dict[str, dict[str, float]]] = []
    for number in range(options.rounds):
        found: dict[str, dict[str, float]] = {}
        for which in order.sample(("harness", "loadgen"), 2):
            found[which] = (
                harness_window(opened, options.inferences)
                if which == "harness"
                else loadgen_window(opened, samples, options.inferences, expected_ms, number)
            )
        rounds.append(found)
    for which in ("harness", "loadgen"):
        medians = {n: statistics.median(r[which][n] for r in rounds) for n in PERCENTILES}
        print(which, ", ".join(f"{name} {value:.3f} ms" for name, value in medians.items()))
    agreed = [
        verdict(name, [found["loadgen"][name] / found["harness"][name] for found in rounds])
        for name in PERCENTILES
    ]
    if options.json:
        options.json.write_text(json.dumps(rounds, indent=1) + "\n", encoding="utf-8")
    sys.exit(0 if all(agreed) else 1)


if __name__ == "__main__":
    main()

"""What reading the counters between bursts does to the median: bursts against a bare loop.

One session of ONNX Runtime on the embedded detector, in one process; both ways of timing take turns
in random order, and each round gives a ratio of their medians. Run it after ``deploymark run`` has
filled the store::

    python tests/benchmarks/burst_cost.py --rounds 60
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import time

import numpy as np
from stored import images_file, stored

from deploymark.backends.base import Artifact, LoadOptions
from deploymark.backends.registry import resolve, specs
from deploymark.bench.matrix.validity import Validity
from deploymark.bench.statistics.intervals import launch_interval
from deploymark.bench.worker.letterbox import to_input
from deploymark.bench.worker.measure import bursts, conditions, latency


def main() -> None:
    """Time both ways in turns, and print the ratio with its interval."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--imgsz", type=int, default=320)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=1.0)
    options = parser.parse_args()
    artifact = stored("onnxruntime", options.imgsz)
    prepared = np.load(images_file(options.imgsz), mmap_mode="r")
    inputs = [to_input(prepared[index : index + 1]) for index in range(8)]
    session = resolve(specs()["onnxruntime"]).load(
        Artifact(artifact.folder, artifact.entry),
        LoadOptions("cpu", "fp32", options.threads, inputs[0].shape),
    )
    latency.warm_up(session.infer, inputs, max_s=3.0)
    watch = conditions.Watch()

    def in_bursts() -> float:
        timed = bursts.timed(
            session.infer,
            inputs,
            watch,
            Validity().burst_limits(),
            seconds=options.seconds,
            min_iterations=2,
            max_iterations=10**6,
        )
        return statistics.median(time for burst in timed.bursts for time in burst.times_ns)

    def in_a_bare_loop() -> float:
        times, until = [], time.perf_counter() + options.seconds
        with latency.no_collection():
            while time.perf_counter() < until:
                image = inputs[len(times) % len(inputs)]
                before = time.perf_counter_ns()
                session.infer(image)
                times.append(time.perf_counter_ns() - before)
        return statistics.median(times)

    ratios = []
    for _ in range(options.rounds):
        found = {way: way() for way in random.sample((in_bursts, in_a_bare_loop), 2)}
        ratios.append(found[in_bursts] / found[in_a_bare_loop])
    low, high = launch_interval(ratios) or (0.0, math.inf)
    print(
        f"{options.threads} threads, {options.rounds} rounds: p50 in bursts over a bare loop "
        f"{statistics.geometric_mean(ratios):.4f} [{low:.4f}, {high:.4f}], "
        f"median {statistics.median(ratios):.4f}"
    )


if __name__ == "__main__":
    main()

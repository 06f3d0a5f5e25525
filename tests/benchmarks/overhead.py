"""What a launch costs beyond its warm-up and its measured inferences, for ONNX Runtime.

Run it after ``deploymark run default`` has filled the store::

    python tests/benchmarks/overhead.py --launches 10
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

from stored import images_file, stored

from deploymark.backends.inputs import Size
from deploymark.bench.matrix.cells import Cell
from deploymark.bench.matrix.sections import Measure
from deploymark.bench.run.launch import LaunchTask, launch
from deploymark.bench.run.schedule import LaunchSlot


def main() -> None:
    """Launch, and print the seconds that were neither warm-up nor timed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--imgsz", type=int, default=320)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--launches", type=int, default=10)
    options = parser.parse_args()
    axes = ("m", "dense", "fp32", "onnxruntime", "cpu", Size.of(options.imgsz), 1, options.threads)
    cell = Cell(*axes, measure=Measure(e2e_iterations=0))
    overheads, peaks = [], []
    for number in range(options.launches):
        task = LaunchTask(
            slot=LaunchSlot(cell.id, number),
            cell=cell,
            threads=options.threads,
            artifact=stored("onnxruntime", options.imgsz),
            images=images_file(options.imgsz),
            e2e_images=[],
            predictions=None,
            inspect=False,
        )
        with tempfile.TemporaryDirectory() as folder:
            record = launch(task, Path(folder) / "log")
        if record["status"] != "ok":
            raise SystemExit(record["reason"])
        timed_s = record["warmup"]["seconds"] + sum(record["latency_ns"]) / 1e9
        overheads.append(record["duration_s"] - timed_s)
        peaks.append(record["peak_rss_bytes"] / 1e6)
    middle, worst = statistics.median(overheads), max(overheads)
    print(f"overhead a launch: median {middle:.2f} s, max {worst:.2f} s")
    print(f"peak RSS: median {statistics.median(peaks):.0f} MB, max {max(peaks):.0f} MB")


if __name__ == "__main__":
    main()

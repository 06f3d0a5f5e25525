"""How long a trend takes over a thousand collected runs of fifty cells.

    PYTHONPATH=. python tests/benchmarks/collected_runs.py [--runs 1000] [--cells 50]

Makes the runs, collects them in one call and in a hundred, and asks each data set for the history
of one figure of all cells and of one cell.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from pathlib import Path

from deploymark.bench.history.collected import collect
from deploymark.bench.history.dataset import runs_of
from deploymark.bench.history.history import Choice, history
from tests.run_series import MACHINE, result, run_maker


def make_runs(results: Path, runs: int, cells: int) -> list[Path]:
    """Runs of four machines, a day each."""
    results.mkdir()
    make, draw = run_maker(results), random.Random(0)  # noqa: S311 - no secret
    folders = []
    for day in range(runs):
        rows = [
            result(f"m-v{number}-fp32-onnxruntime-cpu-320", latency_p50_ms=draw.gauss(10, 0.1))
            for number in range(cells)
        ]
        machine = {**MACHINE, "cpu": f"CPU {day % 4}"}
        folders.append(make(day, *rows, machine=machine, name=f"run-{day:05}"))
    return folders


def seconds(what: str, into: str, select: str = "") -> None:
    """Ask for a history, and print how long it took."""
    begun = time.perf_counter()
    found = history(into, Choice(("latency_p50_ms",)), select=select)
    took = time.perf_counter() - begun
    series = sum(len(machine.series) for machine in found.machines)
    print(f"{what}: {took:.2f} s, {series} series")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--cells", type=int, default=50)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results, once, often = (Path(folder) / name for name in ("results", "once", "often"))
        folders = make_runs(results, arguments.runs, arguments.cells)
        begun = time.perf_counter()
        collect([results], str(once))
        print(f"collect {arguments.runs} runs: {time.perf_counter() - begun:.1f} s")
        step = max(1, arguments.runs // 100)
        begun = time.perf_counter()
        for index in range(0, arguments.runs, step):
            collect(folders[index : index + step], str(often))
        print(f"the same in {arguments.runs // step} calls: {time.perf_counter() - begun:.1f} s")
        for name, place in (("collected once", once), ("in a hundred calls", often)):
            begun = time.perf_counter()
            runs_of(str(place))
            print(f"{name}, the runs alone: {time.perf_counter() - begun:.2f} s")
            seconds(f"{name}, all cells", str(place))
            seconds(f"{name}, one cell", str(place), select="v7-")
        seconds("the folder of runs itself", str(results))


if __name__ == "__main__":
    main()

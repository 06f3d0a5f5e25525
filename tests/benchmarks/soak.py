"""A long run: does the parent grow, or what a launch costs it?

``python tests/benchmarks/soak.py [--launches 500]``. One tiny cell is launched so many times in one
run, while the parent's memory, open files, threads, processor time and the size of the run
directory are read from ``/proc`` and the disk. Printed by quarters of the launches; then how long
the report takes, and its size. Linux.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.faults.interrupted import MATRIX, Place

LAUNCH = MATRIX.replace("latency_s: 0.1", "latency_s: 0.02").replace(
    "e2e_iterations: 1", "e2e_iterations: 0, memory_launches: 1"
)


@dataclasses.dataclass(frozen=True)
class Reading:
    """The parent and its run directory after so many launches."""

    launches: int
    rss_mib: float
    files: int
    threads: int
    cpu_s: float
    folder_kib: float


def read(process: psutil.Process, run: Path) -> Reading:
    """One reading. Raises psutil.Error and OSError where the run ends meanwhile."""
    lines = (run / "launches.jsonl").read_bytes().count(b"\n")
    files = sum(path.stat().st_size for path in run.rglob("*") if path.is_file())
    with process.oneshot():
        times = process.cpu_times()
        return Reading(
            lines,
            process.memory_info().rss / 2**20,
            process.num_fds(),
            process.num_threads(),
            times.user + times.system,
            files / 1024,
        )


def watch(place: Place, process: subprocess.Popen[str]) -> list[Reading]:
    """Readings twice a second until the run ends."""
    readings: list[Reading] = []
    parent = psutil.Process(process.pid)
    while process.poll() is None:
        time.sleep(0.5)
        try:
            reading = read(parent, place.runs()[-1])
        except (psutil.Error, OSError, IndexError):
            continue
        readings.append(reading)
    return readings


def quarters(readings: Sequence[Reading], launches: int) -> list[list[Reading]]:
    """Readings while launches were made, by quarters of them."""
    inside = [item for item in readings if 0 < item.launches < launches]
    return [
        [item for item in inside if 4 * item.launches // launches == quarter]
        for quarter in range(4)
    ]


def slope(items: Sequence[Reading], figure: Callable[[Reading], float]) -> float:
    """What a launch adds to a figure, from the first to the last reading of a quarter."""
    return (figure(items[-1]) - figure(items[0])) / (items[-1].launches - items[0].launches)


def main() -> int:
    """Run it; 1 where the run fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--launches", type=int, default=500)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        place = Place(Path(folder), launches=given.launches, matrix=LAUNCH)
        began = time.monotonic()
        with tempfile.TemporaryFile("w+") as output:
            process = place.start("run", "m.yaml", output=output)
            readings = watch(place, process)
            output.seek(0)
            said = output.read()
        if process.returncode:
            print(said[-2000:])
            return 1
        print(f"{given.launches} launches in {time.monotonic() - began:.0f} s")
        for number, items in enumerate(quarters(readings, given.launches), 1):
            rss = statistics.median(item.rss_mib for item in items)
            cpu_ms = 1e3 * slope(items, lambda item: item.cpu_s)
            kib = slope(items, lambda item: item.folder_kib)
            files = sorted({item.files for item in items})
            threads = sorted({item.threads for item in items})
            print(
                f"quarter {number}: RSS {rss:.1f} MiB, files {files[0]} to {files[-1]}, threads "
                f"{threads[0]} to {threads[-1]}, {cpu_ms:.1f} ms of the parent's processor time "
                f"and {kib:.2f} KiB a launch"
            )
        began = time.monotonic()
        code, said = place.finish("report", "results/latest")
        report = place.latest / "report.html"
        took_s, size = time.monotonic() - began, report.stat().st_size
        print(f"report: exit {code}, {took_s:.1f} s, {size / 1e6:.2f} MB")
    return code


if __name__ == "__main__":
    sys.exit(main())

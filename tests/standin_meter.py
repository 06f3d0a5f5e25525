"""A meter that stands in for one: 4 W, and 10 W for each processor that a run's workers keep busy.

Run as a program it prints joules, a line every 50 ms, as a supply with a counter does. A file that
is named on its command line gets the time at which it was started, a line each, seconds since 1970.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path

IDLE_W, BUSY_W = 4.0, 10.0


def stat(process: str) -> list[str]:
    """The fields of proc(5)'s ``stat`` from the third on."""
    return (Path("/proc") / process / "stat").read_text().rpartition(")")[2].split()


def used_s(run: str, recorder: str) -> float:
    """Processor time of a run's children but the recorder of meters."""
    ticks = 0
    for process in (entry.name for entry in Path("/proc").iterdir()):
        with contextlib.suppress(OSError, IndexError):  # it has ended
            if process.isdigit() and process != recorder and stat(process)[1] == run:
                ticks += sum(map(int, stat(process)[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def main() -> None:
    recorder = str(os.getppid())
    run = stat(recorder)[1]
    begun, most = time.monotonic(), 0.0
    for file in sys.argv[1:]:
        with Path(file).open("a", encoding="ascii") as starts:
            starts.write(f"{time.time()}\n")
    print("joules")  # noqa: T201 - it is what a meter does
    while True:
        time.sleep(0.05)
        most = max(most, used_s(run, recorder))
        joules = IDLE_W * (time.monotonic() - begun) + BUSY_W * most
        print(joules, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()

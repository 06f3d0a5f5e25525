"""Disks that fill up during a run: one sentence, nothing finished lost, gone on with after?

``python tests/benchmarks/full_disks.py [--each 10] [--seed 0] [--limit-s 2400]``, as root on Linux.
Results, store and temporary folder lie in turn on a tmpfs of a seeded random size, between nothing
and what a whole run takes at most; all artifacts are built anew. A trial is sound where the run
ends with exit code 2 and one message that names a disk (or with 0, where the room was enough after
all), every launch that was on disk is there afterwards, and, once the tmpfs has been enlarged, the
run that is gone on with (the same command, where no run had begun) ends with exactly the planned
launches.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.faults.full_disk import PLACES, faults_of_full_disk, folder_of, tmpfs
from tests.faults.interrupted import Place

AMPLE = 2 << 30


@contextmanager
def watched(folder: Path) -> Iterator[list[int]]:
    """The most bytes that a tmpfs had in use while the block ran, as the list's one entry."""
    import shutil

    most, over = [0], threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            most[0] = max(most[0], shutil.disk_usage(folder).used)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield most
    finally:
        over.set()
        watcher.join()


def most_used(which: str) -> int:
    """Bytes that a whole run takes at most, of one of the places."""
    with tempfile.TemporaryDirectory(prefix="full-disk-") as folder:
        place = Place(Path(folder))
        with tmpfs(folder_of(place, which), AMPLE), watched(folder_of(place, which)) as most:
            code, said = place.finish("run", "m.yaml")
            if code:
                raise SystemExit(f"a run with room failed: {said}")
    return most[0]


def main() -> int:
    """Run the series; 1 where a trial had a fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--each", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--places", default=",".join(PLACES))
    parser.add_argument("--limit-s", type=float, default=2400.0)
    given = parser.parse_args()
    began, sound, trials = time.monotonic(), 0, 0
    for which in given.places.split(","):
        chance = random.Random(f"{given.seed} {which}")  # noqa: S311 - no secret
        whole = most_used(which)
        print(f"{which}: a whole run takes {whole / 1e6:.2f} MB at most", flush=True)
        for _ in range(given.each):
            size = max(4096, int(whole * chance.uniform(0.0, 1.0)) // 4096 * 4096)
            if time.monotonic() - began > given.limit_s:
                print("no time for more")
                break
            with tempfile.TemporaryDirectory(prefix="full-disk-") as folder:
                told, faults = faults_of_full_disk(Place(Path(folder)), which, size, AMPLE)
            trials += 1
            sound += not faults
            said = "; ".join(faults) or f"sound: {told}"
            print(f"{which} of {size / 1e6:.2f} MB: {said}", flush=True)
    print(f"{sound} of {trials} trials without a fault")
    return int(sound < trials)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as error:
        sys.exit(f"no tmpfs can be mounted here: {error}")

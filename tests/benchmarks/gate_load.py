"""Another process that loads one core for half of the time, as a busy neighbour would.

Try it by hand: ``python tests/benchmarks/gate_load.py 10`` loads for ten seconds.
"""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

SPAN_S = (0.5, 1.5)
"""Shortest and longest span; busy and idle ones take turns."""

WORKING = "--working"


def work() -> None:
    """Child: be busy, then idle, until the parent is gone."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    chance = random.Random()  # noqa: S311 - no secret
    while True:
        until = time.monotonic() + chance.uniform(*SPAN_S)
        while time.monotonic() < until:
            pass
        time.sleep(chance.uniform(*SPAN_S))


def _end_with_parent() -> None:
    """The pipe ends when the parent lets go of it, however it died."""
    sys.stdin.read()
    os._exit(0)


@contextlib.contextmanager
def half_loaded_core() -> Iterator[int]:
    """One core is busy for half of the time within the block; the process that does it."""
    with subprocess.Popen(
        [sys.executable, __file__, WORKING], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    ) as process:
        try:
            yield process.pid
        finally:
            process.kill()


def main() -> None:
    """Load for some seconds."""
    if sys.argv[1:] == [WORKING]:
        work()
    with half_loaded_core() as process:
        print(f"process {process}")
        time.sleep(float(sys.argv[1]))


if __name__ == "__main__":
    main()

"""Fuzz the readers of files: ``python -m tests.fuzz.fuzz --seconds 600 [target …]``.

Every execution has a number, and the seed of its mutation is made of target, seed and number: what
was found is provoked again by ``--seed S --only N``. It prints executions and findings a target; a
finding is anything but an error of ours, and anything that takes over five seconds of processor
time, or a minute.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from tests.fuzz.targets import TARGETS, Target, execute, fresh

LONGEST_CPU_S = 5.0
LONGEST_S = 60.0


class Hangs(BaseException):
    """An execution takes too long."""


def _hangs(_signal: int, _frame: FrameType | None) -> None:
    raise Hangs


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """Raise Hangs in the block where it takes too long. In the main thread, not within itself."""
    timers = ((signal.ITIMER_PROF, signal.SIGPROF, LONGEST_CPU_S),)
    timers = (
        (signal.ITIMER_PROF, signal.SIGPROF, LONGEST_CPU_S),
        (signal.ITIMER_REAL, signal.SIGALRM, LONGEST_S),
    )
    for timer, number, longest_s in timers:
        signal.signal(number, _hangs)
        signal.setitimer(timer, longest_s)
    try:
        yield
    finally:
        for timer, _, _ in timers:
            signal.setitimer(timer, 0.0)


def mutant(target: Target, good: bytes, name: str, seed: int, number: int) -> bytes:
    """The bytes of an execution."""
    return target.change(good, random.Random(f"{name} {seed} {number}"))  # noqa: S311 - no secret


def place_of(error: BaseException) -> str:
    """What was raised, and the last line of ours that it went through."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "site-packages" not in frame.filename]
    ours = [frame for frame in ours if "/tests/fuzz/" not in frame.filename] or frames
    where = next((f for f in reversed(ours) if "/lib/python" not in f.filename), ours[-1])
    return f"{type(error).__name__} at {where.filename}:{where.lineno}: {str(error)[:150]!r}"


def fuzz(name: str, seconds: float, seed: int, only: int | None = None) -> int:
    """Fuzz one target for so long; the number of distinct findings."""
    target = TARGETS[name]
    found: collections.Counter[str] = collections.Counter()
    first: dict[str, int] = {}
    number, end = 0, time.monotonic() + seconds
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        path = fresh(target, Path(folder) / "case")
        good = path.read_bytes()
        execute(target, path, good)
        numbers = iter(int, 1) if only is None else iter([0])
        for _ in numbers:
            number = number + 1 if only is None else only
            if only is None and time.monotonic() > end:
                break
            data = mutant(target, good, name, seed, number)
            try:
                with bounded():
                    execute(target, path, data)
            except (Exception, Hangs) as error:  # noqa: BLE001 - this is what is looked for
                place = place_of(error)
                key = place.rpartition(": ")[0] if ": " in place else place
                found[key] += 1
                if key not in first or only is not None:
                    first[key] = number
                    print(f"{name} {number}: {place}", flush=True)
                    if only is not None:
                        traceback.print_exc()
    print(f"{name}: {number} executions, {len(found)} findings ({sum(found.values())} times)")
    return len(found)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="target")
    parser.add_argument("--seconds", type=float, default=600, help="of each target")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="the number of one execution")
    given = parser.parse_args()
    if strange := set(given.targets) - set(TARGETS):
        parser.error(f"no such target: {', '.join(strange)}; there are {', '.join(TARGETS)}")
    names = given.targets or list(TARGETS)
    return min(1, sum(fuzz(name, given.seconds, given.seed, given.only) for name in names))


if __name__ == "__main__":
    sys.exit(main())

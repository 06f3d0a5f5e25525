"""What Deploymark's plugin adds to every pytest session of an environment that has it.

    python tests/benchmarks/plugin_cost.py [--rounds 40]

An empty session with the plugin, and one that is told to leave it out, in turns and in random
order; the median difference with its 95 % interval (signs of the differences).
"""

from __future__ import annotations

import argparse
import random
import statistics
import subprocess
import sys
import tempfile
import time

from scipy.stats import binom

EMPTY = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir=.")
WITHOUT = ("-p", "no:deploymark")
NO_TESTS = 5


def session_ms(folder: str, *arguments: str) -> float:
    """Milliseconds of an empty pytest session, from its start to its end."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *EMPTY, *arguments], cwd=folder, capture_output=True, check=False
    )
    if done.returncode != NO_TESTS:
        raise SystemExit(done.stdout.decode() + done.stderr.decode())
    return (time.perf_counter() - started) * 1e3


def main() -> None:
    """Measure, and print one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    rounds = parser.parse_args().rounds
    differences: list[float] = []
    plain: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(rounds + 1):
            order = [(), WITHOUT]
            random.Random(seed).shuffle(order)  # noqa: S311 - no secret
            taken = {arguments: session_ms(folder, *arguments) for arguments in order}
            if seed:  # the first round fills the caches
                differences.append(taken[()] - taken[WITHOUT])
                plain.append(taken[WITHOUT])
    differences.sort()
    low = int(binom.ppf(0.025, rounds, 0.5))
    print(
        f"plugin: {statistics.median(differences):.1f} ms "
        f"[{differences[low]:.1f}, {differences[rounds - 1 - low]:.1f}] "
        f"on {statistics.median(plain):.0f} ms, {rounds} pairs"
    )


if __name__ == "__main__":
    main()

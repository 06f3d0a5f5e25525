"""Signals at seeded random moments of a run with builds: what is lost, doubled or left over.

``python tests/benchmarks/signal_series.py [--each 20] [--seed 0] [--limit-s 600]``. For SIGKILL,
SIGTERM and SIGINT, every second time with three signals in a row: a run of a tiny model, whose
artifact is not in the store, gets them at a moment that is uniform over the time that a whole run
takes; then it is gone on with. Prints a line a trial and the count of those without a fault.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.faults.interrupted import Place, faults_after

KINDS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


def main() -> int:
    """Run the series; 1 where a trial had a fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--each", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit-s", type=float, default=600.0)
    options = parser.parse_args()
    moments = random.Random(options.seed)  # noqa: S311 - no secret
    began = time.monotonic()
    sound = trials = 0
    with tempfile.TemporaryDirectory(prefix="signal-series-") as folder:
        place = Place(Path(folder))
        place.finish("run", "m.yaml")
        shutil.rmtree(place.store / "artifacts")
        begun = time.monotonic()
        place.finish("run", "m.yaml")
        whole_s = time.monotonic() - begun
        sys.stdout.write(f"a whole run takes {whole_s:.1f} s\n")
        for number in range(options.each):
            for kind in KINDS:
                after_s = moments.uniform(0.0, whole_s)
                row = 3 if number % 2 and kind is not signal.SIGKILL else 1
                if time.monotonic() - began > options.limit_s - 3 * whole_s:
                    sys.stdout.write("no time for more\n")
                    sys.stdout.write(f"{sound} of {trials} trials without a fault\n")
                    return int(sound < trials)
                shutil.rmtree(place.store / "artifacts", ignore_errors=True)
                faults = faults_after(place, after_s, [kind] * row)
                trials += 1
                sound += not faults
                told = "; ".join(faults) or "sound"
                sys.stdout.write(f"{kind.name} x{row} after {after_s:.2f} s: {told}\n")
                sys.stdout.flush()
    sys.stdout.write(f"{sound} of {trials} trials without a fault\n")
    return int(sound < trials)


if __name__ == "__main__":
    raise SystemExit(main())

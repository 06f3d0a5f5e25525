"""Devices with interpreters, folders and caches of their own, measured as one fleet.

``python tests/benchmarks/fleet_hosts.py PYTHON… [--bundle FILE] [-k EXPR]`` starts a scheduler and,
under each of the interpreters, a Dask worker; measures the bundle (the default matrix's by default)
on all, and prints what came of each cell on each. An interpreter needs Dask, numpy and runtimes;
what it has not is ``unavailable`` there.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.fleets import Fleet, at_work


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pythons", nargs="+")
    parser.add_argument("--bundle")
    parser.add_argument("-k", dest="select", default="onnxruntime or openvino")
    parser.add_argument("--keep", help="folder that gets the run directory")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fleet-hosts-") as name:
        folder = Path(name)
        bundle = given.bundle or str(folder / "default.dmb")
        if not given.bundle:
            made = ["bundle", "default", "-k", given.select, "-o", bundle]
            subprocess.run([sys.executable, "-m", "deploymark", *made], check=True)
        fleet = Fleet(folder)
        try:
            fleet.scheduler()
            for number, python in enumerate(given.pythons):
                fleet.worker(f"host-{number}", python=python)
            time.sleep(8)
            results = given.keep or str(folder / "results")
            began = time.monotonic()
            code = subprocess.run(
                [sys.executable, "-m", "deploymark", "fleet", bundle, "-k", given.select,
                 "--scheduler", fleet.address, "--results", results],
                check=False,
            ).returncode  # fmt: skip
            print(f"exit {code} after {time.monotonic() - began:.0f} s")
            (run,) = Path(results).glob("2*")
            rows = json.loads((run / "cells.json").read_text())
            for key, count in sorted(
                Counter((row["machine"], row["backend"], row["status"]) for row in rows).items()
            ):
                print(*key, count)
            print("reasons:", {row["reason"] for row in rows if row["status"] != "ok"})
            print("left running:", at_work(folder))
        finally:
            fleet.end()


if __name__ == "__main__":
    main()

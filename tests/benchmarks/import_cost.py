"""What a worker imports: seconds and resident memory of each backend, in fresh processes.

Loads the newest dense FP32 artifact of each backend that the store has; run it after
``deploymark run all`` has filled it::

    python tests/benchmarks/import_cost.py --rounds 5
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys

from stored import stored

from deploymark.backends import registry

CODE = """
import importlib, json, sys, time
from pathlib import Path
import numpy as np
from deploymark.backends.base import Artifact, LoadOptions
from deploymark.backends.registry import BUILTIN, resolve
from deploymark.bench.worker.measure.memory import rss_bytes

job = json.loads(sys.argv[1])
backend = resolve(BUILTIN[job["backend"]])
before = rss_bytes()
modules_before = set(sys.modules)
started = time.perf_counter()
for module in backend.runtime_modules:
    importlib.import_module(module)
seconds = time.perf_counter() - started
imported = rss_bytes()
shape = (1, 3, job["imgsz"], job["imgsz"])
options = LoadOptions("cpu", "fp32", 1, shape)
session = backend.load(Artifact(Path(job["folder"]), job["entry"]), options)
session.infer(np.zeros(shape, np.float32))
roots = {name.partition(".")[0] for name in set(sys.modules) - modules_before}
outside = sorted(
    name for name in roots
    if name not in sys.stdlib_module_names
    and name not in ("deploymark", "numpy")
    and not name.startswith("_") and "editable" not in name
)
print(json.dumps({
    "seconds": seconds, "before": before, "imported": imported, "warm": rss_bytes(),
    "outside": outside,
}))
"""


def measure(backend: str, imgsz: int) -> dict[str, object] | None:
    """One fresh process; None where there is nothing to load."""
    if not registry.resolve(registry.BUILTIN[backend]).probe().service("cpu", "fp32").served:
        return None
    try:
        artifact = stored(backend, imgsz)
    except SystemExit:
        return None
    job = {
        "backend": backend,
        "folder": str(artifact.folder),
        "entry": artifact.entry,
        "imgsz": imgsz,
    }
    done = subprocess.run(
        [sys.executable, "-c", CODE, json.dumps(job)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"{backend}: {done.stderr}")
    result: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    """Measure all backends in turn, several rounds, and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--imgsz", type=int, default=320)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    found: dict[str, list[dict[str, object]]] = {}
    for _ in range(options.rounds):
        for backend in registry.BUILTIN:
            result = measure(backend, options.imgsz)
            if result is not None:
                found.setdefault(backend, []).append(result)
    print(
        "| backend | import s | MB before | after import | loaded, warm | imports besides numpy |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    for backend, results in found.items():

        def middle(key: str, results: list[dict[str, object]] = results) -> float:
            return statistics.median(float(str(result[key])) for result in results)

        sizes = " | ".join(f"{middle(key) / 1e6:.0f}" for key in ("before", "imported", "warm"))
        outside = results[0]["outside"]
        assert isinstance(outside, list)
        shown = ", ".join(outside[:4]) + (
            f" and {len(outside) - 4} more" if len(outside) > 4 else ""
        )
        print(f"| {backend} | {middle('seconds'):.2f} | {sizes} | {shown} |")


if __name__ == "__main__":
    main()

"""Ultralytics' own ``benchmark`` of a detector, and Deploymark's figures of the same one.

Runs ``ultralytics.utils.benchmarks.benchmark`` on a copy of the checkpoint, offline, one format a
fresh process, and takes the milliseconds of inference that it reports (its ``val`` of the whole
data set, batch 1). Ultralytics chooses the threads. Deploymark's are the ``latency_p50_ms`` of a
run directory that measured the same model at the same size::

    deploymark run all --model my.pt --data my.yaml --imgsz 320
    python tests/benchmarks/ultralytics_benchmark.py --model my.pt --data my.yaml --imgsz 320 \\
        --run results/latest
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from fidelity_table import markdown
from ultralytics_exports import copied

from tests.backends.bare_loops import plain_environment

FORMATS = {
    "-": "torch",
    "torchscript": "torchscript",
    "onnx": "onnxruntime",
    "openvino": "openvino",
    "ncnn": "ncnn",
    "mnn": "mnn",
    "paddle": "paddle",
}
"""Ultralytics' names of the formats, and the backends that run them here."""

TIMEOUT_S = 1200.0

BENCHMARK = """
import json, sys
from ultralytics import settings
settings.update({"sync": False})
from ultralytics.utils.benchmarks import benchmark
told = json.loads(sys.argv[1])
frame = benchmark(device="cpu", **told)
print("\\n" + json.dumps(frame.to_dicts()))
"""


def offline_environment(folder: Path) -> dict[str, str]:
    """A fresh shell's, with Ultralytics kept off the network and off the user's settings."""
    return plain_environment(os.environ) | {
        "YOLO_AUTOINSTALL": "false",
        "YOLO_OFFLINE": "1",
        "YOLO_CONFIG_DIR": str(folder / "settings"),
    }


def benchmarked(model: Path, data: Path, imgsz: int, name: str, folder: Path) -> dict[str, Any]:
    """The row of Ultralytics' table for one format; ``reason`` where there is none."""
    place = folder / name.strip("-") if name != "-" else folder / "pt"
    place.mkdir()
    shutil.copyfile(model, place / model.name)
    told = {
        "model": str(place / model.name),
        "data": str(data),
        "imgsz": imgsz,
        "format": name,
    }
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", BENCHMARK, json.dumps(told)],
            capture_output=True,
            text=True,
            check=False,
            cwd=place,
            env=offline_environment(folder),
            timeout=TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        return {"reason": f"not done after {TIMEOUT_S:g} s"}
    lines = [line for line in done.stdout.splitlines() if line.startswith("[{")]
    if not lines:
        last = (done.stderr or done.stdout).strip().splitlines()
        return {"reason": last[-1] if last else f"ended with {done.returncode}"}
    rows: list[dict[str, Any]] = json.loads(lines[-1])
    return rows[0]


def inference_ms(row: dict[str, Any]) -> float | None:
    """Milliseconds of inference an image, as its table has them."""
    name = next((key for key in row if "ms/im" in key), None)
    try:
        return None if name is None else float(row[name])
    except (TypeError, ValueError):
        return None


def deploymark_ms(run: Path, imgsz: int) -> dict[str, dict[str, Any]]:
    """The cells of a run in FP32, dense, batch 1, on the processor, by backend."""
    cells = json.loads((run / "cells.json").read_text(encoding="utf-8"))
    return {
        cell["backend"]: cell
        for cell in cells
        if cell["precision"] == "fp32"
        and cell["device"] == "cpu"
        and cell["imgsz"] == imgsz
        and cell["batch"] == 1
        and cell["variant"] == "dense"
        and cell["latency_p50_ms"] is not None
    }


def repeated(
    options: argparse.Namespace, names: list[str]
) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Milliseconds of each repeat by format, and why there are none."""
    found: dict[str, list[float]] = {name: [] for name in names}
    reasons: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="ultralytics-") as scratch:
        data = copied(options.data.resolve(), Path(scratch))
        for repeat in range(options.repeats):
            folder = Path(scratch, str(repeat))
            folder.mkdir()
            for name in names:
                row = benchmarked(options.model.resolve(), data, options.imgsz, name, folder)
                time_ms = inference_ms(row)
                if time_ms is None:
                    reasons[name] = str(row.get("reason", row))
                else:
                    found[name].append(time_ms)
                print(f"{name}: {row}", file=sys.stderr, flush=True)
    return found, reasons


def row_of(name: str, times_ms: list[float], cell: dict[str, Any] | None) -> tuple[str, ...]:
    """A row of the table; what was not measured stays empty."""
    theirs = statistics.median(times_ms) if times_ms else None
    ours = None if cell is None else float(cell["latency_p50_ms"])
    return (
        name,
        FORMATS[name],
        "" if theirs is None else f"{theirs:.1f}",
        "" if cell is None else str(cell["threads"]),
        "" if ours is None else f"{ours:.1f}",
        "" if theirs is None or ours is None else f"{ours / theirs:.2f}",
    )


def main() -> None:
    """Run Ultralytics' benchmark, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--imgsz", type=int, default=320)
    parser.add_argument("--run", type=Path, required=True, help="a run directory of Deploymark's")
    parser.add_argument("--formats", default=",".join(FORMATS), help="Ultralytics' names")
    parser.add_argument("--repeats", type=int, default=1, help="the median of so many is told")
    options = parser.parse_args()
    names = options.formats.split(",")
    ours = deploymark_ms(options.run, options.imgsz)
    found, reasons = repeated(options, names)
    head = ("format", "backend", "`benchmark`, ms", "threads", "Deploymark, ms", "ratio")
    print(markdown(head, [row_of(name, found[name], ours.get(FORMATS[name])) for name in names]))
    for name, reason in reasons.items():
        print(f"{name}: {reason}")


if __name__ == "__main__":
    main()

"""Does the gate catch a lost 0.02 of mAP, and does it leave exports of the same weights alone?

Exports one detector in several ways, scores each, and judges the mAP of each against that of the
first, as ``deploymark gate`` does:

* FP32 once more from scratch, FP32 by another runtime, FP16 and BF16: the same weights, which must
  never be ``regressed``;
* INT8 that was spoiled (one scale a tensor, or calibrated on a single image), which loses about
  0.02 on COCO photos: must be ``regressed``, where it lost 0.015 or more;
* INT8 as it is meant to be, to look at.

On the embedded digits and, where ``DEPLOYMARK_COCO_MINI`` names a folder with a COCO detector, 100
photos and a ``data.yaml``, on those too. Needs onnxruntime, OpenVINO and torch; takes some minutes.
With ``--folder`` what was measured is kept, and a second call goes on from there::

    DEPLOYMARK_COCO_MINI=... python tests/benchmarks/gate_map.py --folder map-gate
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Literal

from deploymark.bench.gate.figure_checks import map_check
from deploymark.bench.gate.sides import ScoredOn, SideRequest, resolve_side
from deploymark.bench.progress import Progress
from deploymark.bench.records.verdicts import Check
from deploymark.bench.score.coco_matches import Predictions
from deploymark.bench.score.map_interval import map_change
from deploymark.bench.store import Store
from deploymark.bench.worker.detections import load_detections

ROOT = Path(__file__).resolve().parents[2]

MAX_DROP = 0.01
"""The gate's default."""

SURE_LOSS = 0.015
"""A spoiled artifact that lost this much must be caught."""

IMGSZ = 320

Kind = Literal["baseline", "same weights", "int8", "spoiled"]


@dataclasses.dataclass(frozen=True)
class Export:
    """One way to export a detector. ``store`` is the store that it is built into."""

    name: str
    kind: Kind
    backend: str
    precision: str
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    store: str = "store"


EXPORTS = (
    Export("fp32", "baseline", "onnxruntime", "fp32"),
    Export("fp32, exported again", "same weights", "onnxruntime", "fp32", store="store-2"),
    Export("fp32", "same weights", "openvino", "fp32"),
    Export("fp16", "same weights", "onnxruntime", "fp16"),
    Export("bf16", "same weights", "openvino", "bf16"),
    Export("int8", "int8", "onnxruntime", "int8"),
    Export("int8", "int8", "openvino", "int8"),
    Export("int8, per tensor", "spoiled", "onnxruntime", "int8", {"per_channel": False}),
    Export("int8, 1 image", "spoiled", "onnxruntime", "int8", {"calibration_images": 1}),
)


def scored(export: Export, model: dict[str, str], folder: Path) -> tuple[ScoredOn, Predictions]:
    """The boxes of one export, measured with ``deploymark run`` unless the folder has them."""
    place = folder / f"{export.backend}-{export.name}".replace(", ", "-").replace(" ", "-")
    store = folder / export.store
    if not (place / "latest" / "cells.json").is_file():
        matrix: dict[str, Any] = {
            "models": [model],
            "backends": [{"name": export.backend, "options": export.options}],
            "precisions": [export.precision],
            "imgsz": [IMGSZ],
            "threads": [1],
            "validity": {"enabled": False},  # boxes do not depend on what else runs
            "measure": {
                "launches": 1,
                "target_interval": None,
                "latency_s": 0.05,
                "min_iterations": 2,
                "max_iterations": 2,
                "e2e_iterations": 0,
                "warmup_max_s": 0.2,
            },
        }
        path = place.with_suffix(".yaml")
        path.write_text(json.dumps(matrix), encoding="utf-8")
        command = [sys.executable, "-m", "deploymark", "run", str(path), "--results", str(place)]
        environment = {**os.environ, "DEPLOYMARK_CACHE": str(store)}
        done = subprocess.run(
            command, check=False, cwd=folder, env=environment, capture_output=True, text=True
        )
        if done.returncode:
            raise SystemExit(f"{export.backend} {export.name}:\n{done.stdout}{done.stderr}")
    with tempfile.TemporaryDirectory() as logs:
        side = resolve_side(
            SideRequest(str((place / "latest").resolve())),
            Store(store),
            Path(logs),
            Progress(io.StringIO()),
        )
    (cell,) = side.cells.values()
    if cell.predictions is None:
        raise SystemExit(f"{place}: the run has no boxes of these images")
    on = cell.scored_on
    return on, Predictions(load_detections(cell.predictions), on.geometries, on.class_map)


def judged(model: dict[str, str], folder: Path) -> list[tuple[Export, Check, float]]:
    """Each export but the first: what the gate says of it, and the seconds that it took."""
    folder.mkdir(parents=True, exist_ok=True)
    first, *others = EXPORTS
    on, baseline = scored(first, model, folder)
    found = []
    for export in others:
        _, candidate = scored(export, model, folder)
        started = time.process_time()
        check = map_check(map_change(on.dataset.scored, baseline, candidate), MAX_DROP)
        found.append((export, check, time.process_time() - started))
        print(line(export, check, found[-1][2]), flush=True)
    return found


def line(export: Export, check: Check, seconds: float) -> str:
    """One row of the table."""
    label = f"{export.backend} {export.name}"
    span = f"[{check.change_low:+.4f}, {check.change_high:+.4f}]"
    return (
        f"{label:<33} {export.kind:<13} {check.baseline:.4f} {check.candidate:.4f} "
        f"{check.change:+.4f} {span:<20} {check.verdict:<13} {seconds:5.1f} s"
    )


def wrong(export: Export, check: Check) -> bool:
    """Whether the verdict is not what it must be."""
    if export.kind == "same weights":
        return check.verdict == "regressed"
    lost = check.change is not None and check.change < -SURE_LOSS
    return export.kind == "spoiled" and lost and check.verdict != "regressed"


def coco_mini(folder: Path) -> dict[str, str] | None:
    """The COCO detector with a copy of its photos, or None."""
    given = os.environ.get("DEPLOYMARK_COCO_MINI")
    if not given:
        return None
    copy = folder / "coco"
    if not copy.exists():
        shutil.copytree(given, copy)
    (checkpoint,) = copy.glob("*.pt")
    return {"path": str(checkpoint), "data": str(copy / "data.yaml")}


def main() -> None:
    """Measure, judge, print, and end with 1 where a verdict is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="keep what was measured there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        models = {
            "digits": {"path": "builtin:digits", "data": "builtin:digits"},
            "coco": coco_mini(folder),
        }
        mistakes = 0
        for name, model in models.items():
            if model is None:
                print(f"{name}: left out, DEPLOYMARK_COCO_MINI names no folder")
                continue
            print(f"{name}, {IMGSZ} px: baseline, candidate, change, 95 % interval, verdict")
            mistakes += sum(
                wrong(export, check) for export, check, _ in judged(model, folder / name)
            )
    if mistakes:
        raise SystemExit(f"{mistakes} wrong verdicts")


if __name__ == "__main__":
    main()

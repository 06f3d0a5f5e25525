"""Ultralytics' own exports, measured as they are: does the harness score what ``val`` scores?

Exports a checkpoint with ``YOLO.export``, scores each file with ``YOLO(file).val(rect=False)`` and
measures the same files with ``deploymark run``, as ``artifact:`` of a matrix. Run it in an
environment with every backend::

    python tests/benchmarks/ultralytics_exports.py --model my.pt --data my.yaml --imgsz 320
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

FORMATS = ("onnx", "openvino", "litert", "ncnn")

INT8 = 8
"""Ultralytics' word for calibrated INT8."""

LIMIT = 0.010
"""Largest difference of mAP50-95 to be called the same score."""


def offline(folder: Path) -> None:
    """Keep Ultralytics off the network and off the user's settings."""
    os.environ.update(
        YOLO_AUTOINSTALL="false", YOLO_OFFLINE="1", YOLO_CONFIG_DIR=str(folder / "settings")
    )


def copied(data: Path, folder: Path) -> Path:
    """A copy of the data set, as Ultralytics writes a cache beside the labels that it reads.

    ``data`` is a ``data.yaml`` with ``images`` and ``labels`` beside it.
    """
    place = folder / "data"
    for part in ("images", "labels"):
        shutil.copytree(data.parent / part, place / part)
    return Path(shutil.copy(data, place))


def exported(model: Path, data: Path, imgsz: int, folder: Path, **arguments: Any) -> Path:
    """A file or folder that ``YOLO.export`` makes of a copy of the checkpoint."""
    from ultralytics import YOLO

    name = "-".join(str(value) for value in arguments.values())
    copy = folder / f"{model.stem}-{name}.pt"
    shutil.copyfile(model, copy)
    calibrated = {"data": str(data)} if arguments.get("quantize") == INT8 else {}
    path = YOLO(copy).export(imgsz=imgsz, verbose=False, **calibrated, **arguments)
    return Path(path)


def validated(path: Path, data: Path, imgsz: int, folder: Path) -> float:
    """mAP50-95 as ``YOLO(file).val(rect=False)`` gives it."""
    from ultralytics import YOLO

    result = YOLO(path, task="detect").val(
        data=str(data),
        imgsz=imgsz,
        batch=1,
        rect=False,
        plots=False,
        save_json=False,
        verbose=False,
        workers=0,
        project=str(folder / "val"),
    )
    return float(result.box.map)


def measured(paths: list[Path], data: Path, folder: Path) -> list[dict[str, Any]]:
    """The cells of a run of these artifacts, in their order."""
    models = [
        {"artifact": str(path), "data": str(data), "name": f"m{i}"} for i, path in enumerate(paths)
    ]
    matrix = folder / "given.yaml"
    measure = {"launches": 1, "target_interval": None, "latency_s": 0.3, "warmup_max_s": 0.5}
    settings = {"measure": measure}
    matrix.write_text(json.dumps({"models": models, **settings}), encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "deploymark",
        "run",
        str(matrix),
        "--results",
        str(folder / "runs"),
    ]
    done = subprocess.run(command, check=False, cwd=folder, capture_output=True, text=True)
    if not (folder / "runs/latest/cells.json").exists():
        raise SystemExit(done.stdout + done.stderr)
    cells: list[dict[str, Any]] = json.loads((folder / "runs/latest/cells.json").read_text())
    return cells


def compare(
    model: Path, data: Path, imgsz: int, exports: list[dict[str, Any]], folder: Path
) -> list[tuple[str, str, float | None, float]]:
    """(cell, status, the harness's mAP50-95, Ultralytics') for each export."""
    offline(folder)
    data = copied(data, folder)
    paths = [exported(model, data, imgsz, folder, **arguments) for arguments in exports]
    theirs = [validated(path, data, imgsz, folder) for path in paths]
    cells = measured(paths, data, folder)
    return [
        (cell["cell"], cell["status"], cell["map50_95"], score)
        for cell, score in zip(cells, theirs, strict=True)
    ]


def main() -> None:
    """Export, validate, measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--imgsz", type=int, default=320)
    parser.add_argument("--formats", default=",".join(FORMATS))
    parser.add_argument("--quantize", default=None, help="8 or 16, as Ultralytics knows it")
    options = parser.parse_args()
    extra = {"quantize": int(options.quantize)} if options.quantize else {}
    exports = [{"format": name, **extra} for name in options.formats.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        rows = compare(
            options.model.resolve(), options.data.resolve(), options.imgsz, exports, Path(folder)
        )
    for cell, status, ours, theirs in rows:
        difference = "" if ours is None else f"{ours - theirs:+.4f}"
        print(f"{cell:<45} {status:<14} {ours} {theirs:.4f} {difference}")
    if not all(ours is not None and abs(ours - theirs) <= LIMIT for _, _, ours, theirs in rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()

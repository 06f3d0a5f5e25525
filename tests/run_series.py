"""Runs of many days on disk, for the tests of what reads them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from deploymark.bench.records.run import CellResult, RunInfo, write_cells, write_run_info

CELL = "m-dense-fp32-onnxruntime-cpu-320"
BEGIN = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
MACHINE = {
    "host": "one",
    "cpu": "A CPU",
    "cpu_flags": ["avx2", "aes"],
    "cores_usable": 4,
    "memory_bytes": 8 << 30,
    "gpus": ["Some GPU, 550.1, 8192 MiB"],
    "os": "Linux 6.1",
    "governor": "performance",
}
IMAGES = {"model": "m", "scored_hash": "c" * 64, "calibration_hash": "d" * 64}

MakeRun = Callable[..., Path]


def result(cell: str = CELL, **values: Any) -> CellResult:
    """A cell that was measured, at 10 ms."""
    known: dict[str, Any] = {
        "status": "ok",
        "model": "m",
        "variant": "dense",
        "precision": "fp32",
        "backend": "onnxruntime",
        "latency_p50_ms": 10.0,
        "artifact_sha256": "a" * 64,
    }
    return CellResult(cell=cell, **(known | values))


def run_maker(results: Path) -> MakeRun:
    """What writes the run of one day below a folder, as a run of the harness is written."""

    def make(day: int, *cells: CellResult, name: str = "", **values: Any) -> Path:
        started = BEGIN + dt.timedelta(days=day)
        known: dict[str, Any] = {
            "matrix": {"measure": {"launches": 5}},
            "matrix_file": "m.yaml",
            "machine": MACHINE,
            "packages": {"onnxruntime": "1.31.0", "openvino": "2026.4"},
            "seed": 0,
            "started": started.isoformat(),
            "finished": started.isoformat(),
            "exit_status": 0,
            "git_commit": f"{day:040x}",
            "models": [{"name": "m", "sha256": "b" * 64}],
            "datasets": [IMAGES],
        }
        folder = results / (name or f"{started:%Y%m%dT%H%M%SZ}-one-{day:08x}")
        folder.mkdir(parents=True)
        write_run_info(folder, RunInfo(**(known | values)))
        write_cells(folder, cells or [result()])
        return folder

    return make


def latencies(runs: int, change_at: int, factor: float = 1.06) -> list[float]:
    """Medians of 10 ms with a noise of 0.5 %, times the factor from one run on."""
    noise = np.random.default_rng(1).normal(1, 0.005, runs)
    return [10 * share * (factor if day >= change_at else 1) for day, share in enumerate(noise)]

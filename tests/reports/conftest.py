"""Small runs, built with the types that a run directory is read into."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from bench.results import FIDELITY_FILE, VARIANTS_FILE, CellResult, Run, RunInfo, dump_json

MakeCell = Callable[..., CellResult]
MakeRun = Callable[..., Run]
AddVariants = Callable[..., None]

HOSTILE = "<script>alert(1)</script>\"'`|*é漢</script><!--"


@pytest.fixture
def make_cell() -> MakeCell:
    def make(cell: str = "m-dense-fp32-onnxruntime-cpu-320", **values: Any) -> CellResult:
        figures: dict[str, Any] = {
            "status": "ok",
            "model": "m",
            "variant": "dense",
            "precision": "fp32",
            "backend": "onnxruntime",
            "device": "cpu",
            "imgsz": 320,
            "threads": 2,
            "launches": 3,
            "iterations": 900,
            "latency_p50_ms": 12.345,
            "latency_p90_ms": 13.0,
            "latency_p95_ms": 13.5,
            "latency_ci_low_ms": 12.1,
            "latency_ci_high_ms": 12.6,
            "cold_ms": 40.0,
            "load_ms": 55.5,
            "throughput_ips": 81.0,
            "peak_rss_bytes": 200 << 20,
            "artifact_bytes": 10 << 20,
            "map50_95": 0.3941,
            "map50": 0.55,
            "map_images": 100,
            "energy_reason": "no RAPL energy counter here",
        }
        return CellResult(cell=cell, **(figures | values))

    return make


@pytest.fixture
def make_failed() -> MakeCell:
    def make(cell: str, status: str = "crashed", **values: Any) -> CellResult:
        known: dict[str, Any] = {
            "model": "m",
            "variant": "dense",
            "precision": "int8",
            "backend": "openvino",
            "device": "cpu",
            "imgsz": 320,
            "threads": 2,
            "reason": "the worker ended with signal 11",
            "remedy": "See its log.",
        }
        return CellResult(cell=cell, status=status, **(known | values))  # type: ignore[arg-type]

    return make


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    def make(*cells: CellResult, **values: Any) -> Run:
        known: dict[str, Any] = {
            "matrix": {"models": ["m.pt"]},
            "matrix_file": "matrices/smoke.yaml",
            "machine": {
                "host": "bench-01",
                "cpu": "A CPU",
                "cpu_flags": [f"flag{index}" for index in range(40)],
                "cores_usable": 2,
                "memory_bytes": 8 << 30,
                "gpus": [],
                "governor": None,
            },
            "packages": {"onnxruntime": "1.32.0"},
            "seed": 7,
            "started": "2026-11-23T18:00:00+00:00",
            "finished": "2026-11-23T18:03:04+00:00",
            "exit_status": 0,
            "git_commit": "0123456789abcdef",
        }
        folder = tmp_path / "20261123T180000Z-bench-01-0123456"
        return Run(folder=folder, info=RunInfo(**(known | values)), cells=cells)

    return make


@pytest.fixture
def add_variants() -> AddVariants:
    """Writes two recipes with every chart, and a worst image with its picture for each cell."""

    def add(run: Run, name: str = "l1_50") -> None:
        (run.folder / "fidelity").mkdir(parents=True)
        Image.new("RGB", (8, 6)).save(run.folder / "fidelity" / "a.jpg")
        record = {
            "history": [{"epoch": n, "box_loss": 1 / n, name: None} for n in (1, 2)],
            "sensitivity": [
                {"layer": layer, "amount": 0.5, "map50_95": 0.3} for layer in (name, "b")
            ],
            "amounts": {name: 0.4},
            "dense_map50_95": 0.4,
            "cycles": [{"cycle": 1, "amount": 0.5, "map50_95": 0.3, "kept": True}],
            "notes": [name],
        }
        step = {"step": {"kind": "l1", "teacher": name}, "status": "ok", "record": record}
        recipe = {"model": "m", "variant": name, "status": "ok", "reason": name, "steps": [step]}
        (run.folder / VARIANTS_FILE).write_text(dump_json([recipe, recipe | {"variant": "other"}]))
        worst = {"image": name, "agreement": 0.5, "picture": "fidelity/a.jpg"}
        found = {cell.cell: {"worst_images": [worst]} for cell in run.cells}
        (run.folder / FIDELITY_FILE).write_text(dump_json(found))

    return add


@pytest.fixture
def hostile() -> str:
    return HOSTILE

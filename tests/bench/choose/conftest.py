"""Runs with launches on disk, as the harness writes them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from deploymark.bench.records.run import CellResult
from tests.run_series import MakeRun, result, run_maker

AddLaunches = Callable[[Path, Mapping[str, Sequence[float]]], None]


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    return run_maker(tmp_path / "results")


@pytest.fixture
def add_launches() -> AddLaunches:
    """Writes launches with these medians (milliseconds), one a round, by cell."""

    def add(folder: Path, medians: Mapping[str, Sequence[float]]) -> None:
        lines = [
            json.dumps(
                {
                    "cell": cell,
                    "launch": launch,
                    "status": "ok",
                    "latency_ns": [round(1e6 * value)] * 3,
                    "e2e_ns": [],
                    "cold_ms": 3 * value,
                    "load_ms": 5 * value,
                    "peak_rss_bytes": round(1e8 + value),
                    "model_rss_bytes": 1000,
                    "device_memory_bytes": None,
                }
            )
            for cell, values in medians.items()
            for launch, value in enumerate(values)
        ]
        (folder / "launches.jsonl").write_text("".join(f"{line}\n" for line in lines))
        energies = [
            json.dumps({"cell": cell, "launch": launch, "joules_per_image": value / 10})
            for cell, values in medians.items()
            for launch, value in enumerate(values)
        ]
        (folder / "energy.jsonl").write_text("".join(f"{line}\n" for line in energies))

    return add


def row(name: str, latency_ms: float, **values: Any) -> CellResult:
    """A cell of the model m with an mAP on so many images that its interval is narrow."""
    known: dict[str, Any] = {
        "backend": "openvino",
        "precision": "int8",
        "imgsz": 320,
        "latency_p50_ms": latency_ms,
        "latency_ci_low_ms": 0.99 * latency_ms,
        "latency_ci_high_ms": 1.01 * latency_ms,
        "artifact_bytes": 3_000_000,
        "map50_95": 0.4,
        "map_images": 10**8,
    }
    return result(name, **(known | values))


def fp32(name: str = "fp32", latency_ms: float = 20.0, **values: Any) -> CellResult:
    """The dense FP32 cell of the model m."""
    known = {"precision": "fp32", "backend": "torch", "artifact_bytes": 12_000_000}
    return row(name, latency_ms, **(known | values))

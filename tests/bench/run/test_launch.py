"""One launch with the worker itself; the backend computes nothing."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from deploymark.bench.run import launch as launches
from deploymark.bench.run.launch import LaunchTask, launch
from deploymark.bench.run.schedule import LaunchSlot
from deploymark.bench.worker.detections import load_detections

if TYPE_CHECKING:
    from pathlib import Path

    from deploymark.bench.gate.pairing import Measurable


@pytest.mark.parametrize(
    ("limit_s", "contended_cores", "workers"),
    [(0.0, -1.0, 2), (3600.0, -1.0, 1), (0.0, 1e9, 1)],
    ids=["slow", "quick", "nobody else"],
)
def test_slow_boxes_are_found_apart_by_threads_that_give_way(
    side: Measurable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    limit_s: float,
    contended_cores: float,
    workers: int,
) -> None:
    """Whether one process or two: the same record, and the same boxes."""
    monkeypatch.setattr(launches, "SCORE_APART_S", limit_s)
    monkeypatch.setattr(launches, "CONTENDED_CORES", contended_cores)
    # Long enough for the kernel's ticks to count: a load of other processes is unknown else.
    long = {"latency_s": 0.1, "max_iterations": 1_000_000}
    measure = side.cell.measure.model_copy(update={"e2e_iterations": 0, **long})
    task = LaunchTask(
        slot=LaunchSlot(side.cell.id, 0),
        cell=dataclasses.replace(side.cell, measure=measure, runtime_options={"wait": "default"}),
        threads=1,
        artifact=dataclasses.replace(side.artifact, detector={"layout": "anchors"}),
        images=side.images,
        e2e_images=[],
        predictions=tmp_path / "boxes.npz",
        inspect=False,
    )
    record = launch(task, tmp_path / "logs" / "launch.log")
    assert record["status"] == "ok", record["reason"]
    assert record["predictions"] == "boxes.npz"
    assert record["latency_ns"]
    assert "score_apart" not in record
    assert record["runtime_settings"] == {"omp_wait_policy": "not set", "wait": "default"}
    assert len(load_detections(tmp_path / "boxes.npz")) == 4
    said = (tmp_path / "logs" / "launch.log").read_text().splitlines()
    waits = [line for line in said if line.startswith("waits")]
    assert waits == ["waits as it likes", "waits PASSIVE"][:workers]

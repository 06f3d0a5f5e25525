"""Histories that the tests of their reports show."""

from __future__ import annotations

from typing import Any

from deploymark.bench.records import trends


def changed(run: int = 5, **values: Any) -> trends.Change:
    known: dict[str, Any] = {
        "before": 10.0,
        "after": 11.0,
        "change": 0.1,
        "p_value": 0.0005,
        "found": ["onnxruntime 1.31.0 → 1.32.0"],
    }
    return trends.Change(run, **(known | values))


def latency(
    cell: str = "a", *changes: trends.Change, runs: int = 8, **values: Any
) -> trends.Series:
    starts = [change.run for change in changes]
    points = [
        trends.Point(run, value, value - 0.2, value + 0.3)
        for run in range(runs)
        for value in [10.0 + sum(run >= start for start in starts)]
    ]
    known: dict[str, Any] = {
        "figure": "latency_p50_ms",
        "backend": "onnxruntime",
        "precision": "fp32",
        "relative": True,
    }
    return trends.Series(cell, points=points, changes=list(changes), **(known | values))


def machine(
    *series: trends.Series, name: str = "A CPU, 4 cores", runs: int = 8
) -> trends.MachineHistory:
    past = [
        trends.PastRun(f"run-{number}", f"2026-01-0{number + 1}T00:00:00Z", f"{number:040x}", name)
        for number in range(runs)
    ]
    return trends.MachineHistory("0a1b2c3d", name, {"cpu": name}, [name], past, list(series))


def history(
    *machines: trends.MachineHistory, skipped: list[trends.Skipped] | None = None
) -> trends.History:
    return trends.History(list(machines), 0.005, 0.01, 3, 0, skipped or [])

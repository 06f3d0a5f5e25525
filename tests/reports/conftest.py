"""Small runs, built with the types that a run directory is read into."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import pytest
from markupsafe import Markup
from PIL import Image

from deploymark.bench.records.comparison import (
    ComparedCell,
    ComparedRun,
    Comparison,
    Difference,
    Value,
)
from deploymark.bench.records.files import dump_json
from deploymark.bench.records.run import FIDELITY_FILE, VARIANTS_FILE, CellResult, Run, RunInfo
from deploymark.bench.records.verdicts import CellVerdict, Check, Gate, Side

MakeGate = Callable[..., Gate]
MakeCell = Callable[..., CellResult]
MakeRun = Callable[..., Run]
AddVariants = Callable[..., None]

HOSTILE = "<script>alert(1)</script>\"'`|*é漢</script><!--"


class QuickBundle:
    """Stands for the bundle, which takes seconds to make."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def script(self) -> Markup:
        return Markup("window.vegaEmbed = () => Promise.resolve();")


@pytest.fixture
def quick_bundle() -> type[QuickBundle]:
    return QuickBundle


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


@pytest.fixture
def gate_cells() -> dict[str, CellVerdict]:
    """Cells of a gate, one for each way in which a cell can end, by that way."""

    def latency(verdict: str, change: float, reach: float, **values: Any) -> Check:
        known: dict[str, Any] = {
            "baseline": 12.3,
            "candidate": 12.3 * (1 + change),
            "change": change,
            "change_low": change - reach,
            "change_high": change + reach,
            "confidence": 0.95,
            "threshold": 0.01,
            "pairs": 12,
            "method": "paired t interval of the log-ratios",
        }
        return Check("latency_p50_ms", "change", verdict, **(known | values))  # type: ignore[arg-type]

    def score(verdict: str, change: float) -> Check:
        return Check(
            "map50_95",
            "change",
            verdict,  # type: ignore[arg-type]
            baseline=0.412,
            candidate=0.412 + change,
            relative=False,
            change=change,
            change_low=change - 0.004,
            change_high=change + 0.004,
            confidence=0.95,
            threshold=0.01,
            method="bootstrap over images",
        )

    size = Check(
        "artifact_bytes",
        "change",
        "unchanged",
        baseline=10 << 20,
        candidate=10 << 20,
        change=0.0,
        change_low=0.0,
        change_high=0.0,
        threshold=0.02,
        method="exact",
    )
    budget = Check(
        "latency_p95_ms", "budget", "regressed", candidate=21.34, limit=20.0, bound="max"
    )
    met = Check("map50_95", "budget", "unchanged", candidate=0.412, limit=0.38, bound="min")

    def cell(name: str, verdict: str, *checks: Check, **values: Any) -> CellVerdict:
        known: dict[str, Any] = {
            "status": "ok",
            "backend": "onnxruntime",
            "precision": "fp32",
            "device": "cpu",
            "imgsz": 320,
            "seconds": 61.5,
            "pairs": 12,
        }
        found = CellVerdict(f"m-{name}", verdict=verdict, **(known | values))  # type: ignore[arg-type]
        changes = [check.change for check in checks if check.pairs and check.change is not None]
        ratios = [math.log1p(change + step) for change in changes for step in (-0.01, 0.0, 0.012)]
        return dataclasses.replace(found, checks=list(checks), log_ratios=ratios)

    failed = {"status": "crashed", "reason": "signal 11", "remedy": "See its log.", "pairs": 0}
    absent = {"status": "unavailable", "reason": "not installed", "pairs": 0, "seconds": 0.0}
    unclear = latency("inconclusive", 0.008, 0.006, pairs_needed=40)
    return {
        "unchanged": cell("same", "unchanged", latency("unchanged", 0.001, 0.003), met, size),
        "improved": cell("better", "improved", latency("improved", -0.2, 0.01), size),
        "inconclusive": cell(
            "unclear", "inconclusive", unclear, size, remedy="--max-pairs 60 --budget 300"
        ),
        "failed": cell("broken", "regressed", size, **failed),
        "not compared": cell("absent", "inconclusive", **absent),
        "over budget": cell("late", "regressed", latency("unchanged", 0.0, 0.002), budget),
        "regressed": cell(
            "slow",
            "regressed",
            latency("regressed", 0.0312, 0.011),
            score("regressed", -0.021),
            size,
            warnings=["2 pairs were disturbed"],
        ),
    }


@pytest.fixture
def make_gate(gate_cells: dict[str, CellVerdict]) -> MakeGate:
    def make(*cells: CellVerdict, **values: Any) -> Gate:
        known: dict[str, Any] = {
            "baseline": Side("results/old", "run", packages={"onnxruntime": "1.31.0", "a": "1"}),
            "candidate": Side(
                "my.yaml",
                "matrix",
                python="/usr/bin/python3.12",
                packages={"onnxruntime": "1.32.0", "a": "1"},
                git_commit="0123456789abcdef",
            ),
            "machine": {"host": "bench-01", "cpu": "A CPU", "cores_usable": 2},
            "settings": {"min_effect": 0.01, "confidence": 0.95, "max_pairs": 30},
            "started": "2026-11-24T10:00:00Z",
            "finished": "2026-11-24T10:08:12Z",
            "verdict": "regressed",
            "exit_status": 1,
            "cells": list(cells) or list(gate_cells.values()),
            "unmatched": [{"cell": "m-gone", "side": "baseline", "reason": "no such precision"}],
            "warnings": ["The governor is powersave."],
            "deploymark_version": "0.1.0",
        }
        return Gate(**(known | values))

    return make


@pytest.fixture
def comparison() -> Comparison:
    """Two machines: one cell that both have, and one that one has and could not measure."""
    runs = [
        ComparedRun(
            host, cpu, f"results/{host}", "2026-11-24T10:00:00Z", {"host": host}, finished=True
        )
        for host, cpu in (("desk", "A CPU"), ("jetson", "Cortex"))
    ]
    both = ComparedCell(
        "c-fp32",
        ["ok", "ok"],
        ["a" * 64, "b" * 64],
        {
            "latency_p50_ms": [
                Value(10.0, 9.9, 10.1),
                Value(11.0, ratio=1.1, ratio_low=1.05, ratio_high=1.15),
            ],
            "map50_95": [Value(0.4), Value(0.37, difference=-0.03)],
        },
        fastest=0,
        disturbed=[False, True],
    )
    gone = Value(reason="this run has no such cell")
    crashed = Value(reason="crashed: signal 11")
    one = ComparedCell(
        "c-int8",
        [None, "crashed"],
        [None, None],
        {"latency_p50_ms": [gone, crashed], "map50_95": [gone, crashed]},
        fastest=None,
        disturbed=[False, False],
    )
    return Comparison(
        runs,
        ["latency_p50_ms", "map50_95"],
        [both, one],
        [Difference("package", "onnxruntime", ["1.31.0", None])],
        several_machines=True,
        notes=["It describes only."],
    )

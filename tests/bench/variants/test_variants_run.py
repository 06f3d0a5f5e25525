"""A whole run of recipes: trained, failed, kept, and told in the run directory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from deploymark.bench.records.run import read_variants

if TYPE_CHECKING:
    from conftest import CommandLine

pytestmark = [pytest.mark.heavy, pytest.mark.real]

pytest.importorskip("ultralytics")
pytest.importorskip("onnxruntime")
pytest.importorskip("torch_pruning")

MATRIX = """
models:
  - {path: builtin:digits, data: data.yaml}
imgsz: [160]
scoring: {max_images: 16}
calibration: {images: 8}
measure:
  {launches: 2, target_interval: null, warmup_max_s: 0.3, latency_s: 0.1,
   min_iterations: 5, max_iterations: 50, e2e_iterations: 0}
validity: {enabled: false}  # the machine of a test is as busy as it is
backends:
  - {name: onnxruntime, precisions: [fp32, int8-qat]}
variants:
  - dense
  - name: small
    steps: [{kind: structured, ratio: 0.3}]
  - name: small_qat
    steps:
      - {kind: structured, ratio: 0.3}
      - {kind: qat, epochs: 1, images: 16, imgsz: 160, batch: 8, calibration_images: 8}
  - name: diverges
    steps: [{kind: finetune, epochs: 1, images: 16, imgsz: 160, batch: 8, lr0: 1.0e+30}]
  - name: starved
    steps: [{kind: finetune, epochs: 1, batch: 500}]
exclude:
  - {variant: small_qat, precision: fp32, reason: made for int8-qat}
"""


def cells_of(run: Path) -> dict[str, dict[str, Any]]:
    return {cell["variant"]: cell for cell in json.loads((run / "cells.json").read_text())}


def test_recipes_from_matrix_to_report(
    deploymark: CommandLine, drawn_digits: Path, digits: Path
) -> None:
    (deploymark.folder / "data.yaml").write_text(
        f"train: {drawn_digits / 'images' / 'train'}\n"
        f"val: {digits / 'images' / 'val'}\n"
        f"names: {[str(index) for index in range(10)]}\n"
    )
    (deploymark.folder / "recipes.yaml").write_text(MATRIX)
    before = sorted(drawn_digits.rglob("*"))
    done = deploymark("run", "recipes.yaml")
    assert done.returncode == 1, done.stdout + done.stderr  # two variants fail, as they should
    assert sorted(drawn_digits.rglob("*")) == before
    run = deploymark.latest.resolve()
    cells = cells_of(run)
    assert {name: cell["status"] for name, cell in cells.items()} == {
        "dense": "ok",
        "small": "ok",
        "small_qat": "ok",
        "diverges": "export_failed",
        "starved": "unavailable",
    }
    assert "diverged" in cells["diverges"]["reason"]
    assert "500" in cells["starved"]["reason"]
    assert cells["small"]["macs"] < 0.7 * cells["dense"]["macs"]
    assert cells["small_qat"]["macs"] == cells["small"]["macs"]
    assert cells["small_qat"]["precision"] == "int8-qat"
    assert ":u8" in cells["small_qat"]["executed_precision"]
    assert cells["small_qat"]["artifact_bytes"] < 0.5 * cells["small"]["artifact_bytes"]
    assert cells["dense"]["sparsity"] == cells["small"]["sparsity"] == 0.0
    assert 0 <= cells["small"]["agreement"] < 1
    assert cells["small"]["agreement_reference"] == cells["dense"]["cell"]

    variants = {item["variant"]: item for item in read_variants(run)}
    assert {name: item["status"] for name, item in variants.items()} == {
        name: cells[name]["status"] for name in variants
    }
    steps = variants["small_qat"]["steps"]
    assert [step["status"] for step in steps] == ["ok", "ok"]
    assert len(steps[1]["record"]["history"]) == 1
    assert steps[0] == {**variants["small"]["steps"][0]}  # one step of both, carried out once
    logs = {path.name for path in (run / "logs").glob("recipe-*")}
    assert {"recipe-digits-diverges-1-finetune.log", "recipe-digits-small_qat-2-qat.log"} <= logs
    report = (run / "report.html").read_text(encoding="utf-8")
    assert "small_qat" in report
    assert "training diverged" in report

    again = deploymark("run", "recipes.yaml", "-k", "small_qat")
    assert again.returncode == 0, again.stdout + again.stderr
    rerun = deploymark.latest.resolve()
    assert json.loads((rerun / "run.json").read_text())["artifacts_built"] == 0
    (kept,) = read_variants(rerun)
    assert [step["reused"] for step in kept["steps"]] == [True, True]
    assert "recipes" not in again.stderr

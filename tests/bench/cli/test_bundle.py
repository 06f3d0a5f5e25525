"""A bundle by the command line: built here, measured where no exporter is, and resumed."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.bench.conftest import CommandLine

MATRIX = """
models:
  - {path: builtin:digits, data: builtin:digits}
imgsz: [64]
backends: [onnxruntime]
precisions: [fp32, int8]
threads: [1]
scoring: {max_images: 3}
calibration: {images: 2}
measure:
  {launches: 2, memory_launches: 1, target_interval: null, warmup_max_s: 0.2, latency_s: 0.1,
   min_iterations: 2, max_iterations: 5, e2e_iterations: 2}
validity: {enabled: false}
"""

EXPORTERS = ("torch", "torchvision", "ultralytics", "onnx", "nncf")


def poisoned(folder: Path) -> dict[str, str]:
    """An environment in which an exporter cannot be imported, and with a store of its own."""
    folder.mkdir()
    for name in EXPORTERS:
        (folder / f"{name}.py").write_text(f"raise ImportError('{name} is not to be imported')\n")
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        "PYTHONPATH": os.pathsep.join(paths),
        "DEPLOYMARK_CACHE": str(folder / "cache"),
    }


@pytest.mark.heavy
@pytest.mark.real
def test_a_bundle_is_measured_without_exporters(deploymark: CommandLine, tmp_path: Path) -> None:
    pytest.importorskip("ultralytics")
    pytest.importorskip("onnxruntime")
    (deploymark.folder / "m.yaml").write_text(MATRIX)
    made = deploymark("bundle", "m.yaml", "-o", "d.dmb")
    assert made.returncode == 0, made.stderr
    assert "d.dmb: 2 of 2 cells" in made.stdout
    again = deploymark("bundle", "m.yaml", "-o", "again.dmb")
    assert again.returncode == 0, again.stderr
    bundle = deploymark.folder / "d.dmb"
    assert bundle.read_bytes() == (deploymark.folder / "again.dmb").read_bytes()
    shown = deploymark("bundle", "show", "d.dmb")
    assert "digits-dense-int8-onnxruntime-cpu-64-t1" in shown.stdout
    assert deploymark("bundle", "verify", "d.dmb").returncode == 0

    there = type(deploymark)(tmp_path / "device")
    there.folder.mkdir()
    shutil.move(bundle, there.folder / "d.dmb")
    environment = poisoned(tmp_path / "poison")
    done = there("run", "d.dmb", env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    cells = json.loads((there.latest / "cells.json").read_text())
    assert [cell["status"] for cell in cells] == ["ok", "ok"]
    assert all(cell["map50_95"] is not None and cell["e2e_p50_ms"] for cell in cells)
    run = json.loads((there.latest / "run.json").read_text())
    assert run["bundle"]["file"].endswith("d.dmb")
    labels = json.loads((there.latest / run["datasets"][0]["labels"]).read_text())
    assert len(labels["images"]) == 3

    chosen = there("choose", env=environment)
    assert "cannot be drawn anew" not in chosen.stdout, "the labels came with the bundle"
    # the file itself is no longer needed: what was unpacked lies in the store
    (there.folder / "d.dmb").unlink()
    lines = there.latest / "launches.jsonl"
    kept = lines.read_text().splitlines(keepends=True)[:-1]
    lines.write_text("".join(kept))
    resumed = there("run", "--resume", "results/latest", env=environment)
    assert resumed.returncode == 0, resumed.stderr
    assert lines.read_text().splitlines(keepends=True)[: len(kept)] == kept
    assert len(lines.read_text().splitlines()) == len(kept) + 1


def test_what_is_no_bundle(deploymark: CommandLine) -> None:
    (deploymark.folder / "m.dmb").write_text(MATRIX)
    for words in (("run", "m.dmb"), ("bundle", "show", "m.dmb"), ("bundle", "verify", "m.dmb")):
        done = deploymark(*words)
        assert done.returncode == 2
        assert "m.dmb: is no bundle, or is cut off" in done.stderr
    assert not (deploymark.folder / "results").exists()


def test_a_bundle_takes_no_choice_of_cells(deploymark: CommandLine) -> None:
    done = deploymark("run", "m.dmb", "--imgsz", "320")
    assert done.returncode == 2
    assert "a bundle is measured as it was made" in done.stderr
    done = deploymark("run", "m.yaml", "--python", "/usr/bin/python3")
    assert done.returncode == 2
    assert "--python is for bundles" in done.stderr


def test_a_bundle_is_called_one(deploymark: CommandLine) -> None:
    done = deploymark("bundle", "-o", "d.zip")
    assert done.returncode == 2
    assert "the name of a bundle ends in .dmb" in done.stderr
    done = deploymark("bundle", "-o", "nowhere/d.dmb")
    assert done.returncode == 2
    assert "its folder is not there" in done.stderr

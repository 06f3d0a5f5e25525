"""What a worker's process is set to before its runtime is imported."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from tests.bench.conftest import PLUGINS

if TYPE_CHECKING:
    from tests.bench.conftest import CommandLine

pytestmark = [pytest.mark.heavy, pytest.mark.real]

pytest.importorskip("ultralytics")

MATRIX = """
models:
  - {path: builtin:digits, data: builtin:digits}
imgsz: [64]
scoring: {max_images: 2}
calibration: {images: 1}
measure:
  {launches: 1, target_interval: null, warmup_max_s: 0.1, latency_s: 0.1,
   min_iterations: 2, max_iterations: 2, e2e_iterations: 0}
validity: {enabled: false}
backends:
  - {name: misbehaving, runtime_axes: {wait: [default, passive]}}
"""


def test_threads_wait_as_the_cell_says_whatever_the_shell_has(deploymark: CommandLine) -> None:
    (deploymark.folder / "wait.yaml").write_text(MATRIX)
    path = os.pathsep.join((str(PLUGINS), os.environ.get("PYTHONPATH", "")))
    shell = {"OMP_WAIT_POLICY": "ACTIVE", "OMP_PROC_BIND": "true", "PYTHONPATH": path}
    done = deploymark("run", "wait.yaml", env=shell)
    assert done.returncode == 0, done.stdout + done.stderr
    cells = json.loads((deploymark.latest / "cells.json").read_text())
    assert {cell["cell"]: cell["runtime_settings"] for cell in cells} == {
        "digits-dense-fp32-misbehaving-cpu-64-wait_default": (
            "omp_wait_policy: not set, wait: default"
        ),
        "digits-dense-fp32-misbehaving-cpu-64-wait_passive": (
            "omp_wait_policy: PASSIVE, wait: passive"
        ),
    }
    assert [cell["runtime_axes"] for cell in cells] == ["wait: default", "wait: passive"]
    notes = json.loads((deploymark.latest / "run.json").read_text())["notes"]
    assert any("not handed on" in note and "OMP_WAIT_POLICY=ACTIVE" in note for note in notes)
    assert any("handed on to every" in note and "OMP_PROC_BIND=true" in note for note in notes)

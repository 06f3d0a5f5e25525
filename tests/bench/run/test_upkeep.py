"""What a run needs is taken away while it goes on."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import CommandLine

pytestmark = [pytest.mark.heavy, pytest.mark.real]

pytest.importorskip("ultralytics")

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"

MATRIX = """
models:
  - {path: builtin:digits, data: builtin:digits}
imgsz: [160]
scoring: {max_images: 2}
calibration: {images: 8}
measure:
  {launches: 2, target_interval: null, warmup_max_s: 0.3, latency_s: 0.1,
   min_iterations: 5, max_iterations: 20, e2e_iterations: 0}
validity: {enabled: false}  # the machine of a test is as busy as it is
backends: [{name: misbehaving, runtime_options: {vanished: "%s"}}]
"""


def test_an_artifact_that_vanishes_during_a_launch_is_made_again(
    deploymark: CommandLine, shared_cache: Path
) -> None:
    (deploymark.folder / "m.yaml").write_text(MATRIX % (deploymark.folder / "vanished"))
    path = os.pathsep.join(part for part in (str(PLUGINS), os.environ.get("PYTHONPATH")) if part)
    done = deploymark("run", "m.yaml", env={"PYTHONPATH": path})
    assert done.returncode == 0, done.stdout + done.stderr
    run = deploymark.latest
    launches = [json.loads(line) for line in (run / "launches.jsonl").read_text().splitlines()]
    assert [record["status"] for record in launches] == ["load_failed", "ok", "ok"]
    assert "meanwhile its artifact" in launches[0]["reason"]
    (cell,) = json.loads((run / "cells.json").read_text())
    assert (cell["status"], cell["launches"]) == ("ok", 2)
    # a cell that came through in the end gets all that others get
    assert (run / "memory.jsonl").read_text().count('"status": "ok"') == 2
    assert "1 launch was made again" in (run / "report.html").read_text()

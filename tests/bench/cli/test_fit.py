from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.bench.conftest import CommandLine

MATRIX = """\
models: [{path: "builtin:digits", data: "builtin:digits"}]
backends: [onnxruntime]
imgsz: [160]
threads: [1]
scoring: {max_images: 4}
measure: {launches: 1, max_launches: 1, target_interval: null, warmup_max_s: 0.1, latency_s: 0.05}
validity: {repeats: 0}
limits: {launch_timeout_s: 40}
"""

CELL = "digits-dense-fp32-onnxruntime-cpu-160-t1"

linux = pytest.mark.skipif(sys.platform != "linux", reason="limits are enforced on Linux only")


def cells_of(folder: Path) -> dict[str, dict[str, Any]]:
    return {row["cell"]: row for row in json.loads((folder / "cells.json").read_text())}


def tried(folder: Path) -> list[tuple[int, str]]:
    lines = (folder / "fit.jsonl").read_text().splitlines()
    return [(line["memory_limit_mb"], line["status"]) for line in map(json.loads, lines)]


@pytest.mark.heavy
@linux
def test_the_smallest_limit_of_a_cell(deploymark: CommandLine, shared_cache: Path) -> None:
    (deploymark.folder / "m.yaml").write_text(MATRIX)
    done = deploymark("fit", "m.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    row = cells_of(deploymark.latest)[CELL]
    limit = row["min_memory_mb"]
    assert row["memory_enforced_by"] in {"cgroup-v2", "rlimit-data"}
    assert f"{limit}" in done.stdout
    counts = Counter(tried(deploymark.latest))
    assert counts[limit, "ok"] == 3
    failed = [mib for mib, status in counts if status != "ok"]
    assert limit not in failed
    assert min(failed) <= 0.9 * limit
    assert max(failed) >= limit - max(1, 0.02 * limit)
    assert {status for _, status in counts} == {"ok", "out_of_memory"}

    # The memory pass is of its own, and its figures are of one process.
    assert row["uss_bytes"] <= row["steady_rss_bytes"] <= row["peak_rss_bytes"]
    assert row["load_peak_rss_bytes"] <= row["peak_rss_bytes"]
    assert row["model_rss_bytes"] > 0
    assert 0 < row["memory_per_copy_bytes"] < row["peak_rss_bytes"]
    assert row["artifact_zstd_bytes"] < row["artifact_bytes"]

    # Once more, of the run: what was found out before counts.
    again = deploymark("fit", "results/latest", "-k", "onnxruntime")
    assert again.returncode == 0, again.stdout + again.stderr
    assert cells_of(deploymark.latest)[CELL]["min_memory_mb"] == limit
    assert Counter(tried(deploymark.latest)) == counts
    run = json.loads((deploymark.latest / "run.json").read_text())
    assert any(note.startswith("Limits of memory") for note in run["notes"])

    nothing = deploymark("fit", "results/latest", "-k", "tensorrt")
    assert nothing.returncode == 2
    assert "selects none of the 1 cells" in nothing.stderr

    # As an axis: within the limit, and clearly below it.
    less = int(0.8 * limit)
    (deploymark.folder / "m.yaml").write_text(f"{MATRIX}memory_limit_mb: [null, {less}]\n")
    axis = deploymark("run", "m.yaml")
    assert axis.returncode == 1, axis.stdout + axis.stderr
    rows = cells_of(deploymark.latest)
    assert (rows[CELL]["status"], rows[CELL]["memory_limit_mb"]) == ("ok", None)
    limited = rows[f"{CELL}-m{less}"]
    assert (limited["status"], limited["memory_limit_mb"]) == ("out_of_memory", less)
    assert limited["memory_enforced_by"] == row["memory_enforced_by"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "there is no results/latest to fit"),
        (["."], ". is neither a run nor a matrix"),
        (["nowhere.yaml"], "nowhere.yaml: no such matrix file"),
        (["default", "-k", "nothing"], "selects none"),
    ],
)
def test_what_cannot_be_fitted_is_told(
    deploymark: CommandLine, arguments: list[str], words: str
) -> None:
    done = deploymark("fit", *arguments)
    assert done.returncode == 2
    assert words in done.stderr


def test_a_run_takes_no_other_choice_of_cells(deploymark: CommandLine) -> None:
    (deploymark.folder / "run.json").write_text("{}")
    done = deploymark("fit", ".", "--backends", "ncnn")
    assert done.returncode == 2
    assert ". is a run" in done.stderr

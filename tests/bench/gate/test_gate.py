"""Whole gates, as a user types them. What a latency comes to is left to the trials."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest

from deploymark.bench.store import Store

if TYPE_CHECKING:
    from conftest import CommandLine

pytestmark = [pytest.mark.heavy, pytest.mark.real]

pytest.importorskip("ultralytics")
pytest.importorskip("onnxruntime")

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"

HEAD = """
models:
  - {path: builtin:digits, data: builtin:digits}
imgsz: [160]
scoring: {max_images: 16}
calibration: {images: 8}
measure:
  {launches: 1, target_interval: null, warmup_max_s: 0.3, latency_s: 0.1,
   min_iterations: 5, max_iterations: 50, e2e_iterations: 0}
validity: {enabled: false}  # the machine of a test is as busy as it is
gate: {max_pairs: 2, bursts: 4}
"""

REAL = HEAD + "backends: [onnxruntime]\nprecisions: [fp32, int8]\n"

IDLE = HEAD.replace("max_images: 16", "max_images: 2") + (
    "backends: [{name: misbehaving, runtime_options: {%s}}]\n"
)
"""On more images, to find nothing would be nonsense."""

FILES = {
    "gate.json",
    "pairs.jsonl",
    "report.html",
    "summary.md",
    "junit.xml",
    "benchmark-action.json",
    "logs",
}


def read(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "gate.json").read_text())
    return found


def with_plugins() -> dict[str, str]:
    path = os.pathsep.join(part for part in (str(PLUGINS), os.environ.get("PYTHONPATH")) if part)
    return {"PYTHONPATH": path}


def test_a_run_against_itself_and_its_files_against_each_other(
    deploymark: CommandLine, shared_cache: Path
) -> None:
    (deploymark.folder / "small.yaml").write_text(REAL)
    done = deploymark("run", "small.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    references = ("--baseline", "results/latest", "--candidate", "results/latest")
    done = deploymark("gate", *references)
    folder = deploymark.folder / "results" / "latest-gate"
    found = read(folder)
    # two pairs rarely decide, and two cells with the same bytes never differ in anything else
    assert done.returncode == found["exit_status"], done.stdout + done.stderr
    assert done.returncode in {0, 3}
    assert {path.name for path in folder.iterdir()} >= FILES
    assert {cell["cell"] for cell in found["cells"]} == {
        "digits-dense-fp32-onnxruntime-cpu-160",
        "digits-dense-int8-onnxruntime-cpu-160",
    }
    for cell in found["cells"]:
        checks = {check["figure"]: check for check in cell["checks"]}
        assert {"latency_p50_ms", "map50_95", "artifact_bytes", "peak_rss_bytes"} <= set(checks)
        assert checks["map50_95"]["verdict"] == "unchanged"
        assert checks["map50_95"]["change"] == 0
        assert checks["artifact_bytes"]["verdict"] == "unchanged"
        assert checks["latency_p50_ms"]["pairs"] == cell["pairs"] == 2
    assert found["baseline"]["packages"]["onnxruntime"]
    lines = (folder / "pairs.jsonl").read_text().splitlines()
    assert len(lines) == 4
    assert len(json.loads(lines[0])["candidate"]["latency_ns"]) == 4
    ET.parse(folder / "junit.xml")  # noqa: S314 - our own file

    # the size decides alone, and not for worse: the cell that was lost is the matter
    only_sizes = HEAD.replace("bursts: 4", "figures: [artifact_bytes]")
    fewer = REAL.replace(HEAD, only_sizes).replace("[fp32, int8]", "[int8]")
    (deploymark.folder / "fewer.yaml").write_text(fewer)
    lost = ("gate", "--baseline", "small.yaml", "--candidate", "fewer.yaml")
    done = deploymark(*lost)
    assert done.returncode == read(folder)["exit_status"] == 3, done.stdout + done.stderr
    assert "digits-dense-fp32-onnxruntime-cpu-160" in done.stdout
    allowing = fewer.replace("gate: {", "gate: {allow_missing: true, ")
    (deploymark.folder / "fewer.yaml").write_text(allowing)
    done = deploymark(*lost)
    assert done.returncode == 0, done.stdout + done.stderr

    files = {
        item.recipe["precision"]: str(item.folder / item.entry)
        for item in Store().entries()
        if item.recipe["backend"] == "onnxruntime" and item.recipe["imgsz"] == 160
    }
    done = deploymark(
        "gate",
        *("--baseline", files["int8"], "--candidate", files["fp32"]),
        *("--data", "builtin:digits", "--backends", "onnxruntime", "--max-pairs", "2"),
    )
    assert done.returncode == 1, done.stdout + done.stderr
    (cell,) = read(folder)["cells"]
    sizes = next(check for check in cell["checks"] if check["figure"] == "artifact_bytes")
    assert sizes["verdict"] == "regressed"
    assert sizes["change"] > 0.5
    assert "regressed" in done.stdout


def test_a_candidate_that_fails_is_worse_and_budgets_hold(
    deploymark: CommandLine, shared_cache: Path
) -> None:
    good, bad = deploymark.folder / "good.yaml", deploymark.folder / "bad.yaml"
    good.write_text(IDLE % "")
    bad.write_text(IDLE % "where: load, how: raise")
    done = deploymark(
        "gate", "--baseline", "good.yaml", "--candidate", "bad.yaml", env=with_plugins()
    )
    folder = deploymark.folder / "results" / "latest-gate"
    assert done.returncode == 1, done.stdout + done.stderr
    (cell,) = read(folder)["cells"]
    assert (cell["status"], cell["verdict"]) == ("load_failed", "regressed")
    assert "told to fail at load" in cell["reason"]

    done = deploymark(
        "gate", "--baseline", "bad.yaml", "--candidate", "good.yaml", env=with_plugins()
    )
    assert done.returncode == 3, done.stdout + done.stderr

    budget = (
        "gate: {max_pairs: 2, bursts: 4, artifact_bytes: {max: 1000}, latency_p99_ms: {max: 9}}"
    )
    (deploymark.folder / "held.yaml").write_text(
        (IDLE % "").replace("gate: {max_pairs: 2, bursts: 4}", budget)
    )
    done = deploymark(
        "gate", "--baseline", "good.yaml", "--candidate", "held.yaml", env=with_plugins()
    )
    assert done.returncode == 1, done.stdout + done.stderr
    (cell,) = read(folder)["cells"]
    budgets = {item["figure"]: item for item in cell["checks"] if item["kind"] == "budget"}
    assert budgets["artifact_bytes"]["verdict"] == "regressed"
    # 2 pairs of 4 bursts are no tail: not met in silence
    assert budgets["latency_p99_ms"]["verdict"] == "inconclusive"
    assert budgets["latency_p99_ms"]["reason"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--baseline", "nothing", "--candidate", "default"), "no such run directory"),
        (("--baseline", "model.onnx", "--candidate", "default"), "--data"),
        (("--baseline", "default"), "Missing option"),
    ],
)
def test_bad_input_leaves_nothing(
    deploymark: CommandLine, arguments: tuple[str, ...], message: str
) -> None:
    (deploymark.folder / "model.onnx").write_bytes(b"no model")
    done = deploymark("gate", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert not list(deploymark.folder.glob("results/*"))

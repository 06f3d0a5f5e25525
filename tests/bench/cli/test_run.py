"""Whole runs of small matrices of the embedded detector, through pytest-benchmark."""

from __future__ import annotations

import json
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest

if TYPE_CHECKING:
    from conftest import CommandLine

pytestmark = [pytest.mark.heavy, pytest.mark.real]

pytest.importorskip("ultralytics")
pytest.importorskip("onnxruntime")

HEAD = """
models:
  - {path: builtin:digits, data: builtin:digits}
imgsz: [160]
scoring: {max_images: 24}
calibration: {images: 8}
measure:
  {launches: 2, target_interval: null, warmup_max_s: 0.3, latency_s: 0.1,
   min_iterations: 5, max_iterations: 50, e2e_iterations: 3}
validity: {enabled: false}  # the machine of a test is as busy as it is
"""

SMALL = (
    HEAD
    + """
backends:
  - {name: onnxruntime, precisions: [fp32, int8]}
  - {name: torch, precisions: [fp32, int8]}
variants:
  - dense
  - {name: l1_50, steps: [{kind: l1, amount: 0.5}]}
exclude:
  - {variant: l1_50, backend: torch, reason: enough for a test}
"""
)

FILES = {
    "run.json",
    "cells.json",
    "samples.parquet",
    "launches.jsonl",
    "benchmark.json",
    "report.html",
    "summary.md",
    "answer.json",
    "fidelity.json",
    "logs",
}

POISON = "raise RuntimeError('this package was not to be imported')\n"


def cells_of(run: Path) -> dict[str, dict[str, Any]]:
    return {cell["cell"]: cell for cell in json.loads((run / "cells.json").read_text())}


def launches_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "launches.jsonl").read_text().splitlines()]


def test_a_matrix_from_file_to_report(
    deploymark: CommandLine, shared_cache: Path, tmp_path: Path
) -> None:
    (deploymark.folder / "small.yaml").write_text(SMALL)
    done = deploymark("run", "small.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    run = deploymark.latest.resolve()
    assert {path.name for path in run.iterdir()} >= FILES
    answer = json.loads((run / "answer.json").read_text())
    assert answer["question"]["where"] == ["map50_95 >= fp32 - 0.01"]
    first = {"best": "Ship ", "tie": "Ship ", "undecided": "Undecided: "}[answer["outcome"]]
    assert f"\n{first}" in done.stdout
    assert first in (run / "summary.md").read_text().splitlines()[2]
    info = json.loads((run / "run.json").read_text())
    assert info["exit_status"] == 0
    # another test may have left one in the store that they share
    assert info["artifacts_built"] + info["artifacts_reused"] == 5
    assert [item["reason"] for item in info["left_out"]] == ["enough for a test"] * 2
    assert info["datasets"][0]["calibration_source"] == "train"

    cells = cells_of(run)
    assert {name: cell["status"] for name, cell in cells.items()} == {
        "digits-dense-fp32-onnxruntime-cpu-160": "ok",
        "digits-dense-int8-onnxruntime-cpu-160": "ok",
        "digits-l1_50-fp32-onnxruntime-cpu-160": "ok",
        "digits-l1_50-int8-onnxruntime-cpu-160": "ok",
        "digits-dense-fp32-torch-cpu-160": "ok",
        "digits-dense-int8-torch-cpu-160": "unsupported",
    }
    ort, eager = (
        cells["digits-dense-fp32-onnxruntime-cpu-160"],
        cells["digits-dense-fp32-torch-cpu-160"],
    )
    assert ort["map_images"] == 24
    assert ort["map50_95"] > 0.05
    assert ort["map50_95"] == pytest.approx(eager["map50_95"], abs=0.002)
    pruned = cells["digits-l1_50-fp32-onnxruntime-cpu-160"]
    assert pruned["nonzero_fraction"] == pytest.approx(0.5, abs=0.03)
    assert pruned["artifact_gzip_bytes"] < ort["artifact_gzip_bytes"]
    int8 = cells["digits-dense-int8-onnxruntime-cpu-160"]
    assert int8["artifact_bytes"] < ort["artifact_bytes"] / 2
    assert (int8["agreement_reference"], ort["agreement_reference"]) == (ort["cell"], eager["cell"])
    assert ort["agreement"] > 0.99
    assert 0.5 < int8["agreement"] <= ort["agreement"]
    assert pruned["agreement"] < int8["agreement"]
    for cell in cells.values():
        assert cell["energy_j_per_image"] is None
        if cell["status"] == "ok":
            assert cell["launches"] == 2
            assert cell["latency_ci_low_ms"] <= cell["latency_p50_ms"] <= cell["latency_ci_high_ms"]
            assert cell["e2e_p50_ms"] > 0
            assert cell["executed_precision"]
            assert cell["energy_reason"]

    _replayed_equals_measured(run)
    _nothing_is_built_twice_and_no_worker_imports_torch(deploymark, tmp_path)


def _replayed_equals_measured(run: Path) -> None:
    table = pq.read_table(run / "samples.parquet").to_pylist()
    exported = json.loads((run / "benchmark.json").read_text())["benchmarks"]
    assert len(exported) == 5
    for benchmark in exported:
        extra = benchmark["extra_info"]
        measured = [row["nanoseconds"] / 1e9 for row in table if row["cell"] == extra["cell"]]
        assert benchmark["stats"]["data"] == measured
        assert extra["map50_95"] is not None


def _nothing_is_built_twice_and_no_worker_imports_torch(
    deploymark: CommandLine, tmp_path: Path
) -> None:
    for package in ("torch", "ultralytics"):
        (tmp_path / "poison" / package).mkdir(parents=True)
        (tmp_path / "poison" / package / "__init__.py").write_text(POISON)
    env = {"PYTHONPATH": str(tmp_path / "poison")}
    done = deploymark(
        "run", "small.yaml", "-k", "onnxruntime", "--pytest", "--junitxml=j.xml", env=env
    )
    assert done.returncode == 0, done.stdout + done.stderr
    info = json.loads((deploymark.latest / "run.json").read_text())
    assert (info["artifacts_built"], info["artifacts_reused"]) == (0, 4)
    assert (deploymark.folder / "j.xml").exists()
    (tmp_path / "poison" / "onnxruntime").mkdir()
    (tmp_path / "poison" / "onnxruntime" / "__init__.py").write_text(POISON)
    done = deploymark("run", "small.yaml", "-k", "onnxruntime and fp32 and dense", env=env)
    assert done.returncode == 1, "the poison works"
    (cell,) = cells_of(deploymark.latest).values()
    assert cell["status"] == "load_failed"


FEW = HEAD.replace("max_images: 24", "max_images: 2")
"""For a backend that finds nothing: on more images than these that would be nonsense."""

FAILURES = {
    ("export", "abort"): "crashed",
    ("export", "hang"): "timeout",
    ("export", "memory"): "out_of_memory",
    ("export", "raise"): "export_failed",
    ("load", "abort"): "crashed",
    ("load", "hang"): "timeout",
    ("load", "memory"): "out_of_memory",
    ("load", "raise"): "load_failed",
    ("infer", "abort"): "crashed",
    ("infer", "hang"): "timeout",
    ("infer", "memory"): "out_of_memory",
    ("infer", "raise"): "crashed",
}


def _failing_matrix() -> str:
    overrides = []
    for place, (where, how) in enumerate(FAILURES):
        key = "options" if where == "export" else "runtime_options"
        limits = {"memory_mb": 3000}
        if how == "hang":
            limits |= {"build_timeout_s": 40} if where == "export" else {"launch_timeout_s": 8}
        settings = {key: {"where": where, "how": how}, "limits": limits}
        overrides.append(
            {"when": {"backend": "misbehaving", "threads": place + 1}, "set": settings}
        )
    backends = ["onnxruntime", "misbehaving"]
    threads = list(range(1, len(FAILURES) + 2))
    exclude = [{"backend": "onnxruntime", "threads": threads[1:], "reason": "one is enough"}]
    axes = {"backends": backends, "threads": threads, "exclude": exclude, "overrides": overrides}
    return FEW + "\n".join(f"{key}: {json.dumps(value)}" for key, value in axes.items()) + "\n"


def test_every_failure_has_its_type_and_stops_no_other_cell(
    deploymark: CommandLine, shared_cache: Path
) -> None:
    (deploymark.folder / "failing.yaml").write_text(_failing_matrix())
    plugins = Path(__file__).resolve().parents[2] / "plugins"
    done = deploymark("run", "failing.yaml", env={"PYTHONPATH": str(plugins)})
    assert done.returncode == 1, done.stdout + done.stderr
    cells = cells_of(deploymark.latest)
    found = {
        key: cells[f"digits-dense-fp32-misbehaving-cpu-160-t{place + 1}"]["status"]
        for place, key in enumerate(FAILURES)
    }
    assert found == FAILURES
    assert cells["digits-dense-fp32-onnxruntime-cpu-160-t1"]["status"] == "ok"
    # one that fails at nothing finds nothing where another finds something: that is no figure
    quiet = cells[f"digits-dense-fp32-misbehaving-cpu-160-t{len(FAILURES) + 1}"]
    assert (quiet["status"], quiet["map50_95"]) == ("invalid", None)
    assert "digits-dense-fp32-onnxruntime-cpu-160-t1" in quiet["reason"]
    assert quiet["latency_p50_ms"] > 0
    assert all(cell["reason"] for cell in cells.values() if cell["status"] != "ok")
    summary = (deploymark.latest / "summary.md").read_text()
    assert "out_of_memory" in summary


def test_what_runs_elsewhere_is_built_and_told_not_measured(
    deploymark: CommandLine, shared_cache: Path
) -> None:
    backend = json.dumps({"name": "misbehaving", "devices": ["cpu", "moon"]})
    (deploymark.folder / "m.yaml").write_text(FEW + f"backends: [{backend}]\n")
    plugins = Path(__file__).resolve().parents[2] / "plugins"
    done = deploymark("run", "m.yaml", env={"PYTHONPATH": str(plugins)})
    assert done.returncode == 0, done.stdout + done.stderr
    cell = cells_of(deploymark.latest)["digits-dense-fp32-misbehaving-moon-160"]
    assert (cell["status"], cell["reason"]) == ("unavailable", "this is the earth")
    assert cell["remedy"] == "Fly."
    assert cell["artifact_bytes"] == 1024
    assert cell["launches"] == 0
    assert cell["latency_p50_ms"] is None
    assert {record["cell"] for record in launches_of(deploymark.latest)} == {
        "digits-dense-fp32-misbehaving-cpu-160"
    }


def test_a_killed_run_goes_on_where_it_stopped(deploymark: CommandLine, shared_cache: Path) -> None:
    matrix = HEAD.replace("launches: 2", "launches: 6") + "backends: [onnxruntime]\n"
    matrix += "variants:\n  - dense\n  - {name: l1_50, steps: [{kind: l1, amount: 0.5}]}\n"
    (deploymark.folder / "m.yaml").write_text(matrix)
    process = subprocess.Popen(
        deploymark.command("run", "m.yaml"),
        cwd=deploymark.folder,
        env=deploymark.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    results = deploymark.latest.parent
    deadline = time.monotonic() + 300
    while not any(file.read_text().count("\n") >= 3 for file in results.glob("2*/launches.jsonl")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not deploymark.latest.is_symlink()
    (run,) = results.glob("2*")
    before = launches_of(run)
    assert json.loads((run / "run.json").read_text())["exit_status"] is None
    with (run / "launches.jsonl").open("a") as stream:
        stream.write('{"cell": "digits-den')  # as a kill in the middle of a write leaves it
    done = deploymark("run", "--resume", str(run))
    assert done.returncode == 0, done.stdout + done.stderr
    assert deploymark.latest.resolve() == run
    after = launches_of(run)
    assert after[: len(before)] == before
    pairs = [(record["cell"], record["launch"]) for record in after]
    assert len(pairs) == len(set(pairs)) == 12
    assert {cell["launches"] for cell in cells_of(run).values()} == {6}
    info = json.loads((run / "run.json").read_text())
    assert info["exit_status"] == 0
    assert [path.name for path in run.parent.iterdir() if not path.is_symlink()] == [run.name]


@pytest.fixture
def _beside_a_load() -> Iterator[None]:
    """A process that loads one processor, as long as the test runs."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        try:
            yield
        finally:
            process.kill()


def _always_disturbed(precisions: str) -> str:
    """A matrix whose launches are disturbed by any load: it lasts longer than ticks round off."""
    head, _, _ = HEAD.replace("latency_s: 0.1", "latency_s: 0.3").partition("validity:")
    head += "validity: {repeats: 1, max_foreign_load_cores: 0, max_run_queue_wait_share: 0}\n"
    return f"{head}backends: [{{name: onnxruntime, precisions: {precisions}}}]\n"


@pytest.mark.usefixtures("_beside_a_load")
def test_a_cell_that_stays_disturbed_is_marked_and_its_figures_count(
    deploymark: CommandLine, shared_cache: Path
) -> None:
    (deploymark.folder / "m.yaml").write_text(_always_disturbed("[fp32, int8]"))
    done = deploymark("run", "m.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    cells = cells_of(deploymark.latest)
    assert len(cells) == 2
    for cell in cells.values():
        assert (cell["status"], cell["disturbed"]) == ("ok", True)
        assert cell["reason"].startswith("2 of 2 launches were disturbed: ")
        assert cell["remedy"]
        assert (cell["launches"], cell["disturbed_launches"]) == (2, 4)
        medians = [
            statistics.median(record["latency_ns"]) / 1e6
            for record in launches_of(deploymark.latest)
            if record["cell"] == cell["cell"]
        ]
        assert cell["latency_ci_low_ms"] <= min(medians)
        assert cell["latency_ci_high_ms"] >= max(medians)
    int8 = cells["digits-dense-int8-onnxruntime-cpu-160"]
    assert int8["agreement"] > 0.5
    exported = json.loads((deploymark.latest / "benchmark.json").read_text())["benchmarks"]
    samples = pq.read_table(deploymark.latest / "samples.parquet").to_pylist()
    for benchmark in exported:
        measured = [
            row["nanoseconds"] / 1e9
            for row in samples
            if row["cell"] == benchmark["extra_info"]["cell"]
        ]
        assert benchmark["stats"]["data"] == measured
    assert len(exported) == 2
    assert done.stderr.count("restless machine: ") == 1
    assert done.stdout.count("2 of 2 cells are marked disturbed: ") == 1
    assert "2 of 2 cells are marked disturbed: " in (deploymark.latest / "summary.md").read_text()
    records = launches_of(deploymark.latest)
    resumed = deploymark("run", "--resume", str(deploymark.latest.resolve()))
    assert resumed.returncode == 0
    assert launches_of(deploymark.latest) == records


@pytest.mark.usefixtures("_beside_a_load")
def test_under_strict_a_cell_that_stays_disturbed_is_invalid_and_keeps_its_figures(
    deploymark: CommandLine, shared_cache: Path
) -> None:
    (deploymark.folder / "m.yaml").write_text(_always_disturbed("[fp32]"))
    done = deploymark("run", "m.yaml", "--strict")
    assert done.returncode == 1, done.stdout + done.stderr
    (cell,) = cells_of(deploymark.latest).values()
    assert cell["status"] == "invalid"
    assert cell["reason"].startswith("launch 1 was disturbed in each of 2 attempts: ")
    assert cell["remedy"]
    assert (cell["disturbed_launches"], cell["launches"]) == (2, 1)
    assert cell["latency_p50_ms"] > 0
    assert cell["map50_95"] > 0.05, "boxes are none the worse"
    records = launches_of(deploymark.latest)
    assert [(record["launch"], record["attempt"]) for record in records] == [(0, 0), (0, 1)]
    assert all(record["disturbed"] and record["conditions"] for record in records)
    assert records[1]["predictions"] is None, "what was scored is not scored again"
    resumed = deploymark("run", "--resume", str(deploymark.latest.resolve()))
    assert resumed.returncode == 1
    assert launches_of(deploymark.latest) == records


def test_a_run_under_plain_pytest_with_an_interpreter_of_its_own(
    deploymark: CommandLine, shared_cache: Path
) -> None:
    backend = json.dumps({"name": "onnxruntime", "python": sys.executable})
    (deploymark.folder / "m.yaml").write_text(FEW + f"backends: [{backend}]\n")
    command = deploymark.command()
    command[2:] = ["pytest", "--pyargs", "deploymark.bench", "--deploymark-matrix", "m.yaml", "-q"]
    done = subprocess.run(
        command,
        cwd=deploymark.folder,
        env=deploymark.environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
    assert (deploymark.latest / "benchmark.json").stat().st_size > 0
    assert (deploymark.latest / "report.html").exists()

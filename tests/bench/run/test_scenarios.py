"""The real LoadGen in real workers, on a graph of ONNX Runtime that takes no time."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from deploymark.backends.inputs import Size
from deploymark.bench.build.artifacts import Built
from deploymark.bench.matrix.cells import Cell
from deploymark.bench.matrix.request import RunRequest, resolve_matrix
from deploymark.bench.matrix.scenario_settings import Offline, Scenario, Server, SingleStream
from deploymark.bench.matrix.schema import Matrix
from deploymark.bench.matrix.sections import Measure
from deploymark.bench.progress import Progress
from deploymark.bench.records.outcomes import Outcome, Status
from deploymark.bench.records.run import CellResult
from deploymark.bench.records.scenarios import ScenarioResult, read_scenarios
from deploymark.bench.run.listing import required_extras
from deploymark.bench.run.plan import Plan, PlannedCell
from deploymark.bench.run.runner import exit_status
from deploymark.bench.run.scenarios import run_scenarios
from deploymark.bench.store import StoredArtifact

pytestmark = pytest.mark.heavy

pytest.importorskip("mlperf_loadgen")
pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")

SIZE = 160
SHORT: dict[str, Any] = {"min_duration_s": 0.1, "min_queries": 100}
SINGLE = SingleStream(kind="single-stream", **SHORT)
SERVER = Server(kind="server", target_qps=1000, target_percentile=90, **SHORT)
OFFLINE = Offline(kind="offline", streams=(2,), **SHORT)


def graph(folder: Path, batch: int) -> StoredArtifact:
    """The maximum of each channel and row: (batch, 3, imgsz)."""
    info = onnx.helper.make_tensor_value_info
    node = onnx.helper.make_node("ReduceMax", ["images", "axes"], ["output0"], keepdims=0)
    made = onnx.helper.make_graph(
        [node],
        "max",
        [info("images", onnx.TensorProto.FLOAT, (batch, 3, SIZE, SIZE))],
        [info("output0", onnx.TensorProto.FLOAT, (batch, 3, SIZE))],
        [onnx.numpy_helper.from_array(np.array([3]), "axes")],
    )
    opset = [onnx.helper.make_opsetid("", 18)]
    model = onnx.helper.make_model(made, opset_imports=opset, ir_version=9)
    onnx.save(model, folder / "model.onnx")
    return StoredArtifact(folder, "model.onnx", "0", 0, 0, {}, {}, {}, 0.0)


class Run:
    """The least of a run that the scenarios of one cell need."""

    def __init__(self, folder: Path, *scenarios: Scenario, batch: int = 1) -> None:
        (folder / "artifact").mkdir()
        np.save(folder / "images.npy", np.zeros((16, SIZE, SIZE, 3), np.uint8))
        axes = ("m", "dense", "fp32", "onnxruntime", "cpu", Size.of(SIZE), batch, 1)
        cell = Cell(*axes, measure=Measure(warmup_max_s=0.1), scenarios=scenarios)
        self.folder = folder
        self.planned = PlannedCell(cell, threads=1)
        self.artifact = graph(folder / "artifact", batch)

    def __call__(self) -> list[ScenarioResult]:
        matrix = Matrix.model_validate(
            {
                "seed": 7,
                "models": [{"path": "builtin:digits", "data": "builtin:digits"}],
                "backends": ["onnxruntime"],
            }
        )
        images = SimpleNamespace(path=self.folder / "images.npy")
        models: Any = {"m": SimpleNamespace(scored={Size.of(SIZE): images})}
        plan = Plan(matrix, "m.yaml", "", (self.planned,), models, (), {})
        built = {self.planned.id: Built(Outcome("ok"), self.artifact)}
        with Progress() as progress:
            return run_scenarios(plan, [self.planned], built, self.folder, progress)

    def logs(self, result: ScenarioResult) -> Path:
        assert result.logs is not None
        return self.folder / result.logs

    def lines(self) -> list[dict[str, Any]]:
        text = (self.folder / "scenarios.jsonl").read_text()
        return [json.loads(line) for line in text.splitlines()]


def test_scenarios_from_the_option_to_the_file(tmp_path: Path) -> None:
    run = Run(tmp_path, SINGLE, OFFLINE)
    single, offline = run()
    assert (single.status, single.valid, single.invalid_reason) == ("ok", True, None)
    assert single.samples_per_second is not None
    assert single.latency_p50_ms is not None
    assert 0 < single.latency_p50_ms <= 1e3 / single.samples_per_second * 2
    assert (single.queries or 0) >= 100
    assert single.logs == f"logs/{single.cell}/loadgen-single-stream-1"
    summary = (run.logs(single) / "mlperf_log_summary.txt").read_text()
    assert "Scenario : SingleStream" in summary
    assert "qsl_rng_seed : 7" in summary
    assert "schedule_rng_seed : 7" in summary

    assert (offline.name, offline.streams, offline.status) == ("offline", 2, "ok")
    assert (offline.latency_p50_ms, offline.queries) == (None, 1)
    assert (offline.samples or 0) >= 100
    assert (offline.peak_rss_bytes or 0) > 0
    assert read_scenarios(tmp_path) == [single, offline]

    # What is done is not done again: its line is not written twice.
    assert run() == [single, offline]
    assert len(run.lines()) == 2


def test_a_server_that_fills_batches(tmp_path: Path) -> None:
    (server,) = Run(tmp_path, SERVER, batch=4)()
    assert (server.status, server.batch, server.target_qps) == ("ok", 4, 1000)
    assert server.latency_target_met
    assert server.over_latency_queries == 0


def test_without_loadgen_it_is_unavailable_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison = tmp_path / "poison"
    poison.mkdir()
    (poison / "mlperf_loadgen.py").write_text("raise ImportError('not here')\n")
    run = Run(tmp_path, SINGLE)
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", str(poison))
        (missing,) = run()
    assert missing.status == "unavailable"
    assert missing.remedy == "pip install 'mlcommons-loadgen>=5'"
    assert missing.valid is None
    assert [result.status for result in run()] == ["ok"]


def test_a_single_stream_takes_one_image(tmp_path: Path) -> None:
    (result,) = Run(tmp_path, SINGLE, batch=4)()
    assert result.status == "unsupported"
    assert result.logs is None


def test_a_cell_whose_launch_failed_has_no_scenario(tmp_path: Path) -> None:
    run = Run(tmp_path, SINGLE)
    line = json.dumps({"cell": run.planned.id, "launch": 0, "status": "crashed"})
    (tmp_path / "launches.jsonl").write_text(line + "\n")
    assert run() == []
    assert not (tmp_path / "scenarios.json").exists()


def test_a_crash_is_one_outcome(tmp_path: Path) -> None:
    run = Run(tmp_path, SINGLE)
    run.artifact = dataclasses.replace(run.artifact, entry="gone.onnx")
    (result,) = run()
    assert result.status == "load_failed"
    assert result.reason


@pytest.mark.parametrize(("status", "code"), [("ok", 0), ("unavailable", 0), ("crashed", 1)])
def test_a_scenario_that_failed_fails_the_run(status: Status, code: int) -> None:
    scenario = ScenarioResult("m", "offline", "offline", 1, status)
    assert exit_status([CellResult("m", "ok"), scenario]) == code


def test_a_matrix_with_a_scenario_requires_loadgen(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(
        "models: [{path: builtin:digits, data: builtin:digits}]\n"
        "backends: [onnxruntime]\nthreads: [1, 2]\n"
        "overrides: [{when: {threads: 2}, set: {scenario: offline}}]\n"
    )
    without, with_it = (
        resolve_matrix(RunRequest(matrix=str(tmp_path / "m.yaml"), select=name))
        for name in ("t1", "t2")
    )
    assert required_extras(without) == ["onnxruntime"]
    assert required_extras(with_it) == ["onnxruntime", "loadgen"]

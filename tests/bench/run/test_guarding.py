"""Whole runs of files that give nonsense: what became of their cells, and of the answer."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from deploymark.bench.records.run import CellResult
from deploymark.bench.run.guarding import facts_of, mark
from deploymark.bench.score.findings import Finding

if TYPE_CHECKING:
    from conftest import CommandLine

SIZE = 160
CHANNELS = 14

Edit = Callable[[Any], None]


def finding(guard: str = "g", *, hard: bool = True, cuts: bool = False) -> Finding:
    return Finding(guard, f"{guard} seen", "a cause", f"Mend {guard}.", hard=hard, cuts=cuts)


def measured(**more: Any) -> CellResult:
    return CellResult(cell="c", status="ok", map50_95=0.4, map50=0.6, latency_p50_ms=3.0, **more)


def test_what_is_hard_makes_a_cell_invalid_and_leaves_its_latency() -> None:
    cell = measured(reason="1 of 2 launches were disturbed", disturbed=True)
    mark(cell, [finding("one"), finding("two"), finding("three", hard=False)])
    assert (cell.status, cell.map50_95, cell.map50) == ("invalid", None, None)
    assert cell.latency_p50_ms == 3.0
    assert cell.reason == "one seen: a cause; two seen: a cause"
    assert cell.remedy == "Mend one. Mend two."
    assert "three seen: a cause. Mend three." in cell.warnings
    assert "1 of 2 launches were disturbed" in cell.warnings


def test_a_cell_that_failed_before_keeps_its_status() -> None:
    cell = measured()
    cell.status, cell.reason = "crashed", "inference failed"
    mark(cell, [finding()])
    assert (cell.status, cell.reason, cell.map50_95) == ("crashed", "inference failed", None)
    assert cell.warnings == ["g seen: a cause"]


def test_what_cuts_is_a_doubt_and_keeps_its_figure() -> None:
    cell = measured()
    mark(cell, [finding("floor", hard=False, cuts=True)])
    assert (cell.status, cell.map50_95) == ("ok", 0.4)
    assert cell.accuracy_doubt == "floor seen: a cause"


def test_facts_are_those_of_the_last_launch_that_made_boxes() -> None:
    one, other = {"images": 2, "later": 1}, {"images": 3}
    records = [
        {"status": "ok", "outputs": one},
        {"status": "ok", "outputs": other},
        {"status": "ok", "outputs": None},
        {"status": "crashed"},
    ]
    facts = facts_of(records)
    assert facts is not None
    assert facts.images == 3
    assert facts_of([{"status": "ok"}]) is None  # of a version before guards


def changed(source: Path, target: Path, *edits: Edit) -> None:
    """A copy of an ONNX file with nodes before its input or behind its output."""
    import onnx

    model = onnx.load(str(source))
    for edit in edits:
        edit(model)
    onnx.checker.check_model(model)
    onnx.save(model, str(target))


def behind(operator: str, values: np.ndarray, *, comparison: float | None = None) -> Edit:
    """Combine the output with values; only where it is above ``comparison``, where given."""

    def edit(model: Any) -> None:
        from onnx import helper, numpy_helper

        graph = model.graph
        old, new = graph.output[0].name, "changed"
        constants = {"values": values.astype(np.float32)}
        nodes = [helper.make_node(operator, [old, "values"], [new])]
        if comparison is not None:
            constants["above"] = np.array(comparison, np.float32)
            nodes = [
                helper.make_node("Greater", [old, "above"], ["chosen"]),
                helper.make_node("Where", ["chosen", "values", old], [new]),
            ]
        graph.node.extend(nodes)
        graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in constants.items())
        graph.output[0].name = new

    return edit


def floored(floor: float) -> Edit:
    """Scores below a floor are 0."""

    def edit(model: Any) -> None:
        from onnx import helper, numpy_helper

        graph, low = model.graph, np.full((1, CHANNELS, 1), floor, np.float32)
        low[:, :4] = -1e9
        old = graph.output[0].name
        graph.initializer.append(numpy_helper.from_array(low, "floor"))
        graph.node.extend(
            [
                helper.make_node("Greater", [old, "floor"], ["kept"]),
                helper.make_node("Cast", ["kept"], ["factor"], to=1),
                helper.make_node("Mul", [old, "factor"], ["changed"]),
            ]
        )
        graph.output[0].name = "changed"

    return edit


def takes_bytes_as_floats(model: Any) -> None:
    """The input is 0 to 255."""
    from onnx import helper, numpy_helper

    graph = model.graph
    name = graph.input[0].name
    for node in graph.node:
        node.input[:] = ["scaled" if one == name else one for one in node.input]
    graph.initializer.append(numpy_helper.from_array(np.array(255, np.float32), "n255"))
    graph.node.insert(0, helper.make_node("Div", [name, "n255"], ["scaled"]))


def by_channel(boxes: float = 1.0, scores: float = 1.0) -> np.ndarray:
    values = np.full((1, CHANNELS, 1), scores, np.float32)
    values[:, :4] = boxes
    return values


FILES: Mapping[str, Edit] = {
    "good": behind("Mul", by_channel()),
    "nan": behind("", np.array(np.nan), comparison=0.5),
    "shares": behind("Mul", by_channel(boxes=1 / SIZE)),
    "bytes": takes_bytes_as_floats,
    "floor": floored(0.25),
    "halved": behind("Mul", by_channel(scores=0.5)),
}

MATRIX = """
models:
{models}
imgsz: [160]
backends: [onnxruntime]
scoring: {{max_images: 24}}
measure:
  {{launches: 1, target_interval: null, warmup_max_s: 0.2, latency_s: 0.05,
   min_iterations: 3, max_iterations: 20, e2e_iterations: 1}}
validity: {{enabled: false}}
"""


def exported(checkpoint: Path, size: int, folder: Path) -> Path:
    """A detector as ONNX."""
    from deploymark.backends.base import ExportRequest, Size
    from deploymark.backends.onnxruntime import OnnxRuntimeBackend
    from deploymark.bench.variants.checkpoint import describe, model_factory

    factory = model_factory(checkpoint, size)
    folder.mkdir()
    detector = describe(factory(), size)
    request = ExportRequest(factory, detector, "fp32", "cpu", Size.of(size), 1, folder)
    return OnnxRuntimeBackend().export(request).path


@pytest.fixture
def good_file(digits: Path, tmp_path: Path) -> Path:
    """The embedded detector as ONNX."""
    return exported(digits / "digits.pt", SIZE, tmp_path / "export")


@pytest.mark.heavy
@pytest.mark.real
def test_files_that_give_nonsense_are_told(deploymark: CommandLine, good_file: Path) -> None:
    for name, edit in FILES.items():
        changed(good_file, deploymark.folder / f"{name}.onnx", edit)
    models = [f"  - {{artifact: {name}.onnx, data: builtin:digits}}" for name in FILES]
    (deploymark.folder / "m.yaml").write_text(MATRIX.format(models="\n".join(models)))
    done = deploymark("run", "m.yaml")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    run = deploymark.latest.resolve()
    cells = {cell["model"]: cell for cell in json.loads((run / "cells.json").read_text())}

    good = cells["good"]
    doubts = [warning for warning in good["warnings"] if "steady" not in warning]
    assert (good["status"], doubts, good["accuracy_doubt"]) == ("ok", [], None)
    assert good["map50_95"] > 0.2
    for name, seen, remedy in (
        ("nan", "outputs are not finite on", "Export the model again"),
        ("shares", "boxes lie within 0..1 of a picture of 160 px", "boxes: normalised"),
        ("bytes", "0 to 255", "input: {range: [0, 255]}"),
    ):
        cell = cells[name]
        assert (cell["status"], cell["map50_95"]) == ("invalid", None), cell
        assert seen in cell["reason"]
        assert remedy in cell["remedy"]
        assert cell["latency_p50_ms"] > 0
    floor = cells["floor"]
    assert floor["status"] == "ok"
    assert 0 < floor["map50_95"] <= good["map50_95"]
    assert "nms=True" in floor["accuracy_doubt"]
    assert floor["accuracy_doubt"] in " ".join(floor["warnings"])
    assert abs(cells["halved"]["map50_95"] - good["map50_95"]) < 0.02
    assert "no score is above" in " ".join(cells["halved"]["warnings"])

    answer = json.loads((run / "answer.json").read_text())
    standings = {item["cell"].split("-")[0]: item["standing"] for item in answer["cells"]}
    assert {standings[name] for name in ("nan", "shares", "bytes")} == {"failed"}
    assert standings["floor"] == "not_measured"
    summary = (run / "summary.md").read_text()
    assert "**invalid**" in summary
    assert "not finite" in summary

    recorded = (run / "launches.jsonl").read_text().splitlines()
    outputs = {
        (line := json.loads(text))["cell"].split("-")[0]: line["outputs"] for text in recorded
    }
    assert outputs["good"]["images"] == 24
    assert outputs["nan"]["not_finite_images"] > 0
    (run / "cells.json").unlink()
    again = deploymark("run", "--resume", str(run))
    assert again.returncode == 1, again.stdout + again.stderr
    judged = {cell["model"]: cell for cell in json.loads((run / "cells.json").read_text())}
    assert judged == cells


CASES = {
    "nan_all": "outputs are not finite on 24 of 24 images",
    "nan_found": "outputs are not finite on 24 of 24 images",
    "inf_boxes": "outputs are not finite on 24 of 24 images",
    "takes_0_255": "which points to the input",
}


@pytest.mark.heavy
@pytest.mark.real
def test_files_of_a_coco_detector_that_went_wrong(
    deploymark: CommandLine, coco_mini: Path, cases: Path, tmp_path: Path
) -> None:
    good = exported(coco_mini / "yolo11n-coco.pt", 320, tmp_path / "export")
    made = deploymark.folder / "made"
    maker = [sys.executable, str(cases / "make_models.py"), str(good), str(made)]
    subprocess.run(maker, check=True, capture_output=True)
    data = json.dumps(str(coco_mini / "data.yaml"))
    models = [f"  - {{artifact: made/{name}.onnx, data: {data}}}" for name in CASES]
    matrix = MATRIX.format(models="\n".join(models)).replace("[160]", "[320]")
    (deploymark.folder / "m.yaml").write_text(matrix)
    done = deploymark("run", "m.yaml")
    assert done.returncode == 1, done.stdout + done.stderr
    cells = {
        item["model"]: item for item in json.loads((deploymark.latest / "cells.json").read_text())
    }
    assert {name: cells[name]["status"] for name in CASES} == dict.fromkeys(CASES, "invalid")
    for name, seen in CASES.items():
        assert seen in cells[name]["reason"]
        assert cells[name]["map50_95"] is None
    assert "input: {range: [0, 255]}" in cells["takes_0_255"]["remedy"]

"""Profiles of a real run: the layers add up, the slow case is explained, bad input is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploymark.bench.cli.main import app
from deploymark.bench.records.profiles import read_explanations, read_profiles

pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")

pytestmark = [pytest.mark.heavy, pytest.mark.real]

MATRIX = """
models: [{path: "builtin:digits", data: "builtin:digits"}]
backends: [onnxruntime, openvino]
precisions: [fp32, int8]
threads: [1]
imgsz: [320]
profile: true
calibration: {images: 8}
scoring: {max_images: 4, score: all}
validity: {repeats: 0}
energy: off
measure: {launches: 1, max_launches: 1, latency_s: 0.2, memory_launches: 0, e2e_iterations: 0}
include: [{backend: onnxruntime, precision: int8-dynamic, threads: 1}]
overrides:
  - {when: {precision: int8-dynamic}, set: {options: {weights: int8}}}
"""

DYNAMIC = "digits-dense-int8-dynamic-onnxruntime-cpu-320-t1"


def test_a_run_with_profiles(tmp_path: Path, shared_cache: Path) -> None:
    del shared_cache
    matrix = tmp_path / "m.yaml"
    matrix.write_text(MATRIX, encoding="utf-8")
    runner = CliRunner()
    assert runner.invoke(app, ["run", str(matrix), "--results", str(tmp_path)]).exit_code == 0
    run = (tmp_path / "latest").resolve()
    lines = read_profiles(run)
    assert len(lines) == 5
    for line in lines.values():
        # of each inference, layers and what lay between them: no time, and not the machine's mood
        assert line["accounted_share"] == pytest.approx(1.0, abs=0.15)
        assert line["inferences"] >= 20
    found = {item.cell: item for item in read_explanations(run)}
    assert all(item.overhead for item in found.values())
    assert "ConvInteger" in " ".join(found[DYNAMIC].sentences)
    assert 'id="slow"' in (run / "report.html").read_text(encoding="utf-8")

    before = (run / "profiles.jsonl").read_bytes()
    told = runner.invoke(app, ["explain", str(run), DYNAMIC])
    assert told.exit_code == 0
    assert "ConvInteger" in told.stdout
    assert (run / "profiles.jsonl").read_bytes() == before
    wrong = runner.invoke(app, ["explain", str(run), DYNAMIC.replace("dynamic", "dynamik")])
    assert wrong.exit_code == 2
    assert "did you mean" in wrong.stderr
    assert runner.invoke(app, ["explain", str(tmp_path / "none"), DYNAMIC]).exit_code == 2

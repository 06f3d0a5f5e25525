"""``deploymark report`` over one run and over several."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from deploymark.bench.cli.main import app
from deploymark.bench.records.run import CellResult, RunInfo, write_cells, write_run_info


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["report", *map(str, arguments)])


def make(folder: Path, host: str, p50: float, **values: Any) -> Path:
    folder.mkdir(parents=True)
    machine = {"host": host, "cpu": f"{host}'s CPU"}
    info = RunInfo({}, "m.yaml", machine, {"onnxruntime": host}, 0, "2026-12-01T00:00:00+00:00")
    info.finished = "2026-12-01T00:01:00+00:00"
    cell = CellResult(
        "m-dense-fp32-torch-cpu-320",
        "ok",
        model="m",
        variant="dense",
        precision="fp32",
        backend="torch",
        device="cpu",
        imgsz=320,
        latency_p50_ms=p50,
        map50_95=0.5,
        **values,
    )
    write_run_info(folder, info)
    write_cells(folder, [cell])
    (folder / "launches.jsonl").write_text("", encoding="utf-8")
    return folder


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    monkeypatch.chdir(tmp_path)
    return [make(tmp_path / host, host, p50) for host, p50 in (("desk", 5.0), ("board", 50.0))]


def test_several_runs_make_one_page_and_stay_as_they_are(runs: list[Path], tmp_path: Path) -> None:
    before = {path: path.read_bytes() for run in runs for path in run.iterdir()}
    done = invoke(*runs)
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-1] == "report.html"
    assert done.stdout.startswith("desk: ")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "2 machines side by side" in page
    assert {path: path.read_bytes() for run in runs for path in run.iterdir()} == before
    assert invoke(*reversed(runs)).exit_code == 0  # a page of ours is replaced
    assert invoke(*runs, "-o", tmp_path / "devices.html").exit_code == 0
    assert (tmp_path / "devices.html").is_file()


def test_what_is_no_page_of_several_runs_stays(runs: list[Path], tmp_path: Path) -> None:
    other = tmp_path / "report.html"
    other.write_text("mine", encoding="utf-8")
    done = invoke(*runs)
    assert done.exit_code == 2
    assert "report.html is there, and is no page of several runs" in done.stderr
    assert other.read_text(encoding="utf-8") == "mine"
    # nor is a run's own report one
    (runs[0] / "report.html").write_text("<title>a report</title>", encoding="utf-8")
    assert invoke(*runs, "--output", runs[0] / "report.html").exit_code == 2
    assert "Is a directory" in invoke(*runs, "--output", tmp_path).stderr
    assert "cannot be written" in invoke(*runs, "-o", tmp_path / "no" / "a.html").stderr


def test_bad_folders_are_told_all_at_once(runs: list[Path], tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    done = invoke(runs[0], empty, tmp_path / "desk", runs[1] / ".." / "board", runs[1])
    assert done.exit_code == 2
    assert "empty is not a run directory" in done.stderr
    assert done.stderr.count("are the same run") == 2
    assert not (tmp_path / "report.html").exists()


def test_one_run_has_its_report_in_its_folder(runs: list[Path]) -> None:
    done = invoke(runs[0])
    assert done.exit_code == 0, done.output
    assert json.loads((runs[0] / "answer.json").read_text(encoding="utf-8"))["run"] == "desk"
    assert (runs[0] / "report.html").is_file()
    refused = invoke(runs[0], "-o", "x.html")
    assert refused.exit_code == 2
    assert "--output is for the page of several runs" in refused.stderr

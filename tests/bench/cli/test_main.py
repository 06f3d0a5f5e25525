from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploymark.bench.cli.main import app
from deploymark.bench.matrix.schema import read_matrix
from deploymark.bench.records.run import CellResult, RunInfo, write_cells, write_run_info

run = CliRunner()


@pytest.fixture(autouse=True)
def _wide_and_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)


def test_list_shows_every_cell_before_anything_runs(tmp_path: Path) -> None:
    done = run.invoke(app, ["list"])
    assert done.exit_code == 0, done.output
    for precision, backend in (("int8", "openvino"), ("fp16", "onnxruntime"), ("fp32", "torch")):
        assert f"digits-l1_50-{precision}-{backend}-cpu-320" in done.output
    assert list(tmp_path.iterdir()) == []


def test_list_takes_what_run_takes() -> None:
    done = run.invoke(
        app, ["list", "default", "--imgsz", "640", "-k", "fp32 and dense and openvino", "--strict"]
    )
    assert done.exit_code == 0, done.output
    assert "digits-dense-fp32-openvino-cpu-640" in done.output
    assert "torch" not in done.output


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("arguments", "extras"),
    [
        ([], "onnxruntime,openvino,torch"),
        (["-k", "openvino or torch"], "openvino,torch"),
        (["--backends", "onnxruntime"], "onnxruntime"),
    ],
)
def test_requires_is_one_line_of_extras(arguments: list[str], extras: str) -> None:
    done = run.invoke(app, ["list", *arguments, "--requires"])
    assert done.exit_code == 0, done.output
    assert done.stdout == extras + "\n"


@pytest.mark.heavy
def test_doctor_tells_of_the_machine_and_each_backend() -> None:
    done = run.invoke(app, ["doctor"])
    assert done.exit_code == 0, done.output
    for word in ("machine", "cache", "energy", "onnxruntime", "openvino", "torch"):
        assert word in done.output


def test_the_cache_can_be_seen_and_cleared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEPLOYMARK_CACHE", str(tmp_path / "store"))
    assert run.invoke(app, ["cache", "path"]).stdout == f"{tmp_path / 'store'}\n"
    assert "0.0 MB" in run.invoke(app, ["cache", "list"]).output
    assert "0 entries removed" in run.invoke(app, ["cache", "clear"]).output


@pytest.mark.heavy
def test_report_renders_a_run_anew(tmp_path: Path) -> None:
    info = RunInfo({}, "m.yaml", {"host": "h"}, {}, seed=0, started="2026-01-01T00:00:00Z")
    write_run_info(tmp_path, info)
    write_cells(tmp_path, [CellResult("a-cell", "crashed", "SIGSEGV")])
    done = run.invoke(app, ["report", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "a-cell" in (tmp_path / "report.html").read_text()
    assert "SIGSEGV" in (tmp_path / "summary.md").read_text()


def test_report_of_no_run_is_bad_input(tmp_path: Path) -> None:
    done = run.invoke(app, ["report", str(tmp_path)])
    assert done.exit_code == 2
    assert "is not a run directory" in done.stderr


@pytest.mark.parametrize("command", ["run", "list", "doctor", "report"])
def test_help_has_an_example(command: str) -> None:
    done = run.invoke(app, [command, "--help"])
    assert done.exit_code == 0
    assert f"deploymark {command}" in done.output.split("Example")[-1]


@pytest.mark.heavy
def test_the_plugin_sleeps_without_a_matrix(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_ok(): pass")
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=1)


@pytest.mark.heavy
def test_a_bad_matrix_is_a_usage_error_of_pytest(pytester: pytest.Pytester) -> None:
    pytester.makefile(".yaml", m="models: []\n")
    result = pytester.runpytest_subprocess(
        "--pyargs", "deploymark.bench", "--deploymark-matrix", "m.yaml"
    )
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*m.yaml:1:1: *"])


def test_shipped_matrices_name_the_schema_for_editors(digits: Path) -> None:
    folder = digits.parents[2] / "matrices"
    for path in folder.glob("*.yaml"):
        assert path.read_text().startswith("# yaml-language-server: $schema=matrix.schema.json\n")
        assert read_matrix(path)

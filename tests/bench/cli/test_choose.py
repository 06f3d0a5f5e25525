from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploymark.bench.cli.main import app
from deploymark.bench.records.answer import read_answer
from tests.bench.choose.conftest import fp32, row
from tests.run_series import MakeRun, run_maker


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    return run_maker(tmp_path / "results")


def command(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["choose", *arguments])
    return done.exit_code, done.output


def test_the_answer_comes_first_and_is_kept(make_run: MakeRun) -> None:
    folder = make_run(0, fp32(), row("int8", 5.0), row("lossy", 3.0, map50_95=0.35))
    code, output = command(str(folder))
    assert code == 0
    assert output.startswith("Ship int8: latency p50 5.00 ms [4.95, 5.05]")
    assert "4.00 [3.92, 4.08] times as fast" in output
    assert "Not considered" in output
    assert "lossy: map50_95 >= fp32 - 0.01 is not met" in output
    answer = read_answer(folder)
    assert answer is not None
    assert answer.winner == "int8"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--where", "artifact_bytes <= 1MB"], 1),
        (["--where", "latency_p50_ms <= 5"], 3),
        (["--where", "latency <= 5"], 2),
        (["--minimize", "speed"], 2),
        (["--minimize", "map50", "--maximize", "map50"], 2),
        (["--indifference", "little"], 2),
        (["--minimize", "artifact_bytes", "--then", "peak_rss_bytes"], 0),
        (["--indifference", "0.02"], 0),
    ],
)
def test_the_exit_code_tells_the_outcome(
    make_run: MakeRun, arguments: list[str], code: int
) -> None:
    folder = make_run(0, fp32(), row("int8", 5.0, artifact_bytes=2_000_000))
    assert command(str(folder), *arguments)[0] == code


def test_json_is_the_answer_and_nothing_else(make_run: MakeRun) -> None:
    folder = make_run(0, fp32(), row("int8", 5.0))
    code, output = command(str(folder), "--json")
    values = json.loads(output)
    assert (code, values["outcome"], values["winner"]) == (0, "best", "int8")
    assert values["cells"][0]["figures"]["latency_p50_ms"]["low"] == pytest.approx(4.95)


def test_there_is_nothing_to_copy_without_a_winner(make_run: MakeRun, tmp_path: Path) -> None:
    folder = make_run(0, row("a", 5.0))
    target = tmp_path / "ship"
    code, output = command(str(folder), "--where", "latency_p50_ms <= 1", "--copy", str(target))
    assert code == 1
    assert "no winner to copy" in output
    assert not target.exists()


def test_a_folder_that_is_no_run_is_told(tmp_path: Path) -> None:
    code, output = command(str(tmp_path))
    assert code == 2
    assert "not a run directory" in output

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploymark.bench.cli.main import app
from deploymark.bench.cli.shared import console
from deploymark.bench.records.trends import NOTHING_RECORDED
from tests.run_series import CELL, MakeRun, latencies, result


def command(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["history", *arguments])
    return done.exit_code, done.output


def test_the_command(
    results: Path, make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "width", 120)
    for day, latency in enumerate(latencies(24, 18)):
        make_run(day, result(latency_p50_ms=latency, map50_95=0.5 if day < 3 else 0.4))
    make_run(30, finished=None)
    file = tmp_path / "h.json"
    code, output = command(str(results), "--json", str(file))
    assert code == 0
    assert re.search(r"\+[56]\.\d %", output)
    for text in ("A CPU, 4 cores", CELL, "│", f"{18:08x}", NOTHING_RECORDED, "skipped"):
        assert text in output
    series = json.loads(file.read_text())["machines"][0]["series"]
    assert [len(item["points"]) for item in series] == [24]
    code, output = command(str(results), "--figure", "map50_95", "--last", "23")
    assert code == 0
    assert "0.500 → 0.400, no noise" in output


def test_the_command_takes_its_limits(results: Path, make_run: MakeRun) -> None:
    for day, latency in enumerate(latencies(24, 18)):
        make_run(day, result(latency_p50_ms=latency))
    assert "nothing that is recorded" not in command(str(results), "--min-change", "0.2")[1]
    assert "nothing that is recorded" in command(str(results), "--min-change", "0.02")[1]
    assert "nothing that is recorded" in command(str(results), "--significance", "0.001")[1]


@pytest.mark.parametrize(
    "arguments",
    [
        ["missing"],
        ["--figure", "latency"],
        ["--figure", ","],
        ["-k", "and"],
        ["--significance", "0"],
        ["--last", "1"],
        ["--machine", "abacus"],
    ],
)
def test_bad_input_exits_with_2(
    results: Path, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, arguments: Sequence[str]
) -> None:
    make_run(0)
    monkeypatch.chdir(results.parent)
    assert command(*arguments)[0] == 2


def test_a_file_that_cannot_be_written_exits_with_2(results: Path, make_run: MakeRun) -> None:
    make_run(0)
    code, output = command(str(results), "--json", str(results / "no" / "such" / "h.json"))
    assert code == 2
    assert "cannot be written" in output

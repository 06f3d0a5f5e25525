"""Runs collected into a data set, and read from it as from their folders."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pyarrow.dataset as ds
import pytest

from deploymark.bench.compare.compare import compare
from deploymark.bench.errors import BadInputError
from deploymark.bench.history.collected import collect, restore, run_folders, split_run
from deploymark.bench.history.dataset import MARK, is_dataset, runs_of
from deploymark.bench.history.history import Choice, history
from deploymark.bench.records.run import load_run
from tests.run_series import MACHINE, MakeRun, result, run_maker


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = tmp_path / "results"
    folder.mkdir()
    return folder


@pytest.fixture
def make(results: Path) -> MakeRun:
    return run_maker(results)


@pytest.fixture
def into(tmp_path: Path) -> str:
    return str(tmp_path / "fleet")


def test_a_run_comes_back_as_it_was(make: MakeRun, into: str, tmp_path: Path) -> None:
    cell = result(latency_p50_ms=3.25, notes=["kept in float"], warnings=["one", "two"])
    odd = result("odd", imgsz="384x640", height=384, width=640, map50_95=None)
    folder = make(1, cell, odd)
    line = {"cell": cell.cell, "launch": 0, "status": "ok", "latency_ns": [3_250_000] * 3}
    (folder / "launches.jsonl").write_text(json.dumps(line) + "\n")
    done = collect([folder], into)
    assert done.added == (folder.name,)
    assert is_dataset(into)
    back = load_run(restore(into, folder.name, tmp_path / "back"))
    there = load_run(folder)
    assert back.cells == there.cells
    assert dataclasses.asdict(back.info) == dataclasses.asdict(there.info)
    assert json.loads((back.folder / "launches.jsonl").read_text()) == line
    assert back.folder.name == folder.name


def test_what_is_there_is_not_added_again(make: MakeRun, results: Path, into: str) -> None:
    make(1, result())
    assert len(collect([results], into).added) == 1
    make(2, result())
    done = collect([results], into)
    assert (len(done.added), len(done.present)) == (1, 1)
    assert [run.started.day for run in runs_of(into)] == [2, 3]


def test_a_history_is_that_of_the_folder(make: MakeRun, results: Path, into: str) -> None:
    for day in range(16):
        values = {"latency_p50_ms": 10.0 + day % 3 / 100 + (day > 8)}
        make(day, result(**values, artifact_bytes=1000 + (day > 11) * 100), result("b"))
    make(20, result(), machine={**MACHINE, "cpu": "Another CPU"})
    collect([results], into)
    choice = Choice(("latency_p50_ms", "artifact_bytes"))
    assert history(into, choice).machines == history(results, choice).machines
    assert any(series.changes for series in history(into, choice).machines[-1].series)


def test_a_comparison_is_that_of_the_folders(make: MakeRun, into: str) -> None:
    folders = [make(1, result()), make(2, result(latency_p50_ms=12.0))]
    collect(folders, into)
    with run_folders([f"{into}/{folder.name}" for folder in folders]) as restored:
        found = compare(restored)
    assert found.cells == compare(folders).cells
    assert not restored[0].exists()


def test_others_read_it_as_it_is(make: MakeRun, results: Path, into: str) -> None:
    make(1, result())
    make(2, result(), machine={**MACHINE, "cpu": "Another CPU"})
    collect([results], into)
    table = ds.dataset(f"{into}/cells", partitioning="hive").to_table()
    assert table.num_rows == 2
    assert len(set(table.column("machine").to_pylist())) == 2
    assert table.column("latency_p50_ms").to_pylist() == [10.0, 10.0]


def test_what_cannot_be_read_is_left_out_and_told(make: MakeRun, results: Path, into: str) -> None:
    make(1, result())
    broken = make(2, result())
    (broken / "cells.json").write_text('[{"cell": "a", "status": "ok", "latency_p50_ms": "x"}]')
    unfinished = make(3, result(), finished=None)
    done = collect([results], into)
    assert len(done.added) == 1
    assert {Path(item.folder) for item in done.skipped} == {broken, unfinished}


def test_bad_input(make: MakeRun, tmp_path: Path, into: str) -> None:
    with pytest.raises(BadInputError, match="is no folder"):
        collect([tmp_path / "gone"], into)
    with pytest.raises(BadInputError, match="there is no run"):
        collect([tmp_path], into)
    folder = make(1, result())
    with pytest.raises(BadInputError, match="is there, and is no data set"):
        collect([folder], str(folder))
    with pytest.raises(BadInputError, match="no file system is known"):
        collect([folder], "gopher://somewhere/fleet")
    collect([folder], into)
    with pytest.raises(BadInputError, match="has no run '2020'"):
        restore(into, "2020", tmp_path / "back")
    (Path(into) / MARK).write_text('{"dataset_version": 9}')
    with pytest.raises(BadInputError, match="version 9"):
        is_dataset(into)


def test_a_run_of_a_data_set_has_a_path(make: MakeRun, into: str) -> None:
    folder = make(1, result())
    collect([folder], into)
    assert split_run(f"{into}/{folder.name}") == (into, folder.name)
    assert split_run(str(folder)) is None
    assert split_run("results/latest") is None


def test_the_command_line(make: MakeRun, results: Path, into: str) -> None:
    one, two = make(1, result()), make(2, result(latency_p50_ms=11.0))

    def said(*words: str) -> str:
        command = [sys.executable, "-m", "deploymark", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        return " ".join(done.stdout.split())

    assert "2 runs added, 0 were there already" in said("collect", str(results), "--into", into)
    assert "2 runs" in said("history", into)
    assert "1.10×" in said("compare", f"{into}/{one.name}", f"{into}/{two.name}")

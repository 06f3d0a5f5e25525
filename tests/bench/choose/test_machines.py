"""A fleet's run: each machine's part, and one format for all of them."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest

from deploymark.bench.choose.choose import answer, make_question
from deploymark.bench.choose.machines import MachinesTable, read_tables
from deploymark.bench.choose.table import RunTable
from deploymark.bench.cli.main import app
from deploymark.bench.errors import BadInputError
from deploymark.bench.history.past_runs import find_runs
from deploymark.bench.records.launches import append_launch
from deploymark.bench.records.machines import machine_of_part, parts, title
from deploymark.bench.records.run import load_run, write_cells, write_run_info
from tests.fuzz.targets import CELLS, launch_line, write_run

MS = {"desk": (10.0, 12.0), "jetson": (40.0, 20.0)}
"""The two cells on each machine: the first wins on one, the second on the other, and on both."""


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    """The newest of the runs that are written, made one of two machines."""
    folder = write_run(tmp_path / "results")
    run = load_run(folder)
    rows = []
    (folder / "launches.jsonl").unlink()
    with (folder / "launches.jsonl").open("a", encoding="utf-8") as stream:
        for machine, times in MS.items():
            for row, cell, ms in zip(run.cells, CELLS, times, strict=True):
                figures = {
                    "latency_p50_ms": ms,
                    "latency_ci_low_ms": 0.99 * ms,
                    "latency_ci_high_ms": 1.01 * ms,
                }
                rows.append(dataclasses.replace(row, machine=machine, **figures))
                for launch in range(2):
                    line = {**launch_line(cell, launch), "machine": machine}
                    append_launch(stream, {**line, "latency_ns": [int(ms * 1e6)] * 3})
    machines = {name: {**run.info.machine, "host": name} for name in MS}
    write_cells(folder, rows)
    write_run_info(folder, dataclasses.replace(run.info, machines=machines))
    return folder


def test_each_machine_has_a_part_that_is_a_run(fleet: Path) -> None:
    found = parts(fleet)
    assert [machine_of_part(part) for part in found] == ["desk", "jetson"]
    assert title(found[1]) == f"{fleet.name}.jetson"
    run = load_run(found[1])
    assert [row.latency_p50_ms for row in run.cells] == [40.0, 20.0]
    assert run.info.machine["host"] == "jetson"
    assert RunTable(run).values(CELLS[0], "latency_p50_ms") == {0: 40.0, 1: 40.0}
    with pytest.raises(BadInputError, match="several machines"):
        RunTable(load_run(fleet))


def test_parts_are_made_anew_when_the_cells_are_newer(fleet: Path) -> None:
    (part, _) = parts(fleet)
    (part / "left").touch()
    parts(fleet)
    assert (part / "left").exists()
    later = (part / "run.json").stat().st_mtime + 10
    os.utime(fleet / "cells.json", (later, later))
    parts(fleet)
    assert not (part / "left").exists()


@pytest.mark.parametrize("name", ["../out", "a/b", "", ".."])
def test_a_machine_whose_name_leaves_the_folder_is_refused(fleet: Path, name: str) -> None:
    parts(fleet)  # names are looked at whether or not there are parts
    info = load_run(fleet).info
    write_run_info(fleet, dataclasses.replace(info, machines={name: info.machine}))
    with pytest.raises(BadInputError, match="no machine's name"):
        parts(fleet)


def test_one_format_for_all_is_the_best_by_the_geometric_mean(fleet: Path) -> None:
    tables = read_tables(parts(fleet))
    table = MachinesTable(tables, fleet, load_run(fleet).info)
    one, other = (table.figure(cell, "latency_p50_ms").value for cell in CELLS)
    assert one == pytest.approx(20.0)
    assert other == pytest.approx(240.0**0.5)
    bounds = {"": CELLS[1], "desk": CELLS[0]}
    for machine, winner in bounds.items():
        asked = tables.get(machine, table)
        found = answer(asked, make_question(asked.run.cells, ["map50_95 >= 0.1"]))
        assert found.leader == winner
    # met on one machine is not met on all
    strict = answer(table, make_question(table.run.cells, ["latency_p50_ms <= 15"]))
    assert strict.outcome == "infeasible"
    assert "jetson" in strict.cells[0].constraints[0].told


def test_a_cell_that_failed_on_one_machine_is_out_for_all(fleet: Path) -> None:
    run = load_run(fleet)
    rows = [
        dataclasses.replace(row, status="crashed", reason="it died")
        if (row.machine, row.cell) == ("desk", CELLS[1])
        else row
        for row in run.cells
    ]
    write_cells(fleet, rows)
    table = MachinesTable(read_tables(parts(fleet)), fleet, run.info)
    assert table.cells[CELLS[1]].reason == "desk: it died"


def test_history_has_a_run_for_each_machine(fleet: Path) -> None:
    runs, skipped = find_runs(fleet.parent)
    assert skipped == []
    assert {run.name for run in runs} >= {f"{fleet.name}.desk", f"{fleet.name}.jetson"}


def test_the_command_line(fleet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bound = ["--where", "map50_95 >= 0.1", "--json"]
    with pytest.raises(SystemExit):
        app(["choose", str(fleet), *bound])
    each = json.loads(capsys.readouterr().out)
    assert {name: found["leader"] for name, found in each.items()} == {
        "desk": CELLS[0],
        "jetson": CELLS[1],
    }
    with pytest.raises(SystemExit):
        app(["choose", str(fleet), "--all-machines", *bound])
    assert json.loads(capsys.readouterr().out)["leader"] == CELLS[1]
    app(["compare", str(fleet)], standalone_mode=False)
    assert "jetson" in capsys.readouterr().out
    app(["report", str(fleet)], standalone_mode=False)
    assert "jetson" in (fleet / "report.html").read_text()
    assert (fleet / "machines" / "desk" / "report.html").is_file()

"""What fits decides: figures of the memory pass, and the smallest limit."""

from __future__ import annotations

import json

import pytest

from deploymark.bench.choose.choose import choose
from deploymark.bench.choose.table import RunTable
from deploymark.bench.records.run import load_run
from tests.bench.choose.conftest import AddLaunches, fp32, row
from tests.run_series import MakeRun


def test_a_cell_that_needs_more_than_there_is_loses(make_run: MakeRun) -> None:
    folder = make_run(
        0,
        fp32(min_memory_mb=300),
        row("fast", 5.0, min_memory_mb=257),
        row("small", 8.0, min_memory_mb=200),
        row("unknown", 4.0),
    )
    answer = choose(folder, ["min_memory_mb <= 256"])
    assert (answer.outcome, answer.winner) == ("best", "small")
    held = {name: answer.cell(name).constraints[0] for name in ("fast", "small", "unknown")}
    assert {name: item.state for name, item in held.items()} == {
        "fast": "not_met",
        "small": "met",
        "unknown": "not_met",
    }
    assert held["fast"].told == "257 MiB"
    assert "deploymark fit" in held["unknown"].told


def test_replicates_of_memory_are_those_of_its_pass(
    make_run: MakeRun, add_launches: AddLaunches
) -> None:
    folder = make_run(0, fp32(), row("a", 5.0, uss_bytes=100, peak_rss_bytes=200))
    add_launches(folder, {"a": [5.0, 5.0]})
    assert RunTable(load_run(folder)).values("a", "peak_rss_bytes") == {
        0: pytest.approx(1e8, rel=1e-6),
        1: pytest.approx(1e8, rel=1e-6),
    }
    lines = [
        {"cell": "a", "launch": 0, "status": "ok", "uss_bytes": 99, "peak_rss_bytes": 198},
        {"cell": "a", "launch": 1, "status": "ok", "uss_bytes": 101, "peak_rss_bytes": 202},
        {"cell": "a", "launch": 2, "status": "crashed", "reason": "x"},
    ]
    (folder / "memory.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    table = RunTable(load_run(folder))
    assert table.values("a", "uss_bytes") == {0: 99.0, 1: 101.0}
    assert table.values("a", "peak_rss_bytes") == {0: 198.0, 1: 202.0}

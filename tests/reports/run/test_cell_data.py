from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from typing import Any

import pytest

from deploymark.bench.matrix.selection import matches
from deploymark.bench.records.run import CellResult, Run, RunInfo
from deploymark.reports.run import cell_columns, cell_data, cell_launches, cell_names

MakeCell = Callable[..., CellResult]
MakeRun = Callable[..., Run]


def test_short_names_are_what_differs(make_cell: MakeCell) -> None:
    def cell(precision: str, backend: str, rest: str = "") -> CellResult:
        name = f"m-dense-{precision}-{backend}-cpu-320{rest}"
        return make_cell(name, precision=precision, backend=backend)

    cells = [cell("fp32", "torch"), cell("int8", "torch"), cell("int8", "ncnn", "-t2")]
    assert cell_names.short_names(cells) == ["fp32-torch", "int8-torch", "int8-ncnn-t2"]
    assert cell_names.short_names(cells[:1]) == [cells[0].cell]
    odd = [make_cell("one"), make_cell("two")]
    assert cell_names.short_names(odd) == ["one", "two"]


def test_a_command_selects_its_cell_alone(make_cell: MakeCell) -> None:
    ids = ["m-int8-ort", "m-int8-ort-t2", "m-int8-ort-t20", "x y", "and", "m-fp32-(a)", "M"]
    cells = [make_cell(name) for name in ids]
    info = RunInfo({}, "my matrix.yaml", {}, {}, 0, "", options=["--imgsz", "320"])
    commands = cell_names.rerun_commands(info, cells)
    for name in ids[:3]:
        words = shlex.split(commands[name])
        assert words[:6] == ["deploymark", "run", "my matrix.yaml", "--imgsz", "320", "-k"]
        assert [other for other in ids if matches(words[6], other)] == [name]
    # No expression names these, or the ids that they are part of.
    assert [commands[name] for name in ids[3:]] == ["", "", "", ""]


def test_shares_of_the_executed_precision() -> None:
    shares = cell_columns.precision_shares("QLinearConv:u8 ×84, Conv:f32 ×12, Cast:f16 ×4")
    assert shares == [("int8", 0.84), ("fp32", 0.12), ("fp16", 0.04)]
    assert cell_columns.precision_shares("Convolution:f32 88, Multiply:f32 77") == [("fp32", 1.0)]
    assert cell_columns.precision_shares("the provider ran all of it") == []


def field(cells: list[CellResult], number: int, key: str) -> Any:
    rows = cell_columns.field_rows(cells)
    place = next(n for n, column in enumerate(cell_columns.COLUMNS) if column.key == key)
    return rows[number][place]


def test_the_loss_is_told_against_fp32(make_cell: MakeCell, make_failed: MakeCell) -> None:
    cells = [
        make_cell("fp32", map50_95=0.4),
        make_cell("int8", precision="int8", map50_95=0.37),
        make_cell("other", model="n", precision="int8"),
        make_failed("gone"),
    ]
    assert field(cells, 0, "map50_95_loss").text == "reference"
    loss = field(cells, 1, "map50_95_loss")
    assert (loss.text, loss.title) == ("+0.030", "against fp32")
    assert loss.value == pytest.approx(0.03)
    assert "no FP32 cell" in field(cells, 2, "map50_95_loss").title
    assert field(cells, 3, "map50_95_loss").title.startswith("not measured: crashed")


def test_executed_in_short_and_warnings(make_cell: MakeCell) -> None:
    text = "A:u8 ×995, B:f32 ×5"
    cells = [make_cell(executed_precision=text, warnings=["a", "b"]), make_cell("b")]
    short = field(cells, 0, "executed_short")
    assert (short.text, short.title) == ("int8 >99 %, fp32 <1 %", f"of the layers: {text}")
    assert field(cells, 1, "executed_short").absent
    assert (field(cells, 0, "warnings").value, field(cells, 0, "warnings").title) == (2.0, "a\nb")


def test_the_columns_that_decide_are_shown(make_cell: MakeCell) -> None:
    cells = [make_cell("a"), make_cell("b", map50_95=None, map50=None, agreement=0.9)]
    shown = cell_columns.shown(cells, cell_columns.field_rows(cells))
    assert {key for key, seen in shown.items() if seen} == {
        "cell",
        "status",
        "latency_p50_ms",
        "latency_p95_ms",
        "map50_95",
        "map50_95_loss",
        "peak_rss_bytes",
        "artifact_bytes",
    }
    unlabelled = cells[1:]
    shown = cell_columns.shown(unlabelled, cell_columns.field_rows(unlabelled))
    assert (shown["map50_95"], shown["agreement"]) == (False, True)


LAUNCH = {
    "cell": "a",
    "launch": 0,
    "attempt": 0,
    "status": "ok",
    "started": "2026-12-01T04:13:00Z",
    "latency_ns": [1_000_000, 2_000_000, 3_000_000, 4_000_000, 5_000_000],
    "load_ms": 12.34567,
    "warmup": {"iterations": 15, "steady": False},
    "conditions": {"temperature_c": 61.5, "steal_share": None},
    "disturbed": ["steal"],
}


def test_launches_are_quantiles() -> None:
    failed = {"cell": "a", "launch": 1, "status": "crashed", "reason": "signal 11"}
    first, second = cell_launches.launches_by_cell([LAUNCH, failed])["a"]
    assert first[:6] == [0, 0, "ok", LAUNCH["started"], 5, [1, 1.2, 2, 3, 4, 4.8, 5]]
    assert first[6:14] == [12.35, None, 15, False, None, None, ["steal"], ""]
    assert dict(zip(cell_launches.condition_titles(), first[14], strict=True)) | {
        "temperature, °C": 61.5
    } == dict(zip(cell_launches.condition_titles(), first[14], strict=True))
    assert (second[4:6], second[13], second[14]) == ([0, []], "signal 11", [])
    (few, _) = cell_launches.launches_by_cell([LAUNCH, failed], few=True)["a"]
    assert (few[5], few[12], few[14]) == ([1.2, 2, 3, 4, 4.8], ["steal"], [])


def test_data_is_whole(make_run: MakeRun, make_cell: MakeCell, make_failed: MakeCell) -> None:
    run = make_run(make_cell("a"), make_failed("b"), make_cell("c", latency_p50_ms=2.0))
    data = cell_data.cell_data(run, cell_columns.field_rows(run.cells), [LAUNCH])
    json.dumps(data, allow_nan=False)
    column = next(column for column in data["columns"] if column["key"] == "latency_p50_ms")
    shown = [column["d"][number] for number in column["r"]]
    assert [entry[0] for entry in shown] == ["12.3", None, "2.00"]
    assert shown[0][1:3] == [12.345, "[12.1, 12.6]"]
    assert shown[1][3] == "not measured: crashed"
    reasons = data["texts"]["reason"]
    assert reasons["d"][reasons["r"][1]] == "the worker ended with signal 11"
    assert [len(launches) for launches in data["launches"]] == [1, 0, 0]


def test_each_column_is_described_once() -> None:
    keys = [column.key for column in cell_columns.COLUMNS]
    assert len(keys) == len(set(keys))
    assert {cell_columns.group(column) for column in cell_columns.COLUMNS} >= {"Latency", "Axes"}

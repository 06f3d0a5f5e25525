from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from deploymark.bench.records.answer import Answer, AnswerCell, Estimate, Question
from deploymark.bench.records.run import CellResult, Run
from deploymark.reports.several.chart import latency_rows, several_chart
from deploymark.reports.several.columns import RunColumn, side_by_side

MakeCell = Callable[..., CellResult]
MakeRun = Callable[..., Run]


def answer_of(winner: str | None, leader: str | None = None) -> Answer:
    figure = Estimate(12.0, 11.0, 13.0)
    named = [name for name in (winner, leader) if name]
    cells = [AnswerCell(name, "winner", "", figure, figure, [], {}) for name in named]
    question = Question([], "latency_p50_ms")
    outcome = "best" if winner else "undecided"
    return Answer("r", question, outcome, winner, winner or leader, [], "", cells, [])


@pytest.fixture
def columns(make_run: MakeRun, make_cell: MakeCell, make_failed: MakeCell) -> list[RunColumn]:
    desk = make_run(
        make_cell("a", latency_p50_ms=5.0, map50_95=0.4),
        make_cell("b", latency_p50_ms=4.0, map50_95=0.3, disturbed=True),
        make_cell("only-desk", latency_p50_ms=6.0, map50_95=0.2),
    )
    board = make_run(
        make_cell("a", latency_p50_ms=50.0, map50_95=0.4),
        make_failed("b", "out_of_memory", reason="killed"),
        make_cell("slow", latency_p50_ms=90.0, map50_95=0.5),
    )
    return [
        RunColumn("desk", desk, answer_of("b")),
        RunColumn("board", board, answer_of(None, "a")),
    ]


def test_a_row_for_every_cell_of_any_run(columns: list[RunColumn]) -> None:
    table = side_by_side(columns)
    assert [row.cell for row in table.rows] == ["a", "b", "only-desk", "slow"]
    a, b, only, slow = (row.latencies for row in table.rows)
    assert [field.text for field in a] == ["5.00", "50.0"]
    assert a[0].extra == "[12.1, 12.6]"
    assert [field.text for field in b] == ["4.00~", "out of memory"]
    assert b[1].title == "out_of_memory: killed"
    assert (only[1].absent, only[1].title) == (True, "this run has no such cell")
    assert slow[0].absent


def test_the_best_and_the_chosen_of_each_column(columns: list[RunColumn]) -> None:
    a, b, _, slow = (row.latencies for row in side_by_side(columns).rows)
    assert [field.best for field in a] == [False, True]
    assert [field.best for field in b] == [True, False]
    assert [field.chosen for field in b] == [True, False]
    assert [field.chosen for field in a] == [False, True]  # who leads where it is undecided
    assert not slow[1].best


def test_one_accuracy_where_runs_agree(columns: list[RunColumn]) -> None:
    table = side_by_side(columns)
    assert table.one_accuracy
    assert [row.accuracies[0].text for row in table.rows] == ["0.400", "0.300", "0.200", "0.500"]
    other = [
        dataclasses.replace(cell, map50_95=0.41) if cell.cell == "a" else cell
        for cell in columns[1].run.cells
    ]
    differing = dataclasses.replace(
        columns[1], run=dataclasses.replace(columns[1].run, cells=tuple(other))
    )
    table = side_by_side([columns[0], differing])
    assert not table.one_accuracy
    assert [field.text for field in table.rows[0].accuracies] == ["0.400", "0.410"]
    assert [field.best for field in table.rows[0].accuracies] == [True, False]


def test_a_cell_whose_later_launch_failed_is_not_the_best(
    make_run: MakeRun, make_cell: MakeCell
) -> None:
    run = make_run(
        make_cell("a", latency_p50_ms=1.0, status="crashed"), make_cell("b", latency_p50_ms=2.0)
    )
    a, b = (row.latencies[0] for row in side_by_side([RunColumn("r", run)]).rows)
    assert (a.text, a.best, b.best) == ("1.00", False, True)
    assert a.extra.endswith("crashed")


def test_the_chart_has_a_colour_and_a_shape_a_run(columns: list[RunColumn]) -> None:
    rows = latency_rows(columns)
    assert {(row["cell"], row["run"]) for row in rows} == {
        ("a", "desk"),
        ("b", "desk"),
        ("only-desk", "desk"),
        ("a", "board"),
        ("slow", "board"),
    }
    assert rows[0]["text"] == "5.00 ms [12.1, 12.6]"
    assert {row["marks"] for row in rows if row["cell"] == "b"} == {"the answer, disturbed"}
    chart = several_chart(columns, "machine")
    assert chart is not None
    points = chart["layer"][1]["encoding"]
    for channel in ("color", "shape"):
        scale = points[channel]["scale"]
        assert scale["domain"] == ["desk", "board"]
        assert len(set(scale["range"])) == 2
    assert (
        several_chart([RunColumn("r", dataclasses.replace(columns[0].run, cells=()))], "run")
        is None
    )

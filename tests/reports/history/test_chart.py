from __future__ import annotations

import json

import pytest

from deploymark.bench.records.trends import Point, Series
from deploymark.reports.history.chart import trend_chart, trend_rows
from tests.reports.history.series import changed, latency, machine


def test_a_latency_of_a_marked_cell_says_so() -> None:
    points = [Point(0, 10.0, 9.0, 12.0), Point(1, 10.0, 8.0, 14.0, disturbed=True)]
    rows = trend_rows([Series(**{**vars(latency()), "points": points})])
    assert [row["text"] for row in rows] == [
        "10.0 ms [9.00, 12.0]",
        "10.0 ms [8.00, 14.0] ~ disturbed",
    ]


def test_rows_are_in_the_unit_shown_and_tell_the_change_once() -> None:
    size = latency(
        "b",
        changed(2, before=1 << 20, after=2 << 20, change=1.0, p_value=None),
        figure="artifact_bytes",
    )
    sized = [Point(run, float((1 + (run >= 2)) << 20)) for run in range(4)]
    rows = trend_rows([Series(**{**vars(size), "points": sized})])
    assert [row["value"] for row in rows] == [1, 1, 2, 2]
    assert [row.get("change") for row in rows] == [None, None, "+100.0 %", None]
    assert rows[2]["ends"] == "1.00 → 2.00 MiB"
    assert rows[2]["chance"] == "no noise"
    assert rows[2]["found"] == "onnxruntime 1.31.0 → 1.32.0"
    assert "low" not in rows[0]
    assert rows[0]["least"] <= 1
    assert rows[0]["most"] >= 2


def test_noise_is_not_drawn_larger_than_it_is() -> None:
    still = latency("a", runs=4)
    flat = [Point(run, 10.0 + 0.01 * run) for run in range(4)]
    (first, *_) = trend_rows([Series(**{**vars(still), "points": flat})])
    assert first["most"] - first["least"] >= 0.4


def test_chart_has_intervals_rules_and_the_runs() -> None:
    series = latency("a", changed())
    spec = trend_chart(machine(series), [series])
    assert spec is not None
    marks = [layer["mark"] for layer in spec["spec"]["layer"]]
    assert [mark["type"] for mark in marks] == ["rule", "area", "rule", "line"]
    assert [row["name"] for row in spec["datasets"]["runs"]] == [f"run-{n}" for n in range(8)]
    assert sum("change" in row for row in spec["datasets"]["trends"]) == 1
    assert trend_chart(machine(), []) is None


@pytest.mark.heavy
def test_vega_accepts_the_chart() -> None:
    import vl_convert

    series = latency("a", changed())
    spec = trend_chart(machine(series), [series])
    svg = vl_convert.vegalite_to_svg(json.dumps(spec))
    # the rule of the change, and the points of all runs
    assert svg.count("#d55e00") >= 1
    assert svg.count('aria-roledescription="point"') >= 8

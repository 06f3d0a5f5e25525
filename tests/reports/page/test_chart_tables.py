from __future__ import annotations

from collections.abc import Callable

from deploymark.bench.records.run import CellResult
from deploymark.reports.page import figures
from deploymark.reports.page.chart_tables import MOST_ROWS, chart_table
from deploymark.reports.run.scatter_chart import latency_accuracy_chart


def test_the_table_has_what_the_marks_show(make_cell: Callable[..., CellResult]) -> None:
    cells = [make_cell("a", latency_p50_ms=9.0), make_cell("b", map50_95=0.25)]
    table = chart_table(latency_accuracy_chart(cells))
    assert table is not None
    assert table.columns[:3] == ("cell", "p50 [95 % CI]", "mAP50-95 [95 % CI]")
    assert [row[0] for row in table.rows] == ["a", "b"]
    assert table.rows[0][1].startswith("9.00 ms")
    assert table.rows[1][2] == "0.250"


def test_layers_and_facets_are_looked_through() -> None:
    hints = [{"field": "x", "title": "ex"}, {"field": "y"}]
    mark = {"data": {"name": "d"}, "encoding": {"tooltip": hints}}
    rows = [{"x": 1.2345, "y": None}, {"x": True, "y": "text"}, {"x": 1.2345, "y": None}]
    for spec in (mark, {"layer": [{"mark": "line"}, mark]}, {"spec": {"layer": [mark]}}):
        table = chart_table({**spec, "datasets": {"d": rows}})
        assert table is not None
        assert table.columns == ("ex", "y")
        assert table.rows == (("1.23", figures.ABSENT), ("yes", "text")), "each row once"


def test_no_marks_no_table_and_not_too_many_rows() -> None:
    assert chart_table(None) is None
    assert chart_table({"layer": [], "datasets": {}}) is None
    mark = {"data": {"name": "d"}, "encoding": {"tooltip": [{"field": "x"}]}}
    rows = [{"x": str(number)} for number in range(MOST_ROWS + 7)]
    table = chart_table({**mark, "datasets": {"d": rows}})
    assert table is not None
    assert (len(table.rows), table.left_out) == (MOST_ROWS, 7)

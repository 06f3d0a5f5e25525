from __future__ import annotations

import json
from collections.abc import Callable

from deploymark.bench.records.run import CellResult
from deploymark.reports.run import matrix_chart

MakeCell = Callable[..., CellResult]


def test_rows_of_the_matrix_name_what_differs(make_cell: MakeCell, make_failed: MakeCell) -> None:
    cells = [
        make_cell("a", latency_p50_ms=10.0),
        make_cell("b", latency_p50_ms=40.0, imgsz=640),
        make_failed("c", "export_failed"),
        make_failed("d", "unsupported"),
    ]
    rows = matrix_chart.matrix_rows(cells)
    assert [row["row"] for row in rows] == [
        "dense · fp32 · 320 px",
        "dense · fp32 · 640 px",
        "dense · int8 · 320 px",
        "dense · int8 · 320 px (2)",
    ]
    assert [row["text"] for row in rows] == ["10.0", "40.0", "export failed", "unsupported"]
    assert [row["dark"] for row in rows] == [False, True, False, False]
    assert [row["failed"] for row in rows] == [False, False, True, False]


def test_a_matrix_without_a_figure_has_no_colour_scale(make_failed: MakeCell) -> None:
    spec = matrix_chart.matrix_chart([make_failed("a")])
    assert spec is not None
    assert '"log"' not in json.dumps(spec)
    assert matrix_chart.matrix_chart([]) is None


def test_the_specification_names_no_address(make_cell: MakeCell) -> None:
    spec = matrix_chart.matrix_chart([make_cell()])
    assert spec is not None
    assert "://" not in json.dumps(spec, allow_nan=False)

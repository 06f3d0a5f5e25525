from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from deploymark.bench.records.run import CellResult
from deploymark.reports.run.effect_chart import effect_chart, effect_rows
from deploymark.reports.run.effectiveness import effects_of

MakeCell = Callable[..., CellResult]


@pytest.fixture
def cells(make_cell: MakeCell) -> list[CellResult]:
    fast = {"latency_p50_ms": 6.0, "latency_ci_low_ms": 5.9, "latency_ci_high_ms": 6.1}
    return [
        make_cell("d", latency_p50_ms=12.0, latency_ci_low_ms=11.8, latency_ci_high_ms=12.2),
        make_cell("o", backend="openvino"),
        make_cell("fast", variant="a", map50_95=0.38, **fast),
        make_cell("vino", variant="b", backend="openvino"),
        make_cell("alone", variant="b", precision="fp16"),
        make_cell("unscored", variant="b", backend="openvino", map50_95=None),
    ]


def test_rows_are_of_cells_with_a_dense_one(cells: list[CellResult]) -> None:
    rows = effect_rows(effects_of(cells), by_agreement=False)
    assert [(row["facet"], row["cell"]) for row in rows] == [("a", "fast"), ("b", "vino")]
    assert rows[0]["speed"] == 2.0
    assert rows[0]["lost"] == pytest.approx(-1.41)
    assert rows[0]["low"] == pytest.approx(11.8 / 6.1)


def test_one_backend_has_one_colour_in_all_charts(cells: list[CellResult]) -> None:
    spec = effect_chart(effects_of(cells[:2] + cells[3:4]), cells)
    assert spec is not None
    scale = spec["spec"]["layer"][-1]["encoding"]["color"]["scale"]
    assert scale["domain"] == ["openvino"]
    assert scale["range"] == ["#d55e00"]  # the second backend of the run
    assert "://" not in json.dumps(spec, allow_nan=False)


def test_the_dense_cell_lies_within_the_axis(cells: list[CellResult]) -> None:
    spec = effect_chart(effects_of(cells), cells)
    assert spec is not None
    low, high = spec["spec"]["layer"][-1]["encoding"]["x"]["scale"]["domain"]
    assert low < -1.41
    assert high > 0


def test_by_agreement(make_cell: MakeCell) -> None:
    cells = [
        make_cell("d", map50_95=None),
        make_cell("v", variant="v", map50_95=None, agreement=0.93),
    ]
    groups = effects_of(cells)
    assert effect_chart(groups, cells) is None
    spec = effect_chart(groups, cells, by_agreement=True)
    assert spec is not None
    assert spec["datasets"]["effects"][0]["lost"] == 0.93


def test_no_chart_without_a_figure(make_cell: MakeCell) -> None:
    cells = [make_cell("v", variant="v")]
    assert effect_chart(effects_of(cells), cells) is None

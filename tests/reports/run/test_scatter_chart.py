from __future__ import annotations

import json
from collections.abc import Callable

from deploymark.bench.records.run import CellResult
from deploymark.reports.run import scatter_chart

MakeCell = Callable[..., CellResult]


def test_only_cells_with_latency_and_accuracy_are_plotted(
    make_cell: MakeCell, make_failed: MakeCell
) -> None:
    cells = [
        make_cell("slow", latency_p50_ms=20.0, map50_95=0.40),
        make_cell("fast", latency_p50_ms=10.0, map50_95=0.39),
        make_cell("beaten", latency_p50_ms=21.0, map50_95=0.38),
        make_cell("unscored", map50_95=None),
        make_cell("untimed", latency_p50_ms=None),
        make_failed("crashed", latency_p50_ms=1.0, map50_95=0.5),
    ]
    rows = {row["cell"]: row["front"] for row in scatter_chart.scatter_rows(cells)}
    assert rows == {"slow": "yes", "fast": "yes", "beaten": "no"}


def test_a_cell_of_one_launch_has_no_whisker(make_cell: MakeCell) -> None:
    (row,) = scatter_chart.scatter_rows(
        [make_cell(latency_ci_low_ms=None, latency_ci_high_ms=None)]
    )
    assert row["low"] is None
    assert row["high"] is None
    assert row["latency"] == "12.3 ms"


def test_an_interval_below_zero_does_not_break_the_logarithm(make_cell: MakeCell) -> None:
    spec = scatter_chart.latency_accuracy_chart([make_cell(latency_ci_low_ms=-1.0)])
    assert spec is not None
    assert spec["datasets"]["cells"][0]["low"] is None


def test_the_front_is_drawn_to_the_edge(make_cell: MakeCell) -> None:
    cells = [
        make_cell("a", latency_p50_ms=20.0, map50_95=0.40, latency_ci_high_ms=22.0),
        make_cell("b", latency_p50_ms=10.0, map50_95=0.39),
    ]
    spec = scatter_chart.latency_accuracy_chart(cells)
    assert spec is not None
    front = spec["datasets"]["front"]
    assert [(row["p50"], row["map"]) for row in front[:2]] == [(10.0, 0.39), (20.0, 0.40)]
    assert front[-1]["map"] == 0.40
    assert front[-1]["p50"] > 22.0


def test_no_scatter_without_accuracy(make_cell: MakeCell) -> None:
    assert scatter_chart.latency_accuracy_chart([make_cell(map50_95=None)]) is None
    assert scatter_chart.latency_accuracy_chart([]) is None


def test_agreement_stands_for_accuracy_only_without_labels(
    make_cell: MakeCell, make_failed: MakeCell
) -> None:
    cells = [
        make_cell("reference", map50_95=None),
        make_cell("b", map50_95=None, agreement=0.9, agreement_reference="reference"),
        make_cell("alone", map50_95=None),
        make_failed("c", agreement=0.8, agreement_reference="reference"),
    ]
    assert scatter_chart.without_labels(cells)
    rows = scatter_chart.scatter_rows(cells)
    assert [(row["cell"], row["map"]) for row in rows] == [("reference", 1.0), ("b", 0.9)]
    cells.append(make_cell("scored", map50_95=0.3))
    assert not scatter_chart.without_labels(cells)
    assert [row["cell"] for row in scatter_chart.scatter_rows(cells)] == ["scored"]
    assert not scatter_chart.without_labels(cells[:1])


def test_a_cell_whose_accuracy_is_in_doubt_is_not_drawn(make_cell: MakeCell) -> None:
    cells = [make_cell("a"), make_cell("cut", accuracy_doubt="a floor of scores")]
    assert [row["cell"] for row in scatter_chart.scatter_rows(cells)] == ["a"]


def test_the_specification_names_no_address(make_cell: MakeCell) -> None:
    spec = scatter_chart.latency_accuracy_chart([make_cell()])
    assert spec is not None
    assert "://" not in json.dumps(spec, allow_nan=False)


def test_one_figure_still_makes_axes_with_a_length(make_cell: MakeCell) -> None:
    spec = scatter_chart.latency_accuracy_chart([make_cell(latency_ci_low_ms=None)])
    assert spec is not None
    encoding = spec["layer"][0]["encoding"]
    for channel in ("x", "y"):
        low, high = encoding[channel]["scale"]["domain"]
        assert low < high


def test_intervals_marks_and_what_has_no_accuracy(make_cell: MakeCell) -> None:
    cells = [
        make_cell("a", map50_95=0.40),
        make_cell("busy", map50_95=0.38, disturbed=True),
        make_cell("unscored", map50_95=None, latency_p50_ms=90.0),
        make_cell("untimed", latency_p50_ms=None),
    ]
    ends = {"a": (0.35, 0.44)}
    spec = scatter_chart.latency_accuracy_chart(cells, ends, chosen="a")
    assert spec is not None
    rows = {row["cell"]: row for row in spec["datasets"]["cells"]}
    assert (rows["a"]["map_low"], rows["a"]["map_high"]) == (0.35, 0.44)
    assert rows["a"]["accuracy"] == "0.400 [0.350, 0.440]"
    assert rows["busy"]["map_low"] is None
    assert [row["cell"] for row in spec["datasets"]["chosen"]] == ["a"]
    assert [row["cell"] for row in spec["datasets"]["unscored"]] == ["unscored"]
    assert rows["busy"]["disturbed"] == "yes"
    assert spec["datasets"]["limits_x"] == spec["datasets"]["limits_y"] == []
    low, high = spec["layer"][0]["encoding"]["x"]["scale"]["domain"]
    assert low < 12
    assert high > 90
    assert scatter_chart.not_drawn(cells) == 1

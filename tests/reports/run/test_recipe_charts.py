from __future__ import annotations

import json
from typing import Any

import pytest

from deploymark.reports.run import recipe_charts as charts

HISTORY = [
    {"epoch": 1, "box_loss": 1.2, "cls_loss": None, "lr": 5e-4, "seconds": 9.0, "cycle": 1},
    {"epoch": 1, "box_loss": 1.0, "cls_loss": 2.0, "lr": 4e-4, "seconds": 9.0, "cycle": 2},
]
SENSITIVITY = {
    "sensitivity": [
        {"layer": "model.6 C3k2", "amount": 0.5, "map50_95": 0.71},
        {"layer": "model.6 C3k2", "amount": 0.9, "map50_95": 0.31},
        {"layer": "model.2 Conv", "amount": 0.5, "map50_95": 0.61},
        {"layer": "model.2 Conv", "amount": None, "map50_95": 0.6},
    ],
    "amounts": {"model.6 C3k2": 0.62},
    "dense_map50_95": 0.74,
}
CYCLES = {
    "cycles": [
        {"cycle": 1, "amount": 0.3, "map50_95_pruned": 0.2, "map50_95": 0.73, "kept": True},
        {"cycle": 2, "amount": 0.5, "map50_95_pruned": 0.1, "map50_95": 0.60, "kept": False},
    ]
}


def test_epochs_are_counted_through_the_cycles() -> None:
    rows = charts.curve_rows({"history": HISTORY})
    assert [(row["curve"], row["epoch"], row["value"]) for row in rows] == [
        ("box loss", 1, 1.2),
        ("learning rate", 1, 5e-4),
        ("box loss", 2, 1.0),
        ("cls loss", 2, 2.0),
        ("learning rate", 2, 4e-4),
    ]


def test_a_single_epoch_is_no_curve() -> None:
    assert charts.curves_chart({"history": HISTORY[:1]}) is None
    assert charts.curves_chart({}) is None


def test_many_epochs_have_few_ticks() -> None:
    spec = charts.curves_chart({"history": [{"box_loss": 1.0}] * 100})
    assert spec is not None
    ticks = spec["spec"]["encoding"]["x"]["axis"]["values"]
    assert ticks[0] == 1
    assert len(ticks) <= 8


def test_sensitivity_begins_with_dense_and_marks_the_choice() -> None:
    rows = charts.sensitivity_rows(SENSITIVITY)
    six = sorted((r["amount"], r["map"]) for r in rows if r["block"] == "model.6 C3k2")
    assert six == [(0.0, 0.74), (0.5, 0.71), (0.9, 0.31)]
    assert {row["chosen"] for row in rows if row["block"] == "model.6 C3k2"} == {0.62}
    assert {row["chosen"] for row in rows if row["block"] == "model.2 Conv"} == {None}


def test_sensitivity_takes_the_dense_score_of_its_own_images() -> None:
    rows = charts.sensitivity_rows(SENSITIVITY | {"sensitivity_dense_map50_95": 0.8})
    assert {row["dense"] for row in rows} == {0.8}


def test_blocks_stay_in_the_order_of_the_model() -> None:
    spec = charts.sensitivity_chart(SENSITIVITY)
    assert spec is not None
    assert spec["facet"]["sort"] == ["model.6 C3k2", "model.2 Conv"]


def test_cycles_ring_the_last_that_was_kept() -> None:
    spec = charts.cycles_chart(CYCLES)
    assert spec is not None
    assert len(spec["datasets"]["cycles"]) == 4
    (kept,) = spec["datasets"]["kept"]
    assert (kept["cycle"], kept["map"]) == ("1", 0.73)
    none = {"cycles": [{**CYCLES["cycles"][0], "kept": False}]}
    spec = charts.cycles_chart(none)
    assert spec is not None
    assert "kept" not in spec["datasets"]


@pytest.mark.parametrize("make", [make for _, make in charts.CHARTS])
@pytest.mark.parametrize("record", [{}, {"history": 1, "sensitivity": [3], "cycles": [{}]}])
def test_nothing_to_draw(make: Any, record: dict[str, Any]) -> None:
    assert make(record) is None


def test_specifications_name_no_address() -> None:
    for make, record in (
        (charts.curves_chart, {"history": HISTORY}),
        (charts.sensitivity_chart, SENSITIVITY),
        (charts.cycles_chart, CYCLES),
    ):
        assert "://" not in json.dumps(make(record), allow_nan=False)

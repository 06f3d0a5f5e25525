from __future__ import annotations

from typing import Any

from deploymark.backends.inputs import Size
from deploymark.bench.matrix.cells import Cell
from deploymark.bench.matrix.schema import Matrix
from deploymark.bench.run.boxes import BoxesPlan
from deploymark.bench.run.plan import PlannedCell
from deploymark.bench.run.schedule import LaunchSlot, StoppingRule
from tests.benchmarks.decision_simulation import RULE, matrix

OK: dict[str, Any] = {"status": "ok", "predictions": "a.npz"}
UNSCORED: dict[str, Any] = {"status": "ok", "predictions": None}


def planned(backend: str, precision: str, variant: str = "dense") -> PlannedCell:
    return PlannedCell(Cell("m", variant, precision, backend, "cpu", Size.of(320), 1, 1), 1)


CELLS = {
    item.id: item
    for item in (
        planned("openvino", "fp32"),
        planned("onnxruntime", "fp32"),
        planned("onnxruntime", "fp32", "pruned"),
        planned("onnxruntime", "int8"),
    )
}
OPENVINO, ONNXRUNTIME, PRUNED, INT8 = CELLS


def boxes(
    asked: Matrix | None = None, *, deferred: bool = True, rule: StoppingRule = RULE
) -> BoxesPlan:
    return BoxesPlan(asked or matrix(), CELLS, dict.fromkeys(CELLS, rule), deferred=deferred)


def scored_first(plan: BoxesPlan) -> set[str]:
    return {cell for cell in CELLS if plan.wanted(LaunchSlot(cell, 0), ())}


def with_section(name: str, **values: Any) -> Matrix:
    asked = matrix().model_dump(mode="json")
    asked[name] = {**(asked[name] or {}), **values}
    return Matrix.model_validate(asked)


def test_the_first_round_scores_what_others_are_held_against() -> None:
    assert scored_first(boxes()) == {ONNXRUNTIME}


def test_all_cells_are_scored_at_once_where_all_are_measured_or_asked_for() -> None:
    assert scored_first(boxes(deferred=False)) == set(CELLS)
    assert scored_first(boxes(with_section("scoring", score="all"))) == set(CELLS)
    by_score = with_section("choose", where=None, maximize="map50_95")
    assert scored_first(boxes(by_score)) == set(CELLS)


def test_a_cell_of_one_launch_is_scored_in_it() -> None:
    once = StoppingRule(least=1, most=20, target=None, budget_s=1.0, repeats=0)
    assert scored_first(boxes(rule=once)) == set(CELLS)


def test_a_second_launch_scores_what_the_first_did_not() -> None:
    plan = boxes()
    assert plan.wanted(LaunchSlot(INT8, 1), [UNSCORED])
    assert not plan.wanted(LaunchSlot(INT8, 1), [OK])
    # a disturbance changes times and no boxes: repeats need not score again
    assert not plan.wanted(LaunchSlot(ONNXRUNTIME, 0, 1), [OK])
    assert not boxes(deferred=False).wanted(LaunchSlot(INT8, 1), [OK])


def test_cells_that_were_launched_wait_for_their_boxes() -> None:
    launches = {ONNXRUNTIME: [OK], INT8: [UNSCORED], PRUNED: []}
    assert boxes().pending(launches) == {INT8}
    assert boxes(deferred=False).pending(launches) == set()

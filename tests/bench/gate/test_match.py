from __future__ import annotations

import dataclasses

from deploymark.backends.inputs import Size
from deploymark.bench.gate.match import match
from deploymark.bench.matrix.cells import Cell

CELL = Cell("m", "dense", "fp32", "onnxruntime", "cpu", Size.of(320), 1, None)


def cells(*changes: dict[str, object]) -> dict[str, Cell]:
    found = [dataclasses.replace(CELL, **change) for change in changes]  # type: ignore[arg-type]
    return {cell.id: cell for cell in found}


def test_equal_ids_belong_together() -> None:
    both = cells({}, {"precision": "int8"})
    assert match(both, both) == {name: name for name in both}


def test_other_models_are_matched_by_their_axes() -> None:
    old = cells({"model": "old"}, {"model": "old", "backend": "openvino"})
    new = cells({"model": "new"}, {"model": "new", "backend": "openvino"})
    assert match(old, new) == {
        "new-dense-fp32-onnxruntime-cpu-320": "old-dense-fp32-onnxruntime-cpu-320",
        "new-dense-fp32-openvino-cpu-320": "old-dense-fp32-openvino-cpu-320",
    }


def test_a_variant_or_a_precision_of_its_own_is_matched_where_it_is_the_only_one() -> None:
    old = cells({"model": "old", "variant": "as-is"})
    assert len(match(old, cells({"variant": "pruned", "precision": "int8"}))) == 1
    assert len(match(old, cells({"precision": "int8"}))) == 1


def test_where_several_could_be_meant_none_is() -> None:
    old = cells({"model": "old"})
    two = cells({"model": "a"}, {"model": "b"})
    assert match(old, two) == {}
    assert match(two, old) == {}


def test_no_cell_of_the_baseline_is_taken_twice() -> None:
    old = cells({})
    new = cells({}, {"model": "other"})
    assert match(old, new) == {CELL.id: CELL.id}


def test_another_size_is_another_cell() -> None:
    assert match(cells({}), cells({"imgsz": 640})) == {}

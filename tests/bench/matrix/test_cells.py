from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from deploymark.backends.base import PRECISIONS
from deploymark.backends.inputs import Size
from deploymark.bench.errors import BadInputError, NothingToRunError
from deploymark.bench.matrix.cells import Cell, expand, pattern_matches, select
from deploymark.bench.matrix.schema import Matrix
from deploymark.bench.matrix.sections import CellPattern

MODELS = [{"path": "a.pt", "data": "a.yaml"}, {"path": "b.pt", "data": "b.yaml"}]


def subset(values: list[object]) -> st.SearchStrategy[list[object]]:
    return st.lists(st.sampled_from(values), min_size=1, unique=True)


MATRICES = st.fixed_dictionaries(
    {
        "models": subset(list(range(len(MODELS)))).map(lambda picks: [MODELS[i] for i in picks]),
        "backends": subset(["torch", "onnxruntime", "openvino"]),
        "precisions": subset(list(PRECISIONS)),
        "imgsz": subset([64, 320, 640, (64, 320), "320x64"]),
        "batch": subset([1, 2, 8]),
        "threads": subset(["auto", 1, 2]),
    }
)


@given(MATRICES)
def test_axes_multiply_to_unique_stable_ids(values: dict[str, list[object]]) -> None:
    matrix = Matrix.model_validate(values)
    cells = expand(matrix).cells
    expected = 1
    for axis in values.values():
        expected *= len(axis)
    ids = [cell.id for cell in cells]
    assert len(ids) == expected == len(set(ids))
    assert ids == [cell.id for cell in expand(matrix).cells]


@given(MATRICES, st.randoms(use_true_random=False))
def test_an_id_does_not_depend_on_the_other_cells(
    values: dict[str, list[object]], random: object
) -> None:
    ids = {cell.id for cell in expand(Matrix.model_validate(values)).cells}
    smaller = {key: axis[:1] for key, axis in values.items()}
    assert {cell.id for cell in expand(Matrix.model_validate(smaller)).cells} <= ids


@given(MATRICES, st.sampled_from(["torch", "onnxruntime", "openvino"]))
def test_exclude_parts_the_cells_in_two(values: dict[str, list[object]], backend: str) -> None:
    if backend not in values["backends"] or len(values["backends"]) == 1:
        return
    whole = {cell.id for cell in expand(Matrix.model_validate(values)).cells}
    rule = {"backend": backend, "reason": "for the test"}
    parted = expand(Matrix.model_validate({**values, "exclude": [rule]}))
    kept, left = {cell.id for cell in parted.cells}, {item.cell for item in parted.left_out}
    assert kept | left == whole
    assert not kept & left
    assert all(f"-{backend}-" in name for name in left)


@given(MATRICES)
def test_overrides_never_change_ids(values: dict[str, list[object]]) -> None:
    plain = expand(Matrix.model_validate(values)).cells
    backend = values["backends"][0]
    rule = {"when": {"backend": backend}, "set": {"measure": {"launches": 2}, "options": {"a": 1}}}
    changed = expand(Matrix.model_validate({**values, "overrides": [rule]})).cells
    assert [cell.id for cell in plain] == [cell.id for cell in changed]
    for before, after in itertools.zip_longest(plain, changed):
        hit = after.backend == backend
        assert after.measure.launches == (2 if hit else before.measure.launches)
        assert after.options == ({"a": 1} if hit else {})


def test_a_limit_of_memory_is_an_axis_or_an_option() -> None:
    values = {"models": MODELS[:1], "backends": ["torch"], "memory_limit_mb": [None, 512, 256]}
    exclude = [{"memory_limit_mb": 256, "reason": "for the test"}]
    cells = expand(Matrix.model_validate({**values, "exclude": exclude})).cells
    assert [cell.id for cell in cells] == [
        "a-dense-fp32-torch-cpu-640",
        "a-dense-fp32-torch-cpu-640-m512",
    ]
    assert [cell.limit_mb for cell in cells] == [None, 512]
    limited = expand(Matrix.model_validate({**values, "limits": {"memory_limit_mb": 128}})).cells
    assert [cell.limit_mb for cell in limited] == [128, 512, 256], "the axis goes before the option"


def make_cell(**changes: object) -> Cell:
    values: dict[str, object] = {
        "model": "m",
        "variant": "dense",
        "precision": "fp32",
        "backend": "torch",
        "device": "cpu",
        "imgsz": Size.of(320),
        "batch": 1,
        "threads": None,
    }
    return Cell(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "m-dense-fp32-torch-cpu-320"),
        ({"batch": 4}, "m-dense-fp32-torch-cpu-320-b4"),
        ({"threads": 2}, "m-dense-fp32-torch-cpu-320-t2"),
        ({"batch": 2, "threads": 1}, "m-dense-fp32-torch-cpu-320-b2-t1"),
        ({"imgsz": Size(384, 640), "batch": 4}, "m-dense-fp32-torch-cpu-384x640-b4"),
        ({"memory_limit_mb": 64}, "m-dense-fp32-torch-cpu-320-m64"),
        ({"threads": 1, "memory_limit_mb": 64}, "m-dense-fp32-torch-cpu-320-t1-m64"),
    ],
)
def test_ids_read_like_factors(changes: dict[str, object], name: str) -> None:
    assert make_cell(**changes).id == name


@pytest.mark.parametrize(
    ("pattern", "hit"),
    [
        ({"backend": "torch"}, True),
        ({"backend": ["openvino", "torch"], "imgsz": 320}, True),
        ({"backend": "torch", "imgsz": 640}, False),
        ({"imgsz": [640, 320]}, True),
        ({"imgsz": "320x320"}, True),
        ({"imgsz": [[320, 640], "640x320"]}, False),
        ({"threads": "auto"}, True),
        ({"threads": 1}, False),
    ],
)
def test_patterns(pattern: dict[str, object], hit: bool) -> None:
    assert pattern_matches(CellPattern.model_validate(pattern), make_cell()) is hit


def test_included_cells_take_the_first_of_each_axis() -> None:
    values = {
        "models": MODELS,
        "backends": ["torch"],
        "imgsz": [320, 640],
        "include": [{"backend": "openvino", "precision": "int8", "imgsz": 96}],
    }
    cells = expand(Matrix.model_validate(values)).cells
    assert cells[-1].id == "a-dense-int8-openvino-cpu-96"


def test_rectangles_are_sizes_of_their_own() -> None:
    values = {
        "models": MODELS[:1],
        "backends": ["torch"],
        "imgsz": [640, [384, 640], "640x384"],
        "include": [{"backend": "openvino", "precision": "int8", "imgsz": [96, 160]}],
        "exclude": [{"imgsz": 640, "reason": "square"}],
    }
    expansion = expand(Matrix.model_validate(values))
    assert [cell.id for cell in expansion.cells] == [
        "a-dense-fp32-torch-cpu-384x640",
        "a-dense-fp32-torch-cpu-640x384",
        "a-dense-int8-openvino-cpu-96x160",
    ]
    assert [item.cell for item in expansion.left_out] == ["a-dense-fp32-torch-cpu-640"]
    assert expansion.cells[0].imgsz == Size(height=384, width=640)


def with_axes(**changes: object) -> Matrix:
    entry = {"name": "onnxruntime", "runtime_axes": {"spinning": [True, False], "arena": [True]}}
    values = {"models": MODELS[:1], "backends": [entry, "openvino"], "imgsz": [64]}
    return Matrix.model_validate({**values, **changes})


def test_runtime_options_can_be_an_axis() -> None:
    cells = expand(with_axes()).cells
    assert [cell.id for cell in cells] == [
        "a-dense-fp32-onnxruntime-cpu-64-spinning_true-arena_true",
        "a-dense-fp32-onnxruntime-cpu-64-spinning_false-arena_true",
        "a-dense-fp32-openvino-cpu-64",
    ]
    assert cells[1].runtime_options == {"spinning": False, "arena": True}


def test_an_override_cannot_contradict_an_axis() -> None:
    rule = {"when": {"backend": "onnxruntime"}, "set": {"runtime_options": {"spinning": True}}}
    with pytest.raises(BadInputError, match=r"spinning.*is an axis of onnxruntime"):
        expand(with_axes(overrides=[rule]))


@pytest.mark.parametrize(
    "entry",
    [
        {"runtime_options": {"wait": "passive"}, "runtime_axes": {"wait": ["default"]}},
        {"runtime_axes": {"wait": []}},
        {"runtime_axes": {"wait": ["../x"]}},
        {"runtime_axes": {"../x": [True]}},
        {"runtime_axes": {"wait": [0.5]}},
    ],
)
def test_an_axis_has_plain_names_and_values(entry: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        with_axes(backends=[{"name": "torch", **entry}])


def test_default_devices_are_part_of_ids() -> None:
    values = {"models": MODELS[:1], "backends": ["torch"], "imgsz": [320]}
    (cell,) = expand(Matrix.model_validate(values), default_devices={"torch": "cuda"}).cells
    assert cell.id == "a-dense-fp32-torch-cuda-320"


def test_select_tells_when_nothing_is_left() -> None:
    matrix = Matrix.model_validate({"models": MODELS, "backends": ["torch"]})
    expansion = expand(matrix)
    assert [cell.model for cell in select(expansion, "a-dense")] == ["a"]
    with pytest.raises(NothingToRunError, match="selects none of the 2 cells"):
        select(expansion, "openvino")


def test_trained_rounding_is_of_the_variants_that_have_it() -> None:
    qat = {"name": "qat", "steps": [{"kind": "qat"}]}
    precisions = ["fp32", "int8-qat"]
    values = {"models": MODELS[:1], "backends": ["onnxruntime"], "precisions": precisions}
    both = expand(Matrix.model_validate({**values, "variants": ["dense", qat]}))
    found = {(cell.variant, cell.precision) for cell in both.cells}
    assert found == {("dense", "fp32"), ("qat", "fp32"), ("qat", "int8-qat")}
    none = expand(Matrix.model_validate({**values, "variants": ["dense"]}))
    assert {cell.precision for cell in none.cells} == {"fp32", "int8-qat"}

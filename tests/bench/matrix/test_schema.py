from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML

from deploymark.backends.inputs import Size
from deploymark.bench.errors import BadInputError, NothingToRunError
from deploymark.bench.matrix.cells import expand
from deploymark.bench.matrix.command_line import Overrides, with_overrides
from deploymark.bench.matrix.entries import ModelEntry, model_name
from deploymark.bench.matrix.schema import (
    Matrix,
    find_matrix,
    json_schema,
    packaged_matrices,
    read_matrix,
)

SCHEMA = Path(__file__).parents[3] / "matrices" / "matrix.schema.json"

MODEL = "models:\n  - {path: builtin:digits, data: builtin:digits}\n"
ORT = MODEL + "backends: [onnxruntime]\n"

MISTAKES = {
    "backends: [onnxruntme]\n": (
        "3:12: backends[0]: unknown backend",
        "did you mean 'onnxruntime'",
    ),
    "backends: [torch]\nprecision: [fp32]\n": ("4:1: precision: unknown key", "'precisions'"),
    "backends:\n  - name: torch\n    precison: [fp32]\n": (
        "5:5: backends[0].precison",
        "'precisions'",
    ),
    "backends: [torch]\nprecisions: [fp23]\n": ("4:14: precisions[0]", "did you mean 'fp32'"),
    "backends: [torch]\nprecisions: [fp32, fp32]\n": ("4:20: precisions[1]: duplicate cell",),
    "backends: []\n": ("3:1: backends: must not be empty",),
    "precisions: [fp32]\n": ("a checkpoint needs `backends`",),
    "backends: [torch\n": ("4:1: expected ',' or ']'",),
    "backends: [torch]\nbackends: [torch]\n": ("4:1: found duplicate key",),
    "backends: [torch]\nvariants: [{name: x, steps: [{kind: l1, amount: 2}]}]\n": (
        "variants[0].steps[0].amount",
        "less than 1 (got 2)",
    ),
    "backends: [torch]\nthreads: [0]\n": ("threads[0]: expected 'auto' or a whole number from 1",),
    "backends: [torch]\nnative_ony: [bf16]\n": ("4:1: native_ony: unknown key", "'native_only'"),
    "backends: [torch]\nexclude: [{backend: openvino, reason: no}]\n": (
        "4:11: exclude[0]: matches no cell",
    ),
    "backends: [torch]\nexclude: [{backend: torch}]\n": ("exclude[0]: missing key 'reason'",),
    "backends: [torch]\ninclude: [{backend: torch, precision: fp32}]\n": (
        "4:11: include[0]: duplicate cell digits-dense-fp32-torch-cpu-640",
    ),
    "backends: [torch]\ninclude: [{backend: torch, precision: bf16, variant: dens}]\n": (
        "include[0].variant: no variant of this matrix",
        "did you mean 'dense'",
    ),
    "backends: [torch]\noverrides: [{when: {backend: torch}, set: {measure: {launchs: 3}}}]\n": (
        "overrides[0].set.measure.launchs: unknown key, did you mean 'launches'?",
    ),
    "backends: [torch]\n"
    "overrides: [{when: {backend: torch}, set: {measure: {min_iterations: 500}}}]\n": (
        "overrides[0].set.measure: min_iterations is above max_iterations",
        "'min_iterations': 500",
    ),
    "backends: [torch]\nmeasure: {target_interval: 1.5}\n": ("measure.target_interval",),
    "backends: [torch]\nmeasure: {budget_s: .inf}\n": ("measure.budget_s",),
    "backends: [torch]\noverrides: [{when: {precision: int8}, set: {options: {a: 1}}}]\n": (
        "4:13: overrides[0]: matches no cell",
    ),
    "backends: [torch]\nprecisions: [fp32]\nmodels: []\n": ("found duplicate key",),
    "backends: [{name: torch, devices: ['../x']}]\n": ("backends[0].devices[0]",),
    "backends: [torch]\nvariants: [dense, dense]\n": ("variants[1]: two variants are called",),
}


def load(folder: Path, text: str) -> Matrix:
    path = folder / "m.yaml"
    path.write_text(text)
    matrix, source = read_matrix(path)
    expand(matrix, source)
    return matrix


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_is_told_with_its_place(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadInputError) as caught:
        load(tmp_path, MODEL + text)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'm.yaml'}:")
    for words in MISTAKES[text]:
        assert words in message


@pytest.mark.parametrize(("text", "words"), [("", "the matrix is empty"), ("- a\n", "mapping")])
def test_a_file_that_is_no_matrix(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        load(tmp_path, text)


def test_excluding_everything_leaves_nothing_to_run(tmp_path: Path) -> None:
    with pytest.raises(NothingToRunError):
        load(tmp_path, ORT + "exclude: [{backend: onnxruntime, reason: for the test}]\n")


def test_the_committed_schema_is_that_of_the_models() -> None:
    assert SCHEMA.read_text(encoding="utf-8") == json_schema()


@pytest.mark.parametrize("name", packaged_matrices())
def test_shipped_matrices_are_valid(name: str) -> None:
    path = packaged_matrices()[name]
    matrix, source = read_matrix(path)
    assert expand(matrix, source).cells
    document = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    jsonschema.validate(document, json.loads(SCHEMA.read_text(encoding="utf-8")))


def test_an_unknown_matrix_suggests_a_shipped_one() -> None:
    with pytest.raises(BadInputError, match="did you mean 'default'"):
        find_matrix("defalt")


@pytest.mark.parametrize(
    ("path", "name"),
    [("a/my model.pt", "my_model"), ("yolo11n-coco.pt", "yolo11n-coco"), ("..pt", "model")],
)
def test_a_model_is_named_after_its_file(path: str, name: str) -> None:
    assert model_name(ModelEntry(path=path, data="d.yaml")) == name


def test_the_command_line_replaces_axes(tmp_path: Path) -> None:
    text = MODEL + "backends: [torch, {name: openvino, options: {preset: x}, precisions: [int8]}]\n"
    matrix = load(tmp_path, text)
    given = Overrides(
        model="m.pt", data="d.yaml", imgsz=[96], backends=["openvino"], precisions=["fp16"]
    )
    changed = with_overrides(matrix, given)
    assert [entry.path for entry in changed.models] == ["m.pt"]
    assert changed.imgsz == (Size(96, 96),)
    (entry,) = changed.backend_entries()
    assert (entry.name, entry.options, entry.precisions) == ("openvino", {"preset": "x"}, None)
    assert changed.precisions == ("fp16",)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"model": "m.pt"}, "--model and --data belong together"),
        ({"backends": ["opnvino"]}, "--backends opnvino: unknown backend.*'openvino'"),
        ({"backends": ["onnx"]}, "--backends onnx: unknown backend.*did you mean 'onnxruntime'"),
        ({"precisions": ["int9"]}, "--precisions int9: unknown precision.*'int8'"),
        ({"imgsz": [1]}, "--imgsz 1: expected whole numbers of pixels from 32 to 4096"),
        ({"imgsz": ["0"]}, "--imgsz 0: expected"),
        ({"imgsz": ["-5"]}, "--imgsz -5: expected"),
        ({"imgsz": ["big", "320"]}, "--imgsz big: expected"),
        ({"imgsz": ["9" * 5000]}, "--imgsz 9+: expected"),
        ({"imgsz": ["320", "320"]}, "--imgsz 320,320: 320 is given twice"),
        (
            {"imgsz": ["0"], "backends": ["opnvino"], "precisions": ["int9"]},
            r"(?s)^3 things are wrong\n--imgsz 0: .*--backends opnvino: .*--precisions int9: ",
        ),
        (
            {"model": "https://a.b/c.onnx", "data": "d.yaml"},
            "--model https://a.b/c.onnx: that is an address",
        ),
    ],
)
def test_bad_options_are_told(tmp_path: Path, options: dict[str, object], words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        with_overrides(load(tmp_path, ORT), Overrides(**options))  # type: ignore[arg-type]

from __future__ import annotations

import dataclasses
import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from deploymark.backends.base import OutputSpec, Probe, ReadAs, Size
from deploymark.bench.data.coco_names import COCO_CATEGORY_NAMES, COCO_NAMES
from deploymark.bench.errors import BadInputError
from deploymark.bench.machine.probing import Found
from deploymark.bench.matrix.cells import expand
from deploymark.bench.matrix.command_line import Overrides, with_overrides
from deploymark.bench.matrix.entries import model_name
from deploymark.bench.matrix.given import GivenArtifact, describe_given
from deploymark.bench.matrix.schema import Matrix, read_matrix
from deploymark.bench.records.outcomes import Outcome
from deploymark.bench.yaml_source import YamlSource

if TYPE_CHECKING:
    from conftest import CommandLine

CHECKPOINT = {"path": "builtin:digits", "data": "builtin:digits"}
NOWHERE = YamlSource("m.yaml", None)


def artifact(path: str = "exports/my.onnx", **more: Any) -> dict[str, Any]:
    return {"artifact": path, "data": "my.yaml", **more}


def found(endings: tuple[str, ...] = (), *, installed: bool = False) -> Found:
    probe = Probe("x", installed=installed, reason="not installed", remedy="pip install it")
    return Found(probe, artifact_endings=endings)


def cells_of(values: dict[str, Any], given: GivenArtifact) -> list[str]:
    matrix = Matrix.model_validate(values)
    return [
        cell.id for cell in expand(matrix, given={model_name(matrix.models[0]): (given,)}).cells
    ]


def test_a_file_has_one_size_one_batch_and_one_precision() -> None:
    given = GivenArtifact(
        "onnxruntime", Path("my.onnx"), imgsz=Size(320, 320), batch=2, precision="int8"
    )
    values = {"models": [artifact()], "imgsz": [64, 640], "variants": ["dense"], "threads": [1, 2]}
    assert cells_of(values, given) == [
        "my-as-is-int8-onnxruntime-cpu-320-b2-t1",
        "my-as-is-int8-onnxruntime-cpu-320-b2-t2",
    ]


def test_open_sizes_are_those_of_the_matrix() -> None:
    given = GivenArtifact("onnxruntime", Path("my.onnx"))
    values = {"models": [artifact(precision="fp16")], "imgsz": [64, 640], "batch": [1, 4]}
    assert cells_of(values, given) == [
        "my-as-is-fp16-onnxruntime-cpu-64",
        "my-as-is-fp16-onnxruntime-cpu-64-b4",
        "my-as-is-fp16-onnxruntime-cpu-640",
        "my-as-is-fp16-onnxruntime-cpu-640-b4",
    ]


def test_a_backends_entry_gives_devices_and_runtime_options_but_no_export_options() -> None:
    entry = {"name": "openvino", "devices": ["auto"], "options": {"preset": "mixed"}}
    values = {
        "models": [artifact()],
        "backends": [{**entry, "runtime_options": {"pinning": True}}],
    }
    given = GivenArtifact("openvino", Path("my.onnx"), imgsz=Size(64, 64))
    (cell,) = expand(Matrix.model_validate(values), given={"my": (given,)}).cells
    assert (cell.device, cell.options, cell.runtime_options) == ("auto", {}, {"pinning": True})


def test_checkpoints_and_artifacts_share_a_matrix() -> None:
    values = {
        "models": [CHECKPOINT, artifact()],
        "backends": ["torch", "onnxruntime"],
        "imgsz": [64],
    }
    given = GivenArtifact("onnxruntime", Path("my.onnx"), imgsz=Size(64, 64))
    cells = expand(Matrix.model_validate(values), given={"my": (given,)}).cells
    assert [cell.id for cell in cells] == [
        "digits-dense-fp32-torch-cpu-64",
        "digits-dense-fp32-onnxruntime-cpu-64",
        "my-as-is-fp32-onnxruntime-cpu-64",
    ]


READERS = {
    "torch": found(installed=True),
    "onnxruntime": found((".onnx",)),
    "openvino": found((".xml", "_openvino_model", ".onnx")),
    "opencv": found((".onnx",), installed=False),
}


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        ({"models": [artifact()], "backends": ["torch", "openvino"]}, ["openvino"]),
        (
            {"models": [artifact()], "backends": ["openvino", "onnxruntime"]},
            ["openvino", "onnxruntime"],
        ),
        ({"models": [artifact()], "backends": ["torch"]}, ["onnxruntime"]),
        ({"models": [artifact()]}, ["onnxruntime"]),
        ({"models": [artifact("a/my_OpenVINO_model")]}, ["openvino"]),
        ({"models": [artifact(backends=["opencv"])], "backends": ["openvino"]}, ["opencv"]),
    ],
)
def test_who_measures_a_file(matrix: dict[str, Any], expected: list[str]) -> None:
    (given,) = describe_given(Matrix.model_validate(matrix), READERS, NOWHERE).values()
    assert [item.backend for item in given] == expected
    # None of them is installed, which is told and stops nothing.
    assert given[0].outcome == Outcome("unavailable", "not installed", "pip install it")


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (artifact("my.safetensors"), "no backend reads my.safetensors"),
        (artifact("my.onnx.zip"), "no backend reads my.onnx.zip"),
    ],
)
def test_a_file_that_nobody_reads_is_bad_input(model: dict[str, Any], words: str) -> None:
    matrix = Matrix.model_validate({"models": [model]})
    with pytest.raises(BadInputError, match=words) as caught:
        describe_given(matrix, READERS, NOWHERE)
    assert "models[0].artifact" in caught.value.message
    assert ".onnx, .xml, _openvino_model" in caught.value.remedy


@pytest.mark.parametrize("backends", [["torch"], ["onnxruntime", "torch"]])
def test_a_backend_that_an_entry_names_reads_its_file(backends: list[str]) -> None:
    matrix = Matrix.model_validate({"models": [artifact(backends=backends)]})
    with pytest.raises(BadInputError) as caught:
        describe_given(matrix, READERS, NOWHERE)
    assert caught.value.message == "m.yaml: models[0].backends: torch does not open .onnx"
    assert caught.value.remedy == "What opens my.onnx: onnxruntime, openvino, opencv."


def test_a_backend_that_is_named_for_files_alone_reads_one_of_them(tmp_path: Path) -> None:
    file = tmp_path / "m.yaml"
    models = [artifact(), artifact("a/my_openvino_model", name="other")]
    values = {"models": models, "backends": ["onnxruntime", "openvino"]}
    file.write_text(json.dumps(values))
    matrix, source = read_matrix(file)
    assert len(describe_given(matrix, READERS, source)) == 2
    file.write_text(json.dumps({**values, "backends": ["torch", "openvino"]}))
    matrix, source = read_matrix(file)
    with pytest.raises(BadInputError, match=r"backends\[0\]: torch does not open .onnx, _openvino"):
        describe_given(matrix, READERS, source)


def test_an_option_that_a_file_cannot_follow_is_named(tmp_path: Path) -> None:
    plain = Matrix.model_validate({"models": [CHECKPOINT], "backends": ["torch"]})
    given = Overrides(model="my.onnx", data="d.yaml", backends=["torch", "onnxruntime"])
    where = YamlSource("yolo11.yaml", {"models": []}, given.places())
    with pytest.raises(BadInputError) as caught:
        describe_given(with_overrides(plain, given), READERS, where)
    assert caught.value.message == "--backends torch,onnxruntime: torch does not open .onnx"


def test_a_file_that_is_no_model_is_told_before_a_backend_is_asked(tmp_path: Path) -> None:
    page, pointer = tmp_path / "a.onnx", tmp_path / "b.onnx"
    page.write_text("<!DOCTYPE html><html></html>")
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    models = [artifact(str(page)), artifact(str(pointer))]
    matrix = Matrix.model_validate({"models": models})
    with pytest.raises(BadInputError) as caught:
        describe_given(matrix, READERS, NOWHERE)
    text = str(caught.value)
    assert "models[0].artifact: a.onnx is a web page (HTML)" in text
    assert "models[1].artifact: b.onnx is a pointer of Git LFS" in text
    assert "git lfs pull" in text


@pytest.mark.parametrize(
    "model",
    [
        {"data": "my.yaml"},
        {**CHECKPOINT, "artifact": "my.onnx"},
        {**CHECKPOINT, "precision": "fp32"},
        artifact(head="one-to-one"),
    ],
)
def test_what_does_not_go_together_is_refused(model: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"artifact"):
        Matrix.model_validate({"models": [model], "backends": ["torch"]})


def test_the_command_line_tells_a_file_from_a_checkpoint() -> None:
    plain = Matrix.model_validate({"models": [CHECKPOINT], "backends": ["torch"]})
    for path, key in (("my.pt", "path"), ("my.onnx", "artifact"), ("my_ncnn_model", "artifact")):
        (entry,) = with_overrides(plain, Overrides(model=path, data="d.yaml")).models
        assert getattr(entry, key) == path
        assert entry.source == path


def test_names_come_from_the_data_set_where_the_file_has_none() -> None:
    output = OutputSpec("detections")
    given = GivenArtifact("x", Path("my.onnx"), classes=2, output=output)
    detector = given.detector(["a", "b"])
    assert (detector.names, detector.output, detector.params) == (("a", "b"), output, None)
    with pytest.raises(BadInputError, match="has 2 classes and does not name them"):
        given.detector(["a", "b", "c"])
    assert given.detector([]).names == ("0", "1")


@pytest.mark.parametrize(
    ("layout", "classes", "person", "toothbrush", "words"),
    [
        ("detr", 91, 1, 90, "COCO's category ids"),
        ("detr", 80, 0, 79, ""),
        ("anchors", 90, 0, 89, "COCO's category ids less one"),
        ("ssd", None, 0, 89, "COCO's category ids less one (TensorFlow's)"),
        ("torchvision", None, 1, 90, "COCO's category ids"),
        ("rtdetr", None, 0, 79, ""),
        ("nms-in-graph", None, 0, 79, ""),
    ],
)
def test_numbers_of_cocos_classes_are_those_of_the_family(
    layout: Any, classes: int | None, person: int, toothbrush: int, words: str
) -> None:
    given = GivenArtifact("x", Path("my.onnx"), classes=classes, output=OutputSpec(layout))
    names = given.detector(COCO_NAMES).names
    assert (names[person], names[toothbrush]) == ("person", "toothbrush")
    assert [word for word in names if word != "N/A"] == list(COCO_NAMES)
    assert any(words in remark for remark in given.remarks(COCO_NAMES)) is bool(words)


def test_numbers_of_other_classes_are_those_of_the_family() -> None:
    def names(layout: Any) -> tuple[str, ...]:
        output = OutputSpec(layout)
        return GivenArtifact("x", Path("my.onnx"), output=output).detector(["a", "b"]).names

    assert names("torchvision") == ("background", "a", "b")
    assert names("ssd") == names("rtdetr") == ("a", "b")
    assert (len(COCO_CATEGORY_NAMES), COCO_CATEGORY_NAMES[13]) == (91, "stop sign")


def test_what_no_file_tells_is_remarked_on() -> None:
    given = GivenArtifact("x", Path("my.onnx"), family="rtdetr", output=OutputSpec("rtdetr"))
    assert "DEIMv2" in given.remarks(["a"])[0]
    for told in (ReadAs("dfine"), ReadAs(input={"mean": (0, 0, 0)})):
        assert not dataclasses.replace(given, told=told).remarks(["a"])


@pytest.mark.heavy
@pytest.mark.real
def test_an_export_of_ultralytics_is_measured_as_it_is(
    deploymark: CommandLine, digits: Path
) -> None:
    pytest.importorskip("ultralytics")
    pytest.importorskip("onnxruntime")
    from ultralytics import YOLO

    checkpoint = deploymark.folder / "digits.pt"
    checkpoint.write_bytes((digits / "digits.pt").read_bytes())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        exported = Path(
            YOLO(checkpoint).export(format="onnx", imgsz=160, simplify=False, verbose=False)
        )
    before = exported.read_bytes()
    matrix = {
        "models": [
            {"artifact": exported.name, "data": "builtin:digits", "name": "theirs"},
            {"path": "builtin:digits", "data": "builtin:digits", "name": "ours"},
            {
                "artifact": exported.name,
                "data": "builtin:digits",
                "name": "odd",
                "precision": "int8-weights",
            },
        ],
        "backends": ["onnxruntime"],
        "imgsz": [160],
        "scoring": {"max_images": 24},
        "measure": {
            "launches": 1,
            "target_interval": None,
            "warmup_max_s": 0.3,
            "latency_s": 0.1,
            "min_iterations": 5,
        },
        "validity": {"enabled": False},
    }
    (deploymark.folder / "m.yaml").write_text(json.dumps(matrix))
    listed = deploymark("list", "m.yaml")
    assert "3 cells of" in listed.stdout, listed.stdout + listed.stderr
    done = deploymark("run", "m.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    cells = json.loads((deploymark.latest / "cells.json").read_text())
    theirs, ours, odd = cells
    assert theirs["cell"] == "theirs-as-is-fp32-onnxruntime-cpu-160"
    assert theirs["status"] == ours["status"] == "ok"
    assert theirs["map50_95"] == pytest.approx(ours["map50_95"], abs=1e-3)
    assert theirs["artifact_bytes"] == len(before)
    # No export of ours has it, and the file is there: it is tried, and remarked on.
    assert odd["status"] == "ok"
    assert odd["map50_95"] == pytest.approx(theirs["map50_95"])
    assert any("onnxruntime has no int8-weights on cpu" in words for words in odd["warnings"])
    assert theirs["sparsity"] is theirs["params"] is None
    info = json.loads((deploymark.latest / "run.json").read_text())
    assert info["artifacts_built"] + info["artifacts_reused"] == 1
    assert exported.read_bytes() == before
    assert "theirs-as-is" in (deploymark.latest / "report.html").read_text()

    exported.write_bytes(before[: len(before) // 2])
    done = deploymark("run", "--model", exported.name, "--data", "builtin:digits")
    assert done.returncode == 2
    assert "onnxruntime cannot read it" in done.stderr
    assert exported.name in done.stderr

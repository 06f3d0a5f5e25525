"""Exported files of many conventions, measured as they are, through the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests import onnx_changes

if TYPE_CHECKING:
    from conftest import CommandLine

pytestmark = pytest.mark.heavy

QUICK = {
    "measure": {
        "launches": 1,
        "target_interval": None,
        "warmup_max_s": 0.2,
        "latency_s": 0.1,
        "min_iterations": 3,
        "e2e_iterations": 2,
    },
    "validity": {"enabled": False},
}
DIGITS = {"path": "builtin:digits", "data": "builtin:digits"}


def measured(
    deploymark: CommandLine, models: Sequence[Mapping[str, Any]], **more: Any
) -> dict[str, dict[str, Any]]:
    """The cells of a run, by id."""
    matrix = {"models": models, "backends": ["onnxruntime"], **QUICK, **more}
    (deploymark.folder / "m.yaml").write_text(json.dumps(matrix))
    done = deploymark("run", "m.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    cells = json.loads((deploymark.latest / "cells.json").read_text())
    return {cell["cell"]: cell for cell in cells}


def exported(deploymark: CommandLine, models: Sequence[Mapping[str, Any]], **more: Any) -> Path:
    """The FP32 ONNX file that a run made of its only model."""
    (cell,) = measured(deploymark, models, **more).values()
    store = Path(os.environ["DEPLOYMARK_CACHE"]) / "artifacts"
    found = [
        path.parent
        for path in store.glob("*/*/manifest.json")
        if json.loads(path.read_text())["sha256"] == cell["artifact_sha256"]
    ]
    return found[0] / "files" / "model.onnx"


@pytest.fixture
def good(deploymark: CommandLine) -> Path:
    """Our own export of the embedded detector, whose 10 classes it does not name."""
    for package in ("ultralytics", "onnx", "onnxruntime"):
        pytest.importorskip(package)
    small = {"imgsz": [160], "scoring": {"max_images": 12}}
    made = exported(deploymark, [DIGITS], **small)
    copy = deploymark.folder / "good.onnx"
    copy.write_bytes(made.read_bytes())
    return copy


def test_every_convention_scores_as_the_source_does(deploymark: CommandLine, good: Path) -> None:
    pytest.importorskip("openvino")
    folder = deploymark.folder
    onnx_changes.shares(good, folder / "shares.onnx")
    onnx_changes.turned(good, folder / "turned.onnx")
    onnx_changes.with_objectness(good, folder / "v5.onnx")
    onnx_changes.of_0_to_255(good, folder / "range.onnx")
    onnx_changes.of_bytes(good, folder / "bytes.onnx")
    (folder / "UPPER.ONNX").write_bytes(good.read_bytes())
    names = str({index: str(index) for index in range(10)})
    args = {"names": names, "task": "detect", "stride": "32", "args": str({"nms": False})}
    onnx_changes.with_metadata(folder / "turned.onnx", folder / "noted.onnx", **args)

    def model(name: str, **said: Any) -> dict[str, Any]:
        return {"artifact": name, "data": "builtin:digits", **said}

    models = [
        model("good.onnx"),
        model("shares.onnx", boxes="normalised"),
        model("turned.onnx", family="yolov8"),
        model("v5.onnx", family="yolov5"),
        model("range.onnx", input={"range": [0, 255]}),
        model("bytes.onnx"),
        model("noted.onnx"),
        model("UPPER.ONNX"),
    ]
    cells = measured(
        deploymark, models, backends=["onnxruntime", "openvino"], scoring={"max_images": 12}
    )
    assert len(cells) == 2 * len(models)
    expected = cells["good-as-is-fp32-onnxruntime-cpu-160"]["map50_95"]
    assert expected > 0.5
    for cell in cells.values():
        assert cell["status"] == "ok", cell
        assert cell["map50_95"] == pytest.approx(expected, abs=0.003), cell["cell"]
    told = {
        item["name"]: item
        for item in json.loads((deploymark.latest / "run.json").read_text())["models"]
    }
    assert told["shares"]["output"]["boxes"] == "normalised"
    taken = {"dtype": "uint8", "channels_last": True, "range": [0, 255]}
    assert taken.items() <= told["bytes"]["input"].items()
    assert told["v5"]["output"]["layout"] == "yolov5"
    assert told["v5"]["family"] == "yolov5"


def test_what_is_said_of_a_file_is_said_on_the_command_line(
    deploymark: CommandLine, good: Path
) -> None:
    onnx_changes.shares(good, deploymark.folder / "my.onnx")
    file = ["--model", "my.onnx", "--data", "builtin:digits"]
    done = deploymark("list", *file, "--boxes", "normalised", "--family", "yolov8")
    assert done.returncode == 0, done.stderr
    for options, words in (
        (["--imgsz", "320"], "--imgsz 320: my.onnx is fixed at 160 px"),
        (["--backends", "torch"], "--backends torch: torch does not open .onnx"),
        (["--precisions", "int8"], "--precisions int8: my.onnx is fp32 as it is"),
        (["--family", "yolov5"], "--model my.onnx: onnxruntime cannot read it"),
        (["--family", "yolo5"], "--family yolo5: expected yolov5, yolov8,"),
        (["--input-range", "0,2"], "--input-range 0,2: expected 0,1, 0,255 or -1,1"),
    ):
        texts = [deploymark(command, *file, *options) for command in ("run", "list")]
        for text in texts:
            assert text.returncode == 2, text.stdout
            assert words in text.stderr
            assert "yaml:" not in text.stderr
            assert "Traceback" not in text.stderr
        assert texts[0].stderr == texts[1].stderr


def test_a_file_that_cannot_be_told_is_refused_with_what_it_may_be(
    deploymark: CommandLine, good: Path
) -> None:
    onnx_changes.with_objectness(good, deploymark.folder / "one.onnx", classes=1)
    (deploymark.folder / "photos").mkdir()
    from PIL import Image

    Image.new("RGB", (64, 48)).save(deploymark.folder / "photos" / "a.jpg")
    for data in ("builtin:digits", "photos"):
        done = deploymark("run", "--model", "one.onnx", "--data", data)
        assert done.returncode == 2
        assert "an output of shape (1, 525, 6)" in done.stderr
        assert "`family: yolov5`" in done.stderr
        assert not deploymark.latest.with_name("nothing").exists()


def test_a_floor_of_scores_in_the_file_is_told(deploymark: CommandLine, good: Path) -> None:
    names = str({index: str(index) for index in range(10)})
    notes = {"names": names, "task": "detect", "stride": "32", "args": str({"nms": True})}
    from onnx import helper

    change = onnx_changes.Change(good)
    change.constant("begin", [0], "int64")
    change.constant("end", [100], "int64")
    change.constant("axis", [1], "int64")
    nodes = [
        helper.make_node("Transpose", [change.output], ["t"], perm=[0, 2, 1]),
        helper.make_node("Slice", ["t", "begin", "end", "axis"], ["s"]),
    ]
    change.constant("six", [6], "int64")
    change.constant("two", [2], "int64")
    nodes.append(helper.make_node("Slice", ["s", "begin", "six", "two"], ["o"]))
    change.behind((1, 100, 6), *nodes)
    for key, value in notes.items():
        entry = change.model.metadata_props.add()
        entry.key, entry.value = key, value
    change.save(deploymark.folder / "nms.onnx")
    models = [{"artifact": "nms.onnx", "data": "builtin:digits"}]
    (deploymark.folder / "m.yaml").write_text(
        json.dumps({"models": models, "scoring": {"max_images": 4}, **QUICK})
    )
    deploymark("run", "m.yaml")
    (cell,) = json.loads((deploymark.latest / "cells.json").read_text())
    assert any("scores below 0.25 are cut in the file" in text for text in cell["warnings"])


def test_files_that_are_no_models_say_so_in_run_and_list(deploymark: CommandLine) -> None:
    folder = deploymark.folder
    (folder / "a.onnx").write_text("<!DOCTYPE html><html></html>")
    (folder / "b.onnx").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    (folder / "c.pt").write_bytes(b"PK\x03\x04 cut off")
    for name, words in (
        ("a.onnx", "--model a.onnx: a.onnx is a web page (HTML)"),
        ("b.onnx", "git lfs pull"),
        ("c.pt", "--model c.pt: c.pt is a ZIP archive that is cut off"),
        ("https://a.b/c.onnx", "that is an address"),
    ):
        for command in ("run", "list"):
            done = deploymark(command, "--model", name, "--data", "builtin:digits")
            assert done.returncode == 2
            assert words in done.stderr
            assert "Protobuf" not in done.stderr


def test_two_models_of_one_name_are_pointed_at_name(deploymark: CommandLine, good: Path) -> None:
    for folder in ("a", "b"):
        (deploymark.folder / folder).mkdir()
        (deploymark.folder / folder / "best.onnx").write_bytes(good.read_bytes())
    models = [{"artifact": f"{name}/best.onnx", "data": "builtin:digits"} for name in "ab"]
    (deploymark.folder / "m.yaml").write_text(json.dumps({"models": models}))
    done = deploymark("list", "m.yaml")
    assert done.returncode == 2
    assert "two models are called 'best'" in done.stderr
    assert "`name: other`" in done.stderr


@pytest.mark.real
def test_the_cases_that_people_brought(
    deploymark: CommandLine, coco_mini: Path, cases: Path
) -> None:
    for package in ("ultralytics", "onnx", "onnxruntime", "openvino"):
        pytest.importorskip(package)
    source = {"path": str(coco_mini / "yolo11n-coco.pt"), "data": str(coco_mini / "data.yaml")}
    good = exported(deploymark, [{**source, "name": "source"}], imgsz=[320])
    folder = deploymark.folder / "made"
    make = [sys.executable, str(cases / "make_models.py"), str(good), str(folder)]
    subprocess.run(make, check=True, capture_output=True)
    person = _one_class(coco_mini, deploymark.folder / "person")

    def model(name: str, data: str | None = None, **said: Any) -> dict[str, Any]:
        return {"artifact": f"made/{name}.onnx", "data": data or source["data"], **said}

    cells = measured(
        deploymark,
        [
            {**source, "name": "source"},
            {**source, "data": person, "name": "person"},
            model("normalised_boxes", boxes="normalised"),
            model("takes_0_255", input={"range": [0, 255]}),
            model("uint8_nhwc"),
            model("transposed", family="yolov8"),
            model("yolov5", family="yolov5"),
            model("yolov5_one_class", person, family="yolov5"),
        ],
        backends=["onnxruntime", "openvino"],
        imgsz=[320],
    )
    for backend in ("onnxruntime", "openvino"):
        score = {
            name.partition("-")[0]: cell["map50_95"]
            for name, cell in cells.items()
            if backend in name
        }
        assert score["yolov5_one_class"] == pytest.approx(score["person"], abs=0.002)
        for name in ("normalised_boxes", "takes_0_255", "uint8_nhwc", "transposed", "yolov5"):
            assert score[name] == pytest.approx(score["source"], abs=0.002), name
    for name, words in (
        ("failed_download", "a web page (HTML)"),
        ("lfs_pointer", "git lfs pull"),
        ("yolov5", "may be YOLOv5's of 80 classes"),
        ("transposed", "may be"),
        ("yolov5_one_class", "finished detections"),
    ):
        done = deploymark("run", "--model", f"made/{name}.onnx", "--data", source["data"])
        assert done.returncode == 2
        assert words in done.stderr


def _one_class(coco_mini: Path, target: Path) -> str:
    """The photos with the boxes of people alone, in a data set of that one class."""
    for name in ("val", "calib"):
        (target / "labels" / name).mkdir(parents=True)
        (target / "images").mkdir(exist_ok=True)
        for image in (coco_mini / "images" / name).iterdir():
            (target / "images" / name).mkdir(exist_ok=True)
            (target / "images" / name / image.name).write_bytes(image.read_bytes())
        for label in (coco_mini / "labels" / name).iterdir():
            lines = [line for line in label.read_text().splitlines() if line.startswith("0 ")]
            (target / "labels" / name / label.name).write_text("\n".join(lines))
    data = target / "data.yaml"
    data.write_text("train: images/calib\nval: images/val\nnames: [person]\n")
    return str(data)

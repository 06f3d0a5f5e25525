"""Data sets that once were measured wrongly or refused: ``data`` of the shared cases.

The boxes are those that the detector finds on the one photo, by a whole run of ``coco_ok``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from deploymark.backends.inputs import square_input
from deploymark.bench.data.class_names import ClassMatch, compare_classes, match_names
from deploymark.bench.data.coco_names import COCO_NAMES
from deploymark.bench.data.datasets import Dataset, DataSource
from deploymark.bench.errors import BadInputError
from deploymark.bench.score.average_precision import score
from deploymark.bench.worker.detections import load_detections
from deploymark.bench.worker.letterbox import geometry
from tests.data_sets import load

REFERENCE = 0.608

RUN = """
models:
  - {path: DETECTOR, data: DATA, name: m}
imgsz: [320]
backends: [onnxruntime]
measure: {launches: 1, max_launches: 1, target_interval: null, warmup_max_s: 0.1, latency_s: 0.05,
          min_iterations: 2, max_iterations: 5, e2e_iterations: 2}
validity: {enabled: false}
"""


def source_of(cases: Path, name: str) -> DataSource:
    folder = cases / "data" / name
    if name.startswith("coco_"):
        return DataSource(name, annotations=folder / "instances_val.json")
    return DataSource(name, yaml=folder / "data.yaml")


def read(cases: Path, name: str, **options: Any) -> Dataset:
    return load(source_of(cases, name), **options)


def match(dataset: Dataset) -> ClassMatch:
    class_map = match_names(dataset.names, COCO_NAMES)
    return compare_classes(
        dataset.name, dataset.boxes_by_class(), dataset.names, COCO_NAMES, class_map
    )


@pytest.fixture(scope="module")
def detections(
    cases: Path, coco_mini: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Any, dict[str, Any]]:
    """What the detector finds on the photo, and the cell of the run that found it."""
    pytest.importorskip("ultralytics")
    pytest.importorskip("onnxruntime")
    folder = tmp_path_factory.mktemp("cases")
    text = RUN.replace("DETECTOR", str(coco_mini / "yolo11n-coco.pt"))
    data = cases / "data" / "coco_ok" / "instances_val.json"
    (folder / "m.yaml").write_text(text.replace("DATA", str(data)))
    command = [sys.executable, "-m", "deploymark", "run", "m.yaml"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    latest = folder / "results" / "latest"
    cell = json.loads((latest / "cells.json").read_text())[0]
    boxes = load_detections(next((latest / "predictions").glob("*.npz")))
    return boxes, {"cell": cell, "stderr": done.stderr, "folder": latest}


def map_of(dataset: Dataset, boxes: Any) -> float:
    places = [geometry(image.width, image.height, square_input(320)) for image in dataset.scored]
    class_map = match_names(dataset.names, COCO_NAMES)
    return score(dataset.scored, boxes, places, class_map).map50_95


@pytest.mark.heavy
@pytest.mark.parametrize(
    "name",
    [
        "03_train_is_val",
        "04_pose_as_polygon",
        "08_heic_left_out",
        "09_nc_string",
        "11_train_missing_fp32_only",
        "12_zero_size_box",
        "coco_ok",
        "coco_bom",
        "coco_duplicate_annotations",
        "coco_iscrowd_text_0",
        "coco_width_as_text",
    ],
)
def test_scores_what_the_reference_scores(cases: Path, detections: Any, name: str) -> None:
    assert map_of(read(cases, name), detections[0]) == pytest.approx(REFERENCE, abs=1e-3)


@pytest.mark.heavy
def test_the_run_says_what_there_is(detections: Any) -> None:
    run = detections[1]
    assert run["cell"]["map50_95"] == pytest.approx(REFERENCE, abs=1e-3)
    assert "m: 1 image with 2 boxes of 2 classes" in run["stderr"]
    info = json.loads((run["folder"] / "run.json").read_text())
    assert info["datasets"][0]["census"]["boxes"] == 2
    assert "1 image is few" in (run["folder"] / "summary.md").read_text()


def test_an_unmatched_class_is_named_with_its_boxes(cases: Path) -> None:
    dataset = read(cases, "01_names_unmatched")
    assert match(dataset).only_in_data == (
        {"name": "baseball glove (renamed)", "boxes": 1, "did_you_mean": "baseball glove"},
    )
    assert "did you mean 'baseball glove'?" in dataset.census.lines(match(dataset))[1]


def test_train_that_is_val_calibrates_on_nothing_that_is_scored(cases: Path) -> None:
    dataset = read(cases, "03_train_is_val", calibration=4)
    assert (dataset.calibration, len(dataset.scored)) == ((), 1)
    assert "its train split has no others" in dataset.calibration_lacks


def test_what_was_not_scored_is_counted(cases: Path) -> None:
    assert read(cases, "04_pose_as_polygon").census.told == {"keypoints": 2}
    assert read(cases, "08_heic_left_out").census.unread == {".heic": 1}
    assert read(cases, "12_zero_size_box").census.dropped == {"no_size": 1}
    assert read(cases, "coco_duplicate_annotations").census.dropped == {"repeated": 2}


def test_bad_lines_are_told_together_and_skipped(cases: Path) -> None:
    with pytest.raises(BadInputError) as caught:
        read(cases, "05_two_bad_lines")
    assert "a.txt:3: a coordinate outside" in caught.value.message
    assert "a.txt:4: class 99 is out of range" in caught.value.message
    census = read(cases, "05_two_bad_lines", on_fault="skip").census
    assert (census.rows, census.boxes, census.rows_skipped) == (4, 2, 2)


def test_int8_without_its_train_split_says_what_it_lacks(cases: Path) -> None:
    dataset = read(cases, "11_train_missing_fp32_only", calibration=4)
    assert "images/train: no such folder" in dataset.calibration_lacks


def test_no_box_of_a_common_class_is_refused(cases: Path) -> None:
    with pytest.raises(BadInputError, match="none of its 1 boxes is of a class"):
        match(read(cases, "13_no_box_of_a_common_class"))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("coco_area_text", r"annotations\[0\]: area 'big' is no number"),
        ("coco_category_ids_int_and_str", 'mixes ids that are numbers and .* such as "1"'),
        ("coco_normalised_boxes", "look like shares of the image"),
        ("coco_xyxy_boxes", r"look like \[x1, y1, x2, y2\]"),
    ],
)
def test_what_cannot_be_read_is_refused_with_a_guess(cases: Path, name: str, words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        read(cases, name)

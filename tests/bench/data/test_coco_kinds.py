"""Kinds of COCO JSON that people have, each with what becomes of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from deploymark.bench.errors import BadInputError
from tests.data_sets import boxes_of, coco, document, load

BOXES = [[2, 2, 10, 10], [20, 5, 10, 10], [3, 3, 8, 9]]


def damaged(key: str, index: int, **values: Any) -> dict[str, Any]:
    found = document(BOXES)
    found[key][index].update(values)
    return found


@pytest.mark.parametrize(
    ("key", "value", "kind"),
    [
        ("area", "big", "coco_number"),
        ("area", [], "coco_number"),
        ("iscrowd", "maybe", "coco_number"),
        ("bbox", [1, "two", 3, 4], "coco_number"),
        ("bbox", "1 2 3 4", "coco_bbox"),
        ("bbox", [1, 2, 3], "coco_bbox"),
        ("bbox", [1, 2, -3, 4], "coco_bbox"),
        ("bbox", [1, 2, float("nan"), 4], "coco_bbox"),
        ("bbox", [1, 2, 10**400, 4], "coco_bbox"),
        ("bbox", [100, 100, 10, 10], "coco_outside"),
        ("image_id", "0", "coco_image_id"),
        ("image_id", 9, "coco_image_id"),
        ("image_id", None, "coco_image_id"),
        ("image_id", [0], "coco_image_id"),
        ("category_id", "1", "coco_category_id"),
        ("category_id", 7, "coco_category_id"),
        ("category_id", True, "coco_category_id"),
    ],
)
def test_a_bad_annotation_is_refused_or_skipped(
    tmp_path: Path, key: str, value: Any, kind: str
) -> None:
    source = coco(tmp_path, damaged("annotations", 0, **{key: value}))
    with pytest.raises(BadInputError, match=r"annotations\[0\]: ") as caught:
        load(source)
    assert "--skip-bad" in caught.value.remedy
    census = load(source, "skip").census
    assert [fault["kind"] for fault in census.faults] == [kind]
    assert (census.rows, census.boxes, census.rows_skipped) == (3, 2, 1)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("area", "100.5"),
        ("iscrowd", "0"),
        ("iscrowd", False),
        ("bbox", ["2", "2", "10", "10"]),
        ("image_id", 0.0),
    ],
)
def test_numbers_as_text_are_read(tmp_path: Path, key: str, value: Any) -> None:
    dataset = load(coco(tmp_path, damaged("annotations", 0, **{key: value})))
    assert (dataset.census.boxes, dataset.census.crowd) == (3, 0)


def test_crowds_are_told_apart(tmp_path: Path) -> None:
    census = load(coco(tmp_path, damaged("annotations", 0, iscrowd="1"))).census
    assert (census.boxes, census.crowd) == (2, 1)
    assert "1 crowd region" in census.lines()[0]


@pytest.mark.parametrize("values", [{"width": "40"}, {"height": 20.0}, {"width": None}])
def test_sizes_may_be_text_or_missing(tmp_path: Path, values: dict[str, Any]) -> None:
    assert boxes_of(load(coco(tmp_path, damaged("images", 0, **values)))) == 3


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({"width": "wide"}, "coco_image_record"),
        ({"file_name": None}, "coco_image_record"),
        ({"id": {}}, "coco_image_record"),
        ({"width": 41}, "coco_size"),
        ({"file_name": "gone.png"}, "image_missing"),
        ({"file_name": "00.png"}, "image_twice"),
        ({"id": 0}, "image_twice"),
    ],
)
def test_a_bad_image_is_refused_or_skipped(
    tmp_path: Path, values: dict[str, Any], kind: str
) -> None:
    found = document(BOXES * 2, images=2)
    found["annotations"] = found["annotations"][:4]
    found["images"][1].update(values)
    source = coco(tmp_path, found)
    with pytest.raises(BadInputError, match="--skip-bad"):
        load(source)
    census = load(source, "skip").census
    assert kind in [fault["kind"] for fault in census.faults]
    assert (census.listed, census.images, census.skipped) == (2, 1, 1)
    elsewhere = census.rows_skipped + census.rows_elsewhere + sum(census.dropped.values())
    assert census.rows == census.boxes + elsewhere == 4


def test_repeated_annotations_and_those_of_no_size_are_dropped(tmp_path: Path) -> None:
    found = document([*BOXES, [5, 5, 0, 3]])
    found["annotations"] += [
        {**item, "id": 100 + index} for index, item in enumerate(found["annotations"])
    ]
    census = load(coco(tmp_path, found)).census
    assert census.boxes == 3
    assert census.dropped == {"repeated": 4, "no_size": 1}


def test_a_root_category_is_no_class(tmp_path: Path) -> None:
    found = document(BOXES)
    for category in found["categories"]:
        category["supercategory"] = "animals"
    found["categories"].insert(0, {"id": 0, "name": "animals", "supercategory": "none"})
    dataset = load(coco(tmp_path, found))
    assert dataset.names == ("cat", "dog")
    assert dataset.census.root_category == "animals"
    assert dataset.census.classes == {"cat": 2, "dog": 1}
    found["annotations"][0]["category_id"] = 0
    assert load(coco(tmp_path, found)).names == ("animals", "cat", "dog")


@pytest.mark.parametrize(
    ("boxes", "words"),
    [
        ([[0.1, 0.2, 0.3, 0.4], [0.5, 0.5, 0.5, 0.5]], "look like shares of the image"),
        ([[10, 5, 30, 15], [22, 8, 38, 19]], r"look like \[x1, y1, x2, y2\]"),
    ],
)
def test_boxes_of_another_kind_are_guessed(
    tmp_path: Path, boxes: list[list[float]], words: str
) -> None:
    source = coco(tmp_path, document(boxes))
    for on_fault in ("refuse", "skip"):
        with pytest.raises(BadInputError, match=words):
            load(source, on_fault)  # type: ignore[arg-type]


def test_what_sticks_out_is_clipped_and_counted(tmp_path: Path) -> None:
    dataset = load(coco(tmp_path, document([*BOXES, [30, 10, 15, 10.1]])))
    assert dataset.scored[0].boxes[3].tolist() == [30, 10, 40, 20]
    assert dataset.census.told == {"clipped": 1}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le"])
def test_any_encoding_of_an_editor_is_read(tmp_path: Path, encoding: str) -> None:
    assert boxes_of(load(coco(tmp_path, json.dumps(document(BOXES)).encode(encoding)))) == 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"categories": [{"id": 1, "name": "a"}, {"id": "2", "name": "b"}]},
            'ids that are text, such as "2"',
        ),
        ({"categories": [{"id": None, "name": "a"}]}, r"categories\[0\]: id None"),
        ({"categories": ["a"]}, r"categories\[0\]: needs id, name"),
        ({"annotations": {}}, "no list `annotations`"),
        ({"annotations": []}, "no box on any of the 1 images"),
        ({"images": [3]}, r"images\[0\]: needs id, file_name"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    with pytest.raises(BadInputError, match=words):
        load(coco(tmp_path, {**document(BOXES), **change}))


def test_predictions_are_no_labels(tmp_path: Path) -> None:
    found = [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}]
    with pytest.raises(BadInputError, match="looks like predictions"):
        load(coco(tmp_path, json.dumps(found).encode()))


@pytest.mark.parametrize("name", ["photos/00.png", "photos\\00.png", "http://x.org/a/00.png"])
def test_names_with_folders_that_are_not_here(tmp_path: Path, name: str) -> None:
    dataset = load(coco(tmp_path, damaged("images", 0, file_name=name)))
    assert dataset.scored[0].path == tmp_path / "00.png"


def test_depth_beyond_reading_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="not JSON"):
        load(coco(tmp_path, b"[" * 200_000))

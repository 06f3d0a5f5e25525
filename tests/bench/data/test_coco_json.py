from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deploymark.bench.data.coco_json import read_coco_json
from deploymark.bench.data.datasets import DataSource, load_dataset
from deploymark.bench.errors import BadInputError

DOCUMENT: dict[str, Any] = {
    "images": [
        {"id": 42, "file_name": "b.jpg", "width": 40, "height": 20},
        {"id": 7, "file_name": "a.jpg", "width": 20, "height": 40},
    ],
    "annotations": [
        {
            "id": 1,
            "image_id": 7,
            "category_id": 90,
            "bbox": [1, 2, 3, 4],
            "area": 5.5,
            "iscrowd": 0,
        },
        {
            "id": 2,
            "image_id": 7,
            "category_id": 3,
            "bbox": [0, 0, 20, 40],
            "area": 99,
            "iscrowd": 1,
        },
        {"id": 3, "image_id": 7, "category_id": 3, "bbox": [5, 5, 2, 3]},
    ],
    "categories": [{"id": 90, "name": "toothbrush"}, {"id": 3, "name": "car"}],
}


def write(folder: Path, document: Any, name: str = "instances_val2017.json") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def write_images(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for record in DOCUMENT["images"]:
        size = (record["width"], record["height"])
        Image.new("RGB", size).save(folder / record["file_name"])
    return folder


def test_reads_images_in_order_and_sparse_categories(tmp_path: Path) -> None:
    images = write_images(tmp_path / "photos")
    names, labels = read_coco_json(write(tmp_path, DOCUMENT), images)
    assert names == ("car", "toothbrush")
    assert [image.path.name for image in labels] == ["b.jpg", "a.jpg"]
    assert labels[0].boxes.shape == (0, 4)
    np.testing.assert_array_equal(labels[1].boxes, [[1, 2, 4, 6], [0, 0, 20, 40], [5, 5, 7, 8]])
    assert labels[1].classes.tolist() == [1, 0, 0]
    assert labels[1].areas.tolist() == [5.5, 99.0, 6.0]
    assert labels[1].crowd.tolist() == [False, True, False]
    assert (labels[1].width, labels[1].height) == (20, 40)


@pytest.mark.parametrize(
    ("json_name", "folder"),
    [
        ("instances_val2017.json", "annotations"),
        ("instances_val2017.json", "annotations/images"),
        ("instances_val2017.json", "images"),
        ("instances_val2017.json", "images/val2017"),
        ("instances_val2017.json", "val2017"),
        ("instances_val.json", "images/val"),
        ("instances_val.json", "images/val2017"),
        ("instances_val.json", "val2017"),
        ("_annotations.coco.json", "annotations"),
    ],
)
def test_finds_the_images(tmp_path: Path, json_name: str, folder: str) -> None:
    write_images(tmp_path / folder)
    path = write(tmp_path / "annotations", DOCUMENT, json_name)
    _, labels = read_coco_json(path)
    assert labels[0].path == tmp_path / folder / "b.jpg"


def test_says_where_it_looked(tmp_path: Path) -> None:
    path = write(tmp_path / "annotations", DOCUMENT)
    with pytest.raises(BadInputError, match=r"b\.jpg is not in .*annotations, .*images/val2017"):
        read_coco_json(path)
    with pytest.raises(BadInputError) as caught:
        read_coco_json(path, tmp_path / "elsewhere")
    assert caught.value.message.endswith(f"b.jpg is not in {tmp_path / 'elsewhere'}")


def test_missing_images_are_counted(tmp_path: Path) -> None:
    write_images(tmp_path)
    (tmp_path / "a.jpg").unlink()
    source = DataSource("d", annotations=write(tmp_path, DOCUMENT))
    with pytest.raises(BadInputError, match=r"an image that is not there: .*a\.jpg: No such file"):
        load_dataset(source, calibration_images=0, max_images=None, seed=0)


def test_another_size_than_the_file_is_told(tmp_path: Path) -> None:
    write_images(tmp_path)
    document = copy.deepcopy(DOCUMENT)
    document["images"][1]["width"] = 21
    with pytest.raises(BadInputError, match=r"a\.jpg is 21 x 40 pixels, but upright it is 20 x 40"):
        read_coco_json(write(tmp_path, document))


def changed(key: str, index: int, **values: Any) -> dict[str, Any]:
    document = copy.deepcopy(DOCUMENT)
    document[key][index].update(values)
    return document


def without(key: str, index: int, name: str) -> dict[str, Any]:
    document = copy.deepcopy(DOCUMENT)
    del document[key][index][name]
    return document


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("{", r"instances_val2017\.json:1:2: not JSON"),
        ([], "is no COCO JSON: it has no list `images`"),
        ({"images": [], "annotations": []}, "it has no list `categories`"),
        ({**DOCUMENT, "images": []}, "`images` is empty"),
        ({**DOCUMENT, "categories": []}, "`categories` is empty"),
        (changed("categories", 0, id=3), "gives an id twice"),
        (
            changed("annotations", 1, image_id=8),
            r"annotations\[1\]: image_id 8 is no id of `images`",
        ),
        (changed("annotations", 2, category_id=1), r"annotations\[2\]: category_id 1 is no id of"),
        (changed("annotations", 0, bbox=[1, 2, 3]), r"annotations\[0\]: bbox must be"),
        (changed("annotations", 0, bbox=None), r"annotations\[0\]: bbox must be"),
        (changed("annotations", 0, bbox=[1, 2, -3, 4]), r"annotations\[0\]: .* is no box"),
        (without("annotations", 1, "bbox"), r"annotations\[1\]: needs image_id, category_id, bbox"),
        (without("images", 0, "file_name"), r"images\[0\]: needs id, file_name"),
    ],
)
def test_errors_say_where(tmp_path: Path, document: Any, message: str) -> None:
    write_images(tmp_path)
    with pytest.raises(BadInputError, match=message):
        read_coco_json(write(tmp_path, document))


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no such file"):
        read_coco_json(tmp_path / "instances_val.json")


def test_real_photos(coco_mini: Path) -> None:
    names, labels = read_coco_json(coco_mini / "annotations" / "instances_val.json")
    assert len(labels) == 100
    assert "toothbrush" in names
    assert sum(int(image.crowd.sum()) for image in labels) > 0

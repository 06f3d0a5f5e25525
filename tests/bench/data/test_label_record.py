from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deploymark.bench.data.datasets import Dataset
from deploymark.bench.data.label_record import dump_labels, read_labels
from deploymark.bench.data.labels import ImageLabels
from deploymark.bench.errors import BadInputError


@pytest.fixture
def dataset() -> Dataset:
    boxed = ImageLabels(
        path=Path("/far/away/a.jpg"),
        width=640,
        height=480,
        boxes=np.array([[1.5, 2, 30, 40.25], [0, 0, 640, 480]]),
        classes=np.array([1, 0]),
        areas=np.array([1090.125, 307200.0]),
        crowd=np.array([False, True]),
    )
    empty = ImageLabels(
        Path("b.jpg"), 10, 20, np.zeros((0, 4)), np.zeros(0, int), np.zeros(0), np.zeros(0, bool)
    )
    return Dataset(
        name="d",
        names=("cat", "dog"),
        scored=(boxed, empty),
        calibration=(Path("/far/away/c.jpg"),),
        calibration_source="train",
        scored_hash="a" * 64,
        calibration_hash="b" * 64,
    )


def test_labels_come_back_without_their_folders(dataset: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    path.write_text(dump_labels(dataset))
    assert "/far" not in path.read_text()
    back = read_labels(path)
    assert back.names == dataset.names
    assert back.boxes_by_class() == dataset.boxes_by_class()
    assert [image.path.name for image in back.scored] == ["a.jpg", "b.jpg"]
    for one, other in zip(back.scored, dataset.scored, strict=True):
        for name in ("boxes", "classes", "areas", "crowd"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
            assert getattr(one, name).shape == getattr(other, name).shape
    assert back.census.record() == dataset.census.record()
    assert (back.scored_hash, back.calibration_source) == ("a" * 64, "train")


@pytest.mark.parametrize(
    "change",
    [
        {"version": 9},
        {"images": 3},
        {"images": [{"name": "a", "width": 1, "height": 1, "boxes": [[0, 0, 1, 1]]}]},
        {"names": []},
    ],
)
def test_what_is_no_record_is_told(
    dataset: Dataset, tmp_path: Path, change: dict[str, Any]
) -> None:
    path = tmp_path / "labels.json"
    path.write_text(json.dumps({**json.loads(dump_labels(dataset)), **change}))
    with pytest.raises(BadInputError, match=r"labels\.json"):
        read_labels(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [("crowd", [False]), ("classes", [0, 7]), ("width", 0), ("boxes", [[0, 0, 1, 1e999], [0] * 4])],
)
def test_images_that_no_data_set_has(
    dataset: Dataset, tmp_path: Path, key: str, value: object
) -> None:
    values = json.loads(dump_labels(dataset))
    values["images"][0][key] = value
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(values))
    with pytest.raises(BadInputError, match=r"labels\.json"):
        read_labels(path)


def test_what_is_no_json(tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    for text in ("", "[" * 100_000, "null", "[]"):
        path.write_text(text)
        with pytest.raises(BadInputError, match=r"labels\.json"):
            read_labels(path)

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploymark.bench.data.labels import ImageLabels, label_path, yolo_labels
from deploymark.bench.errors import BadInputError


def read(tmp_path: Path, text: str, classes: int = 3, encoding: str = "utf-8") -> ImageLabels:
    image = tmp_path / "images" / "a.jpg"
    path = tmp_path / "labels" / "a.txt"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding=encoding)
    return yolo_labels(image, 200, 100, classes)


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("/d/images/val/a.jpg", "/d/labels/val/a.txt"),
        ("/images/images/a.b.png", "/images/labels/a.b.txt"),
        ("/d/photos/a.jpg", "/d/photos/a.txt"),
        ("/my.images/a.jpg", "/my.images/a.txt"),
    ],
)
def test_label_path_replaces_the_last_images_folder(image: str, label: str) -> None:
    assert label_path(Path(image)) == Path(label)


@pytest.mark.heavy
@settings(deadline=None)
@given(
    parts=st.lists(st.sampled_from(["images", "labels", "val", "a.b", "IMAGES"]), max_size=5),
    name=st.sampled_from(["x.jpg", "x.y.png", "images.jpg"]),
)
def test_label_path_is_that_of_ultralytics(parts: list[str], name: str) -> None:
    utils = pytest.importorskip("ultralytics.data.utils")
    image = Path("/", *parts, name)
    assert [str(label_path(image))] == utils.img2label_paths([image])


def test_boxes_become_corners_in_pixels(tmp_path: Path) -> None:
    labels = read(tmp_path, "0 0.5 0.5 0.5 0.2\n\n2 0.1 0.25 0.2 0.5\n")
    np.testing.assert_allclose(labels.boxes, [[50, 40, 150, 60], [0, 0, 40, 50]])
    assert labels.classes.tolist() == [0, 2]
    np.testing.assert_allclose(labels.areas, [2000, 2000])
    assert not labels.crowd.any()
    assert (labels.width, labels.height) == (200, 100)


def test_polygons_become_their_bounds(tmp_path: Path) -> None:
    labels = read(tmp_path, "1 0.1 0.2 0.5 0.3 0.3 0.8\n0 0 0 1 0 1 1 0 1\n")
    np.testing.assert_allclose(labels.boxes, [[20, 20, 100, 80], [0, 0, 200, 100]])
    assert labels.classes.tolist() == [1, 0]


def test_repeated_rows_count_once(tmp_path: Path) -> None:
    assert len(read(tmp_path, "0 .5 .5 .1 .1\n1 .5 .5 .1 .1\n0 0.5 0.5 0.1 0.1\n").boxes) == 2


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    assert len(read(tmp_path, "0 .5 .5 .1 .1", encoding="utf-8-sig").boxes) == 1


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_an_empty_file_is_background(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text).boxes.shape == (0, 4)


def test_no_file_is_background(tmp_path: Path) -> None:
    labels = yolo_labels(tmp_path / "images" / "a.jpg", 10, 10, 1)
    assert labels.boxes.shape == (0, 4)
    assert labels.classes.shape == (0,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 .5 .5 .1 .1\n0 .5 .5 .1", r"a\.txt:2: 4 columns, expected 5"),
        ("0 .5 .5 .1 .1 .9", r"a\.txt:1: 6 columns, expected 5"),
        ("0 .5 .5 .1 x", r"a\.txt:1: not all numbers"),
        (
            "3 .5 .5 .1 .1",
            r"a\.txt:1: class 3 is out of range, the data set has 3 names \(0 to 2\)",
        ),
        ("-1 .5 .5 .1 .1", r"class -1 is out of range"),
        ("0.5 .5 .5 .1 .1", r"the class 0\.5 is not a whole number"),
        ("nan .5 .5 .1 .1", r"the class nan is not a whole number"),
        ("0 50 40 10 10", r"a\.txt:1: a coordinate outside \[0, 1\]"),
        ("0 .5 .5 nan .1", r"a coordinate outside \[0, 1\]"),
        ("0 .5 .5 -0.005 .1", r"a negative width or height"),
        ("0 .1 .2 .5 .3 .3 .8 .4", r"a\.txt:1: 8 columns, expected 5"),
        ("0,.5,.5,.1,.1", r"commas or semicolons .*a\.txt:1: not all numbers"),
        ("0;.5;.5;.1;.1", r"commas or semicolons .*a\.txt:1: not all numbers"),
    ],
)
def test_a_bad_line_is_told_by_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        read(tmp_path, text)


def test_bytes_that_are_no_text_are_told(tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInputError, match=r"a\.txt: cannot be read"):
        yolo_labels(tmp_path / "images" / "a.jpg", 10, 10, 1)


def test_one_percent_outside_is_tolerated(tmp_path: Path) -> None:
    assert len(read(tmp_path, "0 1.005 -0.005 0.1 0.1").boxes) == 1

"""Kinds of label files that people have, each with what becomes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploymark.bench.errors import BadInputError
from tests.data_sets import boxes_of, load, write_image, yolo

GOOD = "0 .5 .5 .2 .2\n"


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("0,.5,.5,.1,.1", "label_separator"),
        ("0;.5;.5;.1;.1", "label_separator"),
        ("0, .5, .5, .1, .1", "label_separator"),
        ("cat .5 .5 .1 .1", "label_not_numbers"),
        ("0 .5 .5 .1 .1 .93", "label_score"),
        ("0 .5 .5 .1", "label_columns"),
        ("0 .5 .5 .1 .1 .2 .2 .3", "label_columns"),
        ("1.5 .5 .5 .1 .1", "label_class_not_whole"),
        ("3 .5 .5 .1 .1", "label_class_range"),
        ("-1 .5 .5 .1 .1", "label_class_range"),
        ("0 320 240 50 60", "label_coordinates"),
        ("0 .5 .5 inf .1", "label_coordinates"),
        ("0 .5 .5 -.005 .1", "label_negative_size"),
    ],
)
def test_a_bad_line_is_refused_or_skipped(tmp_path: Path, line: str, kind: str) -> None:
    source = yolo(tmp_path, [GOOD + line + "\n", GOOD])
    with pytest.raises(BadInputError, match=r"labels/val/00\.txt:2: ") as caught:
        load(source)
    assert "--skip-bad" in caught.value.remedy
    dataset = load(source, "skip")
    assert boxes_of(dataset) == 2
    census = dataset.census
    assert [(fault["kind"], fault["count"]) for fault in census.faults] == [(kind, 1)]
    assert (census.rows, census.boxes, census.rows_skipped) == (3, 2, 1)
    assert "Skipped for their faults: 1 row." in " ".join(census.notes())


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    bad = "9 .5 .5 .1 .1\n" * 4 + "0 .5 .5 .1\n" + "0 2 .5 .1 .1\n"
    source = yolo(tmp_path, [GOOD + bad, GOOD + bad])
    (tmp_path / "images" / "val" / "zz.jpg").write_bytes(b"")
    with pytest.raises(BadInputError) as caught:
        load(source)
    message = caught.value.message
    assert message.startswith("data set d: 13 faults of 4 kinds")
    for words in (
        "a class out of range (8)",
        "and 3 more",
        "another number of columns (2)",
        "a coordinate outside of the image (2)",
        "an empty file (1)",
        "zz.jpg: 0 bytes",
    ):
        assert words in message
    assert message.count("out of range, the data set has 3 names (0 to 2)") == 5


def test_boxes_of_no_size_and_repeated_ones_are_dropped_and_counted(tmp_path: Path) -> None:
    text = GOOD * 3 + "1 .5 .5 0 0\n1 .5 .5 0 .2\n2 .1 .1 .1 .3 .1 .2\n"
    census = load(yolo(tmp_path, [text])).census
    assert census.boxes == 1
    assert census.dropped == {"repeated": 2, "no_size": 3}
    assert (census.rows, census.told) == (6, {"polygons": 1})
    assert "2 repeated dropped; 3 of no size dropped" in census.lines()[1]


def test_boxes_and_polygons_in_one_file_are_each_read(tmp_path: Path) -> None:
    text = GOOD + "1 .1 .2 .5 .3 .3 .8\n"
    dataset = load(yolo(tmp_path, [text]))
    assert dataset.scored[0].boxes.tolist() == [[16, 8, 24, 12], [4, 4, 20, 16]]
    assert dataset.census.told == {"polygons": 1}


def test_keypoints_are_left_off_where_they_are_announced(tmp_path: Path) -> None:
    row = "0 .5 .5 .5 .5 " + ".5 .5 2 " * 2
    text = "val: images/val\nnames: [cat]\nkpt_shape: [2, 3]\n"
    dataset = load(yolo(tmp_path, [row, GOOD], text))
    assert dataset.scored[0].boxes.tolist() == [[10, 5, 30, 15]]
    assert dataset.census.told == {"keypoints": 1}
    assert "kpt_shape" in dataset.census.lines()[1]
    with pytest.raises(BadInputError, match="9 columns, expected 11 by `kpt_shape`"):
        load(yolo(tmp_path, ["0 .1 .1 .2 .2 .3 .3 .4 .4"], text))


@pytest.mark.parametrize("point", [".45 .55", ".45 .55 2"])
def test_keypoints_that_are_not_announced_are_guessed(tmp_path: Path, point: str) -> None:
    row = f"0 .5 .5 .5 .5 {' '.join([point] * 4)}\n"
    with pytest.raises(BadInputError, match=r"kpt_shape"):
        load(
            yolo(tmp_path, [row, row.replace(".45", ".46")]),
            "skip" if "2" not in point else "refuse",
        )


def test_oriented_boxes_are_read_as_their_bounding_boxes(tmp_path: Path) -> None:
    row = "0 .5 .1 .9 .5 .5 .9 .1 .5\n"
    text = "task: obb\nval: images/val\nnames: [cat]\n"
    dataset = load(yolo(tmp_path, [row], text))
    assert dataset.scored[0].boxes.tolist() == [[4, 2, 36, 18]]
    assert dataset.census.told == {"oriented": 1}


def test_corners_in_place_of_a_size_are_guessed(tmp_path: Path) -> None:
    rows = "".join(f"0 .{x}1 .{x}2 .{x + 3}5 .{x + 3}6\n" for x in range(2, 7))
    with pytest.raises(BadInputError, match="look like class x1 y1 x2 y2"):
        load(yolo(tmp_path, [rows + "0 .7 .6 .98 .97\n"]), "skip")


def test_what_sticks_out_is_clipped_and_counted(tmp_path: Path) -> None:
    dataset = load(yolo(tmp_path, ["0 .9 .5 .4 .5\n1 .5 .5 1.005 .5\n"]))
    assert dataset.scored[0].boxes[0].tolist() == pytest.approx([28, 5, 40, 15])
    assert dataset.scored[0].boxes[1].tolist() == pytest.approx([-0.1, 5, 40.1, 15])
    assert dataset.scored[0].areas[0] == pytest.approx(120)
    assert dataset.census.told == {"clipped": 1}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_any_encoding_of_an_editor_is_read(tmp_path: Path, encoding: str) -> None:
    text = "val: images/val\nnames: [cat, Käfer]\n"
    source = yolo(tmp_path, [(GOOD * 1 + "1 .5 .5 .4 .4\r\n").encode(encoding)])
    (tmp_path / "data.yaml").write_bytes(text.encode(encoding))
    dataset = load(source)
    assert (dataset.names, boxes_of(dataset)) == (("cat", "Käfer"), 2)


def test_a_label_file_that_is_no_text_leaves_out_its_image(tmp_path: Path) -> None:
    source = yolo(tmp_path, [GOOD, b"\xff\xfe\x00", b"0 .5 .5 .1 .1 \xe4"])
    with pytest.raises(BadInputError, match=r"a label file that is no text \(2\)"):
        load(source)
    census = load(source, "skip").census
    assert (census.listed, census.images, census.skipped) == (3, 1, 2)


def test_background_unlabelled_elsewhere_and_of_no_image(tmp_path: Path) -> None:
    source = yolo(tmp_path, [GOOD, "", None, None])
    (tmp_path / "images" / "val" / "03.txt").write_text(GOOD)
    (tmp_path / "labels" / "val" / "stray.txt").write_text(GOOD)
    (tmp_path / "labels" / "val" / "classes.txt").write_text("cat\n")
    (tmp_path / "images" / "val" / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic")
    (tmp_path / "labels" / "val" / "photo.txt").write_text(GOOD)
    (tmp_path / "images" / "val" / "old.gif").write_bytes(b"GIF89a")
    (tmp_path / "images" / "val" / "more.JFIF").write_bytes(b"")
    census = load(source).census
    assert (census.background, census.unlabelled) == (1, 2)
    assert (census.labels_elsewhere, census.labels_without_image) == (1, 1)
    assert census.labels_elsewhere_at.endswith("images/val/03.txt")
    assert census.unread == {".heic": 1, ".gif": 1, ".jfif": 1}
    assert "not read, by their type: 1 .gif, 1 .heic, 1 .jfif" in census.lines()[1]


def test_labels_that_lie_elsewhere_altogether_are_named(tmp_path: Path) -> None:
    source = yolo(tmp_path, [None])
    write_image(tmp_path / "images" / "val" / "00.png")
    (tmp_path / "labels" / "00.txt").write_text(GOOD)
    with pytest.raises(BadInputError, match=r"labels missing.*there is .*labels/00\.txt"):
        load(source)


def test_few_images_or_boxes_are_noted(tmp_path: Path) -> None:
    assert "1 image is few: below 50" in load(yolo(tmp_path, [GOOD])).census.notes()[0]
    many = load(yolo(tmp_path, [GOOD] * 50)).census
    assert "50 boxes are few: below 100" in many.notes()[0]
    rows = "".join(f"0 .5 .5 .{size} .{size}\n" for size in (2, 3))
    assert load(yolo(tmp_path, [rows] * 50)).census.notes() == []

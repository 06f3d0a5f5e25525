from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from deploymark.bench.data.coco_names import COCO_NAMES
from deploymark.bench.data.data_yaml import read_data_yaml, train_split
from deploymark.bench.data.image_lists import list_images
from deploymark.bench.errors import BadInputError


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def image(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in (
        "images/val/b.jpg",
        "images/val/a.png",
        "images/val/deep/c.JPG",
        "images/train/t.jpg",
    ):
        image(tmp_path / name)
    write(tmp_path / "images/val/notes.md", "no image")
    write(tmp_path / "images/val/.hidden/x.jpg", "thumbnail")
    return tmp_path


def test_folders_are_searched_and_sorted(root: Path) -> None:
    data = read_data_yaml(
        write(root / "data.yaml", "val: images/val\ntrain: images/train\nnames: [x, y]\n")
    )
    assert data.names == ("x", "y")
    assert data.val == tuple(root / "images" / "val" / n for n in ("a.png", "b.jpg", "deep/c.JPG"))
    assert data.train == (root / "images/train/t.jpg",)


def test_names_may_be_a_mapping_and_train_is_optional(root: Path) -> None:
    data = read_data_yaml(
        write(root / "data.yaml", "validation: images/val\nnames: {1: y, 0: x}\nnc: 2\n")
    )
    assert data.names == ("x", "y")
    assert data.train is None


def test_path_is_relative_to_the_file(root: Path) -> None:
    yaml = write(root / "conf" / "data.yaml", "path: ../images\nval: val\nnames: [x]\n")
    assert len(read_data_yaml(yaml).val) == 3


def test_path_may_be_absolute(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("conf") / "data.yaml"
    yaml = write(elsewhere, f"path: {root}\nval: images/val\nnames: [x]\n")
    assert len(read_data_yaml(yaml).val) == 3


def test_roboflow_writes_one_folder_too_many(root: Path) -> None:
    yaml = write(root / "data.yaml", "val: ../images/val\nnames: [x]\n")
    assert len(read_data_yaml(yaml).val) == 3


def test_a_list_of_places(root: Path) -> None:
    yaml = write(root / "data.yaml", "val: [images/val, images/train, images/val]\nnames: [x]\n")
    assert len(read_data_yaml(yaml).val) == 4


def test_a_text_file_lists_images(root: Path) -> None:
    write(root / "lists" / "val.txt", f"../images/val/a.png\n\n{root}/images/val/b.jpg\n")
    yaml = write(root / "data.yaml", "val: lists/val.txt\nnames: [x]\n")
    assert [path.name for path in read_data_yaml(yaml).val] == ["a.png", "b.jpg"]


def test_a_listed_path_may_be_relative_to_the_root(root: Path) -> None:
    write(root / "lists" / "val.txt", "./images/val/a.png\n")
    yaml = write(root / "data.yaml", "val: lists/val.txt\nnames: [x]\n")
    assert read_data_yaml(yaml).val == (root / "images/val/a.png",)


def test_a_listed_image_that_is_missing_is_told_by_line(root: Path) -> None:
    write(root / "val.txt", "images/val/a.png\nimages/val/zzz.png\n")
    with pytest.raises(BadInputError, match=r"val\.txt:2: no such image: .*zzz\.png"):
        list_images(root / "val.txt")
    data = read_data_yaml(write(root / "data.yaml", "val: val.txt\nnames: [x]\n"))
    assert [str(fault) for fault in data.listing.missing] == [
        f"{root}/val.txt:2: no such image: {root}/images/val/zzz.png"
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("val: images/val\nnc: 3\n", r"data\.yaml:1:1: has no `names`"),
        ("names: [x]\n", r"names no `val` split"),
        ("names: [x]\nval:\n", r"names no `val` split"),
        ("names: [x]\nval: images/nope\n", r"data\.yaml:2:1: val: .*nope: no such folder"),
        ("names: [x]\nval: 3\n", r"data\.yaml:2:1: val: must be a path"),
        ("names: [x]\nval: images/val\nnc: 2\n", r"data\.yaml:3:1: nc: says 2 classes"),
        ("names: {0: x, 2: y}\nval: images/val\n", r"names: its keys must be 0 to 1, got 0, 2"),
        ("names: 3\nval: images/val\n", r"names: must be a list"),
        ("names: []\nval: images/val\n", r"names: must be a list"),
        ("path: nowhere\nnames: [x]\nval: images/val\n", r"data\.yaml:1:1: path: no such folder"),
        ("path: [a]\nnames: [x]\nval: images/val\n", r"path: must be a folder"),
        ("- a\n- b\n", r"is not a mapping"),
        ("just words", r"is not a mapping"),
        ("names: [x\nval: y", r"data\.yaml:\d+:\d+: "),
    ],
)
def test_errors_say_where(root: Path, text: str, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        read_data_yaml(write(root / "data.yaml", text))


def test_an_empty_folder_is_told(root: Path) -> None:
    (root / "empty").mkdir()
    with pytest.raises(BadInputError, match="empty: no image in this folder"):
        list_images(root / "empty")


def test_train_split_alone(root: Path) -> None:
    assert train_split(write(root / "data.yaml", "train: images/train\n")) == (
        root / "images/train/t.jpg",
    )
    with pytest.raises(BadInputError, match="names no `train` split"):
        train_split(write(root / "data.yaml", "val: images/val\n"))


@pytest.mark.heavy
def test_lists_the_images_that_ultralytics_lists(coco_mini: Path) -> None:
    pytest.importorskip("ultralytics")
    from ultralytics.data.utils import check_det_dataset

    data = read_data_yaml(coco_mini / "data.yaml")
    theirs = check_det_dataset(str(coco_mini / "data.yaml"), autodownload=False)
    assert tuple(theirs["names"].values()) == data.names
    assert {path.parent for path in data.val} == {Path(theirs["val"])}


def test_names_may_have_a_default(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "images" / "a.jpg")
    path = tmp_path / "data.yaml"
    path.write_text("val: images\n")
    assert read_data_yaml(path, COCO_NAMES).names[79] == "toothbrush"
    path.write_text("val: images\nnames: [a]\n")
    assert read_data_yaml(path, COCO_NAMES).names == ("a",)

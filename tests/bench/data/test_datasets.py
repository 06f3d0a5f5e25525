from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deploymark.bench.data.class_names import match_names
from deploymark.bench.data.datasets import Dataset, DataSource, load_dataset
from deploymark.bench.errors import BadInputError


def write_split(root: Path, split: str, count: int, *, first_seed: int) -> list[Path]:
    """``count`` different images with a box each, in images/<split> and labels/<split>."""
    images, labels = root / "images" / split, root / "labels" / split
    images.mkdir(parents=True)
    labels.mkdir(parents=True)
    paths = []
    for index in range(count):
        random = np.random.default_rng(first_seed + index)
        path = images / f"{split}{index:02}.png"
        Image.fromarray(random.integers(0, 256, (10, 20, 3), dtype=np.uint8)).save(path)
        (labels / f"{split}{index:02}.txt").write_text(f"{index % 2} 0.5 0.5 0.5 0.5\n")
        paths.append(path)
    return paths


def write_yaml(root: Path, text: str) -> Path:
    path = root / "data.yaml"
    path.write_text(f"names: [cat, dog]\n{text}")
    return path


@pytest.fixture
def both(tmp_path: Path) -> DataSource:
    write_split(tmp_path, "val", 8, first_seed=0)
    write_split(tmp_path, "train", 6, first_seed=100)
    return DataSource("d", yaml=write_yaml(tmp_path, "val: images/val\ntrain: images/train\n"))


@pytest.fixture
def val_only(tmp_path: Path) -> DataSource:
    write_split(tmp_path, "val", 16, first_seed=0)
    return DataSource("d", yaml=write_yaml(tmp_path, "val: images/val\n"))


def load(
    source: DataSource, calibration: int = 3, max_images: int | None = None, seed: int = 0
) -> Dataset:
    return load_dataset(source, calibration_images=calibration, max_images=max_images, seed=seed)


def test_scores_val_and_calibrates_on_train(both: DataSource) -> None:
    dataset = load(both)
    assert dataset.name == "d"
    assert dataset.names == ("cat", "dog")
    assert [image.path.name for image in dataset.scored] == [f"val{i:02}.png" for i in range(8)]
    np.testing.assert_array_equal(dataset.scored[1].boxes, [[5, 2.5, 15, 7.5]])
    assert dataset.scored[1].classes.tolist() == [1]
    assert dataset.calibration_source == "train"
    assert len(dataset.calibration) == 3
    assert all(path.parent.name == "train" for path in dataset.calibration)


def test_the_seed_chooses(both: DataSource) -> None:
    choices = {load(both, seed=seed).calibration for seed in range(10)}
    assert len(choices) > 1
    assert load(both, seed=3).calibration == load(both, seed=3).calibration
    assert len(load(both, calibration=100).calibration) == 6
    none = load(both, calibration=0)
    assert (none.calibration, none.calibration_source) == ((), "none")


def test_hashes_are_over_bytes_in_order(both: DataSource) -> None:
    dataset = load(both)
    digests = [hashlib.sha256(image.path.read_bytes()).digest() for image in dataset.scored]
    assert dataset.scored_hash == hashlib.sha256(b"".join(digests)).hexdigest()
    digests = [hashlib.sha256(path.read_bytes()).digest() for path in dataset.calibration]
    assert dataset.calibration_hash == hashlib.sha256(b"".join(digests)).hexdigest()
    assert load(both, max_images=4).scored_hash != dataset.scored_hash
    assert load(both, max_images=4).calibration_hash == dataset.calibration_hash


def test_without_train_a_quarter_of_val_is_set_aside(val_only: DataSource) -> None:
    dataset = load(val_only, calibration=100)
    assert dataset.calibration_source == "validation"
    assert len(dataset.calibration) == 4
    assert len(dataset.scored) == 12
    assert not {image.path for image in dataset.scored} & set(dataset.calibration)
    assert len(load(val_only, calibration=2).scored) == 14
    assert load(val_only, calibration=0).calibration_source == "none"


def test_images_that_are_not_scored_anyway_calibrate_first(val_only: DataSource) -> None:
    dataset = load(val_only, calibration=4, max_images=5)
    assert [image.path.name for image in dataset.scored] == [f"val{i:02}.png" for i in range(5)]
    assert len(dataset.calibration) == 4


def test_a_copy_of_a_scored_image_is_not_set_aside(val_only: DataSource) -> None:
    assert val_only.yaml is not None
    folder = val_only.yaml.parent / "images" / "val"
    for index in range(1, 12):
        (folder / f"val{index:02}.png").write_bytes((folder / "val00.png").read_bytes())
    for seed in range(5):
        dataset = load(val_only, calibration=4, seed=seed)
        assert [path.name for path in dataset.calibration] == [f"val{i}.png" for i in range(12, 16)]


def test_of_one_folder_for_both_a_quarter_is_set_aside(tmp_path: Path) -> None:
    write_split(tmp_path, "val", 8, first_seed=0)
    source = DataSource("d", yaml=write_yaml(tmp_path, "val: images/val\ntrain: images/val\n"))
    dataset = load(source)
    assert (dataset.calibration_source, len(dataset.calibration)) == ("validation", 2)
    assert not {image.path for image in dataset.scored} & set(dataset.calibration)
    assert "since the train split has no others" in dataset.census.calibration_from
    beyond = load(source, max_images=5)
    assert (beyond.calibration_source, len(beyond.calibration)) == ("train", 3)
    assert not {image.path for image in beyond.scored} & set(beyond.calibration)
    assert len(load(source, calibration=0).scored) == 8


def test_images_that_are_scored_are_passed_over(both: DataSource) -> None:
    """Whether by their bytes or by a link."""
    assert both.yaml is not None
    images = both.yaml.parent / "images"
    (images / "train" / "train02.png").write_bytes((images / "val" / "val05.png").read_bytes())
    (images / "train" / "train99.png").symlink_to(images / "val" / "val00.png")
    dataset = load(both, calibration=7)
    assert [path.name for path in dataset.calibration] == [
        f"train0{index}.png" for index in (0, 1, 3, 4, 5)
    ]
    assert "2 images of it also scored, passed over" in dataset.census.calibration_from


def test_a_train_split_that_is_not_there_matters_to_calibration_alone(both: DataSource) -> None:
    assert both.yaml is not None
    (both.yaml.parent / "images" / "train").rename(both.yaml.parent / "gone")
    assert len(load(both, calibration=0).scored) == 8
    dataset = load(both)
    assert (len(dataset.scored), dataset.calibration) == (8, ())
    assert "train: " in dataset.calibration_lacks
    assert "no such folder" in dataset.calibration_lacks


def test_missing_labels_are_told_with_where_they_would_be(both: DataSource) -> None:
    assert both.yaml is not None
    (both.yaml.parent / "labels").rename(both.yaml.parent / "boxes")
    with pytest.raises(
        BadInputError,
        match=r"labels missing: none of the 8 .*val00\.png would have .*labels/val/val00\.txt",
    ):
        load(both)


def test_one_missing_label_is_background(both: DataSource) -> None:
    assert both.yaml is not None
    (both.yaml.parent / "labels" / "val" / "val00.txt").unlink()
    dataset = load(both)
    assert len(dataset.scored) == 8
    assert dataset.scored[0].boxes.shape == (0, 4)


def test_no_box_at_all_is_told(both: DataSource) -> None:
    assert both.yaml is not None
    for label in (both.yaml.parent / "labels" / "val").iterdir():
        label.write_text("")
    with pytest.raises(BadInputError, match="no box on any of the 8 images"):
        load(both)
    (both.yaml.parent / "labels" / "val" / "val07.txt").write_text("0 .5 .5 .5 .5")
    assert len(load(both).scored) == 8
    with pytest.raises(BadInputError, match="no box on any of the 2 images"):
        load(both, max_images=2)


@pytest.mark.parametrize("split", ["val", "train"])
def test_a_corrupt_image_is_named(both: DataSource, split: str) -> None:
    assert both.yaml is not None
    (both.yaml.parent / "images" / split / f"{split}03.png").write_bytes(b"no image")
    with pytest.raises(BadInputError, match=rf"{split}03\.png: cannot be decoded"):
        load(both, calibration=6)


def write_coco(root: Path) -> Path:
    """The labels of images/val as COCO JSON."""
    images = sorted((root / "images" / "val").iterdir())
    document = {
        "images": [
            {"id": index, "file_name": path.name, "width": 20, "height": 10}
            for index, path in enumerate(images)
        ],
        "annotations": [
            {"image_id": index, "category_id": 5 + index % 2, "bbox": [5, 2.5, 10, 5], "area": 50}
            for index in range(len(images))
        ],
        "categories": [{"id": 5, "name": "cat"}, {"id": 6, "name": "dog"}],
    }
    path = root / "annotations" / "instances_val.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(document))
    return path


def test_coco_json_gives_what_the_yaml_gives(both: DataSource) -> None:
    assert both.yaml is not None
    root = both.yaml.parent
    source = DataSource("d", annotations=write_coco(root), calibration=root / "images" / "train")
    ours, theirs = load(source), load(both)
    assert ours.names == theirs.names
    assert ours.scored_hash == theirs.scored_hash
    assert ours.calibration == theirs.calibration
    assert ours.calibration_source == "train"
    for mine, other in zip(ours.scored, theirs.scored, strict=True):
        np.testing.assert_array_equal(mine.boxes, other.boxes)
        np.testing.assert_array_equal(mine.classes, other.classes)


def test_coco_json_without_calibration_sets_images_aside(both: DataSource) -> None:
    assert both.yaml is not None
    dataset = load(DataSource("d", annotations=write_coco(both.yaml.parent)))
    assert dataset.calibration_source == "validation"
    assert (len(dataset.scored), len(dataset.calibration)) == (6, 2)


def test_calibration_may_be_a_list_or_another_yaml(both: DataSource, tmp_path: Path) -> None:
    assert both.yaml is not None
    root = both.yaml.parent
    listed = tmp_path / "list.txt"
    listed.write_text(f"{root}/images/train/train04.png\n")
    source = DataSource("d", yaml=both.yaml, calibration=listed)
    assert [path.name for path in load(source).calibration] == ["train04.png"]
    source = DataSource("d", annotations=write_coco(root), calibration=both.yaml)
    assert load(source).calibration == load(both).calibration
    with pytest.raises(BadInputError, match="nowhere: no such folder"):
        load(DataSource("d", yaml=both.yaml, calibration=tmp_path / "nowhere"))


def test_a_folder_of_images_has_neither_names_nor_boxes(val_only: DataSource) -> None:
    assert val_only.yaml is not None
    folder = val_only.yaml.parent / "images" / "val"
    dataset = load(DataSource("d", folder=folder), calibration=100)
    assert (dataset.labelled, dataset.names) == (False, ())
    assert (len(dataset.scored), len(dataset.calibration)) == (12, 4)
    assert dataset.calibration_source == "folder"
    assert not {image.path for image in dataset.scored} & set(dataset.calibration)
    assert sum(len(image.boxes) for image in dataset.scored) == 0
    assert (dataset.scored[0].width, dataset.scored[0].height) == (20, 10)
    assert load(DataSource("d", folder=folder), calibration=100, seed=1) != dataset
    assert load(DataSource("d", folder=folder), calibration=0).calibration_source == "none"
    assert len(load(DataSource("d", folder=folder), max_images=5).scored) == 5


def test_a_folder_that_is_no_set_of_images_is_told(tmp_path: Path, val_only: DataSource) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInputError, match="empty: no image in this folder or below it"):
        load(DataSource("d", folder=tmp_path / "empty"))
    with pytest.raises(
        BadInputError, match=r"holds a data\.yaml.*(.|\n)*folder of images below it"
    ):
        load(DataSource("d", folder=tmp_path))
    (tmp_path / "images" / "val" / "val03.png").write_bytes(b"no image")
    with pytest.raises(BadInputError, match=r"val03\.png: cannot be decoded"):
        load(DataSource("d", folder=tmp_path / "images" / "val"))


def test_whoever_has_no_labels_is_told_of_folders(val_only: DataSource) -> None:
    assert val_only.yaml is not None
    (val_only.yaml.parent / "labels").rename(val_only.yaml.parent / "boxes")
    with pytest.raises(BadInputError, match="labels missing") as caught:
        load(val_only)
    assert "or give the folder of images as the data set" in caught.value.remedy


def test_a_source_without_files_is_told() -> None:
    with pytest.raises(
        BadInputError, match=r"data set d: neither a data\.yaml, a COCO JSON nor a folder"
    ):
        load(DataSource("d"))


def test_names_match_by_name() -> None:
    assert match_names(["dog", "cat"], ["cat", "bird", "dog"]) == {0: 2, 1: 0}
    assert match_names(["Traffic_Light", "unknown"], ["car", "traffic light"]) == {0: 1}
    assert match_names(["a", "a"], ["a", "a"]) == {0: 0, 1: 1}
    assert match_names(["a"], ["b", "a", "A"]) == {0: 1}
    assert match_names([], ["b", "a"]) == {0: 0, 1: 1}


def test_no_common_name_lists_both() -> None:
    with pytest.raises(
        BadInputError, match=r"data set has cat, dog; the model has 0, 1, 2, .* … \(20 in all\)"
    ):
        match_names(["cat", "dog"], [str(index) for index in range(20)])


def test_real_photos(coco_mini: Path) -> None:
    dataset = load(DataSource("m", yaml=coco_mini / "data.yaml"), calibration=32)
    assert (len(dataset.scored), len(dataset.calibration)) == (100, 32)
    coco = load(
        DataSource("m", annotations=coco_mini / "annotations" / "instances_val.json"),
        calibration=0,
    )
    assert {i.path for i in coco.scored} == {i.path for i in dataset.scored}
    # The JSON has crowd regions, the YOLO text has not.
    boxes = sum(len(image.boxes) for image in dataset.scored)
    crowds = sum(int(image.crowd.sum()) for image in coco.scored)
    assert sum(len(image.boxes) for image in coco.scored) == boxes + crowds

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deploymark.backends.base import UnavailableError
from deploymark.bench.data.datasets import Dataset, DataSource, load_dataset
from deploymark.bench.data.training_data import TrainingData
from deploymark.bench.data.training_split import digits_training, load_training
from deploymark.bench.errors import BadInputError


def write_split(root: Path, split: str, count: int, *, first_seed: int) -> None:
    """``count`` different images with a box each, in images/<split> and labels/<split>."""
    images, labels = root / "images" / split, root / "labels" / split
    images.mkdir(parents=True)
    labels.mkdir(parents=True)
    for index in range(count):
        random = np.random.default_rng(first_seed + index)
        pixels = random.integers(0, 256, (10, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(images / f"{index:02}.png")
        (labels / f"{index:02}.txt").write_text(f"{index % 2} 0.5 0.5 0.5 0.5\n")


@pytest.fixture
def source(tmp_path: Path) -> DataSource:
    write_split(tmp_path, "val", 6, first_seed=0)
    write_split(tmp_path, "train", 20, first_seed=100)
    path = tmp_path / "data.yaml"
    path.write_text("names: [cat, dog]\nval: images/val\ntrain: images/train\n")
    return DataSource("d", yaml=path)


def read(source: DataSource) -> Dataset:
    return load_dataset(source, calibration_images=3, max_images=None, seed=0)


def test_a_part_of_the_train_split_is_held_out(source: DataSource) -> None:
    data = load_training(source, read(source), seed=0)
    training = {image.path for image in data.training}
    selection = {image.path for image in data.selection}
    assert (len(training), len(selection)) == (16, 4)
    assert not training & selection
    assert all(path.parent.name == "train" for path in training | selection)
    assert {int(image.classes[0]) for image in data.training} == {0, 1}


def test_the_seed_chooses_what_is_held_out(source: DataSource) -> None:
    dataset = read(source)
    held = {
        tuple(image.path.name for image in load_training(source, dataset, seed=seed).selection)
        for seed in range(8)
    }
    assert len(held) > 1
    again = load_training(source, dataset, seed=3).digest()
    assert again == load_training(source, dataset, seed=3).digest()


def test_an_image_that_is_scored_is_not_trained_on(source: DataSource, tmp_path: Path) -> None:
    dataset = read(source)
    shutil.copy(tmp_path / "images/val/03.png", tmp_path / "images/train/twin.png")
    with pytest.raises(BadInputError, match=r"train on is also scored.*twin.*same picture as"):
        load_training(source, dataset, seed=0)


def test_no_train_split_is_told(source: DataSource, tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text("names: [cat, dog]\nval: images/val\n")
    with pytest.raises(UnavailableError, match="no train split for the recipe"):
        load_training(source, read(source), seed=0)


def test_images_to_train_on_are_named_apart(source: DataSource, tmp_path: Path) -> None:
    write_split(tmp_path / "more", "train", 10, first_seed=500)
    dataset = read(source)
    folder = dataclasses.replace(source, training=tmp_path / "more" / "images" / "train")
    data = load_training(folder, dataset, seed=0)
    assert len(data.training) + len(data.selection) == 10
    coco = {
        "images": [{"id": 1, "file_name": "00.png", "width": 20, "height": 10}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 7, "bbox": [1, 2, 3, 4], "area": 12}
        ],
        "categories": [{"id": 7, "name": "Dog"}],
    }
    path = tmp_path / "train.json"
    path.write_text(json.dumps(coco))
    named = dataclasses.replace(
        source, training=path, images=tmp_path / "more" / "images" / "train"
    )
    (image,) = load_training(named, dataset, seed=0).training
    assert image.classes.tolist() == [1]  # by its name, not its place
    np.testing.assert_array_equal(image.boxes, [[1, 2, 4, 6]])


def test_data_goes_to_a_child_and_back(source: DataSource, tmp_path: Path) -> None:
    data = load_training(source, read(source), seed=0)
    data.write(tmp_path / "data.json")
    back = TrainingData.read(tmp_path / "data.json")
    assert back.digest() == data.digest()
    assert back.training[0].path == data.training[0].path
    assert back.training[0].boxes.shape == (1, 4)


def test_classes_become_those_of_the_model(source: DataSource) -> None:
    data = load_training(source, read(source), seed=0).in_classes_of_model({1: 5})
    classes = [image.classes.tolist() for image in data.training]
    assert all(found in ([5], []) for found in classes)
    assert any(found == [5] for found in classes)
    assert all(len(image.boxes) == len(image.classes) for image in data.training)


def test_the_digest_tells_of_labels(source: DataSource, tmp_path: Path) -> None:
    dataset = read(source)
    before = load_training(source, dataset, seed=0).digest()
    (tmp_path / "labels" / "train" / "05.txt").write_text("0 0.5 0.5 0.4 0.4\n")
    assert load_training(source, dataset, seed=0).digest() != before


@pytest.mark.heavy
def test_the_embedded_training_images_are_drawn_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("sklearn")
    monkeypatch.setattr("deploymark.bench.data.training_split.DIGITS_IMAGES", 3)
    folder = digits_training(tmp_path)
    names = sorted(path.name for path in folder.iterdir())
    assert len(names) == 3
    (folder / names[0]).write_bytes(b"kept")
    assert digits_training(tmp_path) == folder
    assert (folder / names[0]).read_bytes() == b"kept"
    assert [path.name for path in tmp_path.iterdir()] == [folder.parent.parent.name]

"""The committed digit images: sane labels, disjoint splits, small files, made from a seed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deploymark.bench.assets import compose_digits, digits_dir, make_digits

COMMITTED = {split: count for split, count in make_digits.COMMITTED_COUNTS.items() if count}
MAX_BYTES = 4_000_000
MAX_WEIGHTS_BYTES = 6_000_000


def manifest(split: str) -> dict[str, Any]:
    """Return the manifest of a committed split."""
    content: dict[str, Any] = json.loads(
        (digits_dir() / f"manifest-{split}.json").read_text(encoding="utf-8")
    )
    return content


def used_instances(split: str) -> set[int]:
    """Return the digit instances that appear in a committed split."""
    return {
        instance for instances in manifest(split)["instances"].values() for instance in instances
    }


def label_rows(path: Path) -> list[tuple[int, list[float]]]:
    """Return the class and the four coordinates of every line of a label file."""
    rows = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    return [(int(row[0]), [float(value) for value in row[1:]]) for row in rows]


@pytest.fixture(scope="module")
def sources() -> compose_digits.Sources:
    """Return the digits and photographs, where scikit-learn is installed."""
    pytest.importorskip("sklearn")
    return compose_digits.load_sources()


def compose(
    sources: compose_digits.Sources, seed: int, split: str, index: int
) -> compose_digits.Sample:
    """Compose one image as ``make_dataset`` does."""
    pool = compose_digits.split_instances(sources.labels, seed)[split]
    return compose_digits.compose(sources, pool, seed, split, index)


def test_committed_splits_share_no_digit_instance() -> None:
    assert used_instances("calib")
    assert used_instances("val")
    assert used_instances("calib").isdisjoint(used_instances("val"))


@pytest.mark.parametrize("split", COMMITTED)
def test_every_image_has_labels_and_a_manifest_entry(split: str) -> None:
    images = sorted(path.name for path in (digits_dir() / "images" / split).glob("*.jpg"))
    labels = sorted(path.stem for path in (digits_dir() / "labels" / split).glob("*.txt"))
    assert len(images) == COMMITTED[split]
    assert labels == [Path(name).stem for name in images]
    assert sorted(manifest(split)["instances"]) == images


@pytest.mark.parametrize("split", COMMITTED)
def test_labels_are_sane(split: str) -> None:
    for name, instances in manifest(split)["instances"].items():
        rows = label_rows(digits_dir() / "labels" / split / f"{Path(name).stem}.txt")
        assert len(rows) == len(instances), name
        assert 1 <= len(rows) <= compose_digits.MAX_DIGITS, name
        for label, (x, y, width, height) in rows:
            assert 0 <= label < compose_digits.CLASSES, name
            assert width > 0, name
            assert height > 0, name
            assert min(x - width / 2, y - height / 2) >= -1e-6, name
            assert max(x + width / 2, y + height / 2) <= 1 + 1e-6, name


def test_every_class_is_calibrated_and_scored() -> None:
    for split in COMMITTED:
        files = (digits_dir() / "labels" / split).glob("*.txt")
        seen = {label for path in files for label, _ in label_rows(path)}
        assert seen == set(range(compose_digits.CLASSES)), split


def test_files_are_small() -> None:
    committed = [digits_dir() / "data.yaml", *digits_dir().glob("manifest-*.json")]
    for split in COMMITTED:
        committed += (digits_dir() / "images" / split).glob("*.jpg")
        committed += (digits_dir() / "labels" / split).glob("*.txt")
    assert sum(path.stat().st_size for path in committed) <= MAX_BYTES
    assert (digits_dir() / "digits.pt").stat().st_size <= MAX_WEIGHTS_BYTES


def test_weights_name_no_folder_of_the_machine_that_trained_them() -> None:
    content = (digits_dir() / "digits.pt").read_bytes()
    for folder in (b"/work", b"/root", b"/tmp", b"/home"):
        assert folder not in content


@pytest.mark.heavy
def test_instances_are_dealt_once_and_all_dealt(sources: compose_digits.Sources) -> None:
    pools = compose_digits.split_instances(sources.labels, seed=0)
    dealt = [instance for pool in pools.values() for instance in pool]
    assert sorted(dealt) == list(range(len(sources.labels)))
    for split, pool in pools.items():
        assert {sources.labels[instance] for instance in pool} == set(
            range(compose_digits.CLASSES)
        ), split


@pytest.mark.heavy
@pytest.mark.parametrize("index", range(4))
def test_default_seed_remakes_the_committed_image(
    sources: compose_digits.Sources, index: int
) -> None:
    sample = compose(sources, 0, "val", index)
    name = f"val_{index:05d}"
    label = (digits_dir() / "labels" / "val" / f"{name}.txt").read_bytes()
    assert "".join(f"{line}\n" for line in make_digits.label_lines(sample)).encode() == label
    assert list(sample.instances) == manifest("val")["instances"][f"{name}.jpg"]
    with Image.open(digits_dir() / "images" / "val" / f"{name}.jpg") as image:
        committed = np.asarray(image, dtype=np.float64)
    # JPEG's own loss is two to four levels on these images.
    assert np.abs(committed - sample.pixels).mean() < 8.0


@pytest.mark.heavy
def test_pixels_and_boxes_have_the_stated_form(sources: compose_digits.Sources) -> None:
    sample = compose(sources, 0, "val", 0)
    assert sample.pixels.shape == (compose_digits.IMAGE_SIZE, compose_digits.IMAGE_SIZE, 3)
    assert sample.pixels.dtype == np.uint8
    assert sample.boxes.shape == (len(sample.classes), 4)
    assert len(sample.instances) == len(sample.classes)


@pytest.mark.heavy
def test_seed_split_and_index_each_change_the_image(sources: compose_digits.Sources) -> None:
    base = compose(sources, 0, "val", 0).pixels
    for seed, split, index in ((1, "val", 0), (0, "calib", 0), (0, "val", 1)):
        assert not np.array_equal(base, compose(sources, seed, split, index).pixels)


@pytest.mark.heavy
def test_an_image_does_not_depend_on_the_counts(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    make_digits.make_dataset(tmp_path / "one", {"calib": 1, "val": 1}, seed=5)
    make_digits.make_dataset(tmp_path / "two", {"val": 2}, seed=5)
    name = Path("images/val/val_00000.jpg")
    assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@pytest.mark.heavy
def test_occlusion_is_capped(sources: compose_digits.Sources) -> None:
    pool = compose_digits.split_instances(sources.labels, 0)["val"]
    for index in range(10):
        boxes = compose_digits.compose(sources, pool, 0, "val", index).boxes
        for position, first in enumerate(boxes):
            for second in boxes[position + 1 :]:
                width = min(first[2], second[2]) - max(first[0], second[0])
                height = min(first[3], second[3]) - max(first[1], second[1])
                shared = max(0.0, width) * max(0.0, height)
                areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
                assert shared / (sum(areas) - shared) <= compose_digits.MAX_BOX_IOU

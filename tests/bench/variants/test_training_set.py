from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deploymark.backends.base import UnavailableError
from deploymark.bench.data.labels import ImageLabels, yolo_labels
from deploymark.bench.data.training_data import TrainingData
from deploymark.bench.variants.training_set import training_images, write_training_set

WIDTH, HEIGHT = 40, 20


def image(path: Path, *boxes: tuple[float, ...], crowd: tuple[bool, ...] = ()) -> ImageLabels:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (WIDTH, HEIGHT)).save(path)
    corners = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    return ImageLabels(
        path=path,
        width=WIDTH,
        height=HEIGHT,
        boxes=corners,
        classes=np.arange(len(corners), dtype=np.int64),
        areas=np.prod(corners[:, 2:] - corners[:, :2], axis=1),
        crowd=np.array(crowd or [False] * len(corners), dtype=np.bool_),
    )


@pytest.fixture
def data(tmp_path: Path) -> TrainingData:
    images = tuple(image(tmp_path / f"{index}.png", (0, 0, 20, 10)) for index in range(20))
    return TrainingData(images, ())


def test_the_seed_chooses(data: TrainingData) -> None:
    def chosen(seed: int, images: int | None = 8) -> tuple[str, ...]:
        return tuple(
            one.path.stem for one in training_images(data, images=images, batch=4, seed=seed)
        )

    assert chosen(0) == chosen(0)
    assert chosen(0) != chosen(1)
    assert len(set(chosen(0))) == 8
    assert chosen(0, images=None) == chosen(1, images=100) == tuple(map(str, range(20)))


def test_too_few_images(data: TrainingData) -> None:
    with pytest.raises(UnavailableError, match=r"20 images .* one batch of 32") as caught:
        training_images(data, images=None, batch=32, seed=0)
    assert "`batch`" in caught.value.remedy
    with pytest.raises(UnavailableError, match=r"8 images .* one batch of 16") as caught:
        training_images(data, images=8, batch=16, seed=0)
    assert "`images`" in caught.value.remedy
    with pytest.raises(UnavailableError, match="no train split"):
        training_images(None, images=None, batch=1, seed=0)


def test_no_box_to_learn(tmp_path: Path) -> None:
    crowd = image(tmp_path / "crowd.png", (0, 0, 20, 10), crowd=(True,))
    empty = image(tmp_path / "empty.png")
    with pytest.raises(UnavailableError, match="none of the 2 images"):
        training_images(TrainingData((crowd, empty), ()), images=None, batch=1, seed=0)


def test_labels_are_written_as_they_are_read(tmp_path: Path) -> None:
    odd = tmp_path / "images" / "a b#[é]" / "x y.PNG"
    images = [
        image(
            odd,
            (1, 2, 31, 12),
            (0, 0, 40, 20),
            (-5, 15, 5, 25),
            (40, 0, 50, 9),
            crowd=(False, True, False, False),
        ),
        image(tmp_path / "empty.png"),
    ]
    view = tmp_path / "view"
    places = write_training_set(images, view)
    assert sorted(path.name for path in places.iterdir()) == ["0000000.png", "0000001.png"]
    first = places / "0000000.png"
    assert first.samefile(odd)
    read = yolo_labels(first, WIDTH, HEIGHT, classes=4)
    # The crowd is left out, the third is cut to the image, of the fourth nothing is inside.
    assert read.classes.tolist() == [0, 2]
    np.testing.assert_allclose(read.boxes, [[1, 2, 31, 12], [0, 15, 5, 20]], atol=1e-6)
    assert not len(yolo_labels(places / "0000001.png", WIDTH, HEIGHT, classes=4).boxes)


def test_an_image_that_would_be_repaired_is_copied(tmp_path: Path) -> None:
    whole = image(tmp_path / "whole.jpg", (0, 0, 9, 9))
    cut = image(tmp_path / "cut.jpg", (0, 0, 9, 9))
    cut.path.write_bytes(cut.path.read_bytes()[:-2])
    places = write_training_set([whole, cut], tmp_path / "view")
    assert (places / "0000000.jpg").samefile(whole.path)
    copied = places / "0000001.jpg"
    assert not copied.is_symlink()
    assert copied.read_bytes() == cut.path.read_bytes()


def test_copies_where_links_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(Path, "symlink_to", refuse)
    source = image(tmp_path / "one.png", (0, 0, 9, 9))
    places = write_training_set([source], tmp_path / "view")
    assert not (places / "0000000.png").samefile(source.path)
    assert (places / "0000000.png").read_bytes() == source.path.read_bytes()

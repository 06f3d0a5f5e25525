from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deploymark.bench.score.fidelity_pictures import LONGEST_SIDE_PX, MOST_BYTES, draw

NONE = np.empty((0, 4), np.float32)


def picture(path: Path) -> Any:
    with Image.open(path) as image:
        assert image.format == "JPEG"
        return np.asarray(image.convert("RGB")).astype(int)


def test_each_side_has_its_colour(tmp_path: Path) -> None:
    grey = np.full((200, 300, 3), 128, np.uint8)
    blue, orange = np.array([[20, 20, 120, 180]]), np.array([[160, 20, 280, 180]])
    draw(grey, blue.astype(np.float32), orange.astype(np.float32), tmp_path / "a.jpg")
    drawn = picture(tmp_path / "a.jpg")
    assert drawn.shape == (200, 300, 3)
    redness = drawn[..., 0] - drawn[..., 2]
    assert redness[50:150, 18:24].min() < -40  # blue
    assert redness[50:150, 158:164].max() > 60  # orange
    assert abs(redness[80:120, 60:80]).max() < 20  # nothing inside
    # dashed on one side, whole on the other
    assert (redness[24:176, 160] > 40).all()
    assert not (redness[24:176, 20] < -20).all()


@pytest.mark.parametrize("size", [640, 1280])
def test_large_pictures_are_small_files(tmp_path: Path, size: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    box = np.array([[-50, -50, size * 2, size / 2]], np.float32)  # partly outside
    draw(noise, box, NONE, tmp_path / "a.jpg")
    assert picture(tmp_path / "a.jpg").shape == (LONGEST_SIDE_PX, LONGEST_SIDE_PX, 3)
    assert (tmp_path / "a.jpg").stat().st_size <= MOST_BYTES


def test_boxes_scale_with_the_picture(tmp_path: Path) -> None:
    grey = np.full((640, 640, 3), 128, np.uint8)
    draw(grey, NONE, np.array([[320, 320, 480, 480]], np.float32), tmp_path / "a.jpg")
    drawn = picture(tmp_path / "a.jpg")
    places = np.nonzero(drawn[..., 0] - drawn[..., 2] > 80)
    for axis in places:
        assert (axis.min(), axis.max()) == (160, 240)

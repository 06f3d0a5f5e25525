from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deploymark.bench.score.agreement_interval import agreement_interval
from deploymark.bench.worker.detections import Detections, save_detections


def image(random: np.random.Generator, *, noise: float) -> tuple[Detections, Detections]:
    corner = random.uniform(0, 200, (5, 2))
    boxes = np.concatenate([corner, corner + 40], axis=1).astype(np.float32)
    scores = np.sort(random.uniform(0.4, 0.9, 5))[::-1].astype(np.float32)
    moved = (boxes + random.normal(0, noise, boxes.shape)).astype(np.float32)
    classes = np.arange(5, dtype=np.int32)
    return Detections(boxes, scores, classes), Detections(moved, scores, classes)


def files(folder: Path, count: int, *, noise: float) -> tuple[Path, Path]:
    random = np.random.default_rng(count)
    pairs = [image(random, noise=noise) for _ in range(count)]
    paths = folder / f"a{count}.npz", folder / f"b{count}.npz"
    for path, side in zip(paths, zip(*pairs, strict=True), strict=True):
        save_detections(path, side)
    return paths


def test_the_same_boxes_agree_for_certain(tmp_path: Path) -> None:
    one, _ = files(tmp_path, 10, noise=0)
    assert agreement_interval(one, one) == (1.0, 1.0)


def test_more_images_make_it_narrower(tmp_path: Path) -> None:
    few, many = (agreement_interval(*files(tmp_path, n, noise=2)) for n in (20, 320))
    assert few is not None
    assert many is not None
    assert 0 < many[1] - many[0] < 0.6 * (few[1] - few[0])


def test_one_image_tells_no_spread_and_other_images_do_not_compare(tmp_path: Path) -> None:
    assert agreement_interval(*files(tmp_path, 1, noise=1)) is None
    with pytest.raises(ValueError, match="different images"):
        agreement_interval(files(tmp_path, 3, noise=1)[0], files(tmp_path, 4, noise=1)[0])

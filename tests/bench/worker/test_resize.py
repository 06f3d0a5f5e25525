from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from deploymark.bench.worker.resize import RESIZERS

SIZES = [
    ((480, 640), (240, 320)),
    ((427, 640), (320, 480)),
    ((120, 90), (416, 312)),
    ((333, 500), (96, 160)),
    ((1, 300), (5, 640)),
    ((300, 1), (31, 7)),
    ((37, 53), (640, 384)),
]
"""Heights and widths before and after: down, up, one side each way."""

TOLERANCES = {"bilinear": (1, 0.25), "bicubic": (1, 0.25), "nearest": (0, 0.0)}
"""Largest and mean difference from OpenCV, which weights in fixed point, in grey levels."""


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(("before", "after"), SIZES)
@pytest.mark.parametrize("name", TOLERANCES)
def test_is_opencvs(name: str, before: tuple[int, int], after: tuple[int, int]) -> None:
    cv2 = pytest.importorskip("cv2")
    named = {"bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC, "nearest": cv2.INTER_NEAREST}
    image = noise(*before)
    height, width = after
    expected = cv2.resize(image, (width, height), interpolation=named[name])
    ours = RESIZERS[name](image, width, height)
    assert ours.dtype == np.uint8
    difference = np.abs(ours.astype(int) - expected.astype(int))
    largest, mean = TOLERANCES[name]
    assert difference.max() <= largest
    assert difference.mean() <= mean


@pytest.mark.parametrize(("before", "after"), SIZES)
@pytest.mark.parametrize("name", ["bilinear", "bicubic"])
def test_with_antialias_it_is_pillows(
    name: str, before: tuple[int, int], after: tuple[int, int]
) -> None:
    image = noise(*before)
    height, width = after
    kind = Image.Resampling.BILINEAR if name == "bilinear" else Image.Resampling.BICUBIC
    expected = np.asarray(Image.fromarray(image).resize((width, height), kind))
    np.testing.assert_array_equal(RESIZERS[f"{name}-antialias"](image, width, height), expected)


@pytest.mark.heavy
@pytest.mark.parametrize(("before", "after"), SIZES)
@pytest.mark.parametrize("name", ["bilinear", "bicubic"])
def test_with_antialias_it_is_torchvisions(
    name: str, before: tuple[int, int], after: tuple[int, int]
) -> None:
    torch = pytest.importorskip("torch")
    functional = pytest.importorskip("torchvision.transforms.v2.functional")
    image = noise(*before)
    expected = functional.resize(
        torch.from_numpy(image.transpose(2, 0, 1)), list(after), name, antialias=True
    )
    ours = RESIZERS[f"{name}-antialias"](image, after[1], after[0])
    difference = np.abs(ours.astype(int) - expected.numpy().transpose(1, 2, 0).astype(int))
    assert difference.max() <= 2  # of bicubic it rounds weights to fewer bits
    assert difference.mean() < 0.01

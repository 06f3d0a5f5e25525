"""What the steps of recipes work on: the embedded detector and drawn images of digits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploymark.bench.data.image_lists import list_images
from deploymark.bench.data.labels import yolo_labels
from deploymark.bench.data.training_data import TrainingData
from deploymark.bench.variants.apply import StepContext

CLASSES = 10
SIDE = 320
DRAWN_IMAGES = 48
IMGSZ = 160


@pytest.fixture(scope="session")
def drawn_digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 48 training images of digits, 320 pixels a side, with labels."""
    pytest.importorskip("sklearn")
    from deploymark.bench.assets.make_digits import make_dataset

    folder = tmp_path_factory.mktemp("drawn-digits")
    make_dataset(folder, {"train": DRAWN_IMAGES})
    return folder


@pytest.fixture
def step_context(digits: Path, drawn_digits: Path, tmp_path: Path) -> Callable[..., StepContext]:
    """Makes what a step works with: ``step_context(training=32, selection=8, seed=0)``.

    At 160 pixels; its folder is ``tmp_path / "scratch"``. Fields of ``StepContext`` given besides
    (``say``, ``data``, …) are taken instead.
    """
    pytest.importorskip("ultralytics")
    images = [
        yolo_labels(path, SIDE, SIDE, CLASSES)
        for path in list_images(drawn_digits / "images" / "train")
    ]

    def make(training: int = 32, selection: int = 8, **changes: Any) -> StepContext:
        assert training + selection <= DRAWN_IMAGES
        folder = tmp_path / "scratch"
        folder.mkdir(exist_ok=True)
        values: dict[str, Any] = {
            "original": digits / "digits.pt",
            "imgsz": IMGSZ,
            "seed": 0,
            "data": TrainingData(
                tuple(images[:training]), tuple(images[training : training + selection])
            ),
            "folder": folder,
            "say": lambda _what: None,
        }
        return StepContext(**{**values, **changes})

    return make


@pytest.fixture
def detector(digits: Path) -> Any:
    """The embedded detector, before fusing; a fresh one for each test."""
    pytest.importorskip("ultralytics")
    from deploymark.bench.variants.checkpoint import load_detector

    return load_detector(digits / "digits.pt")

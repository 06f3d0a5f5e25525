from __future__ import annotations

import pytest

from deploymark.backends.base import UnsupportedError
from deploymark.bench.variants.hyperparameters import INHERITED, NAMES, hyperparameters

OLD = {
    "mosaic": 0.3,
    "box": 7.0,
    "fliplr": 0,
    "lr0": 0.5,
    "data": "/elsewhere/data.yaml",
    "epochs": 300,
    "multi_scale": False,
    "copy_paste": None,
    "scale": float("nan"),
    "label_smoothing": 0.1,
}


def test_only_what_is_seen_and_weighed_is_inherited() -> None:
    taken = hyperparameters(OLD, {}, epochs=3)
    assert taken == {"mosaic": 0.3, "box": 7.0, "fliplr": 0, "close_mosaic": 1}


def test_the_matrix_comes_first() -> None:
    taken = hyperparameters(OLD, {"mosaic": 0.0, "close_mosaic": 2.0, "mixup": 0.1}, epochs=3)
    assert (taken["mosaic"], taken["close_mosaic"], taken["mixup"]) == (0.0, 2, 0.1)


@pytest.mark.parametrize(("epochs", "closed"), [(1, 1), (3, 1), (10, 4), (300, 10)])
def test_the_last_epochs_see_whole_images(epochs: int, closed: int) -> None:
    assert hyperparameters({}, {}, epochs)["close_mosaic"] == closed


def test_an_unknown_name_is_told_with_near_ones() -> None:
    with pytest.raises(UnsupportedError, match="'mosiac'") as caught:
        hyperparameters({}, {"mosiac": 1.0}, epochs=1)
    assert "mosaic" in caught.value.remedy
    with pytest.raises(UnsupportedError, match="'zzzz'") as caught:
        hyperparameters({}, {"zzzz": 1.0}, epochs=1)
    assert "weight_decay" in caught.value.remedy


@pytest.mark.heavy
def test_ultralytics_knows_them_all() -> None:
    cfg = pytest.importorskip("ultralytics.cfg")
    assert set(NAMES) <= set(vars(cfg.get_cfg()))
    assert all(isinstance(vars(cfg.get_cfg())[name], int | float) for name in INHERITED)

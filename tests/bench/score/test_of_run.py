from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deploymark.backends.inputs import square_input
from deploymark.bench.data.datasets import Dataset, load_dataset
from deploymark.bench.matrix.entries import ModelEntry
from deploymark.bench.matrix.request import data_source
from deploymark.bench.records.run import CellResult, Run, RunInfo
from deploymark.bench.score.average_precision import score
from deploymark.bench.score.of_run import RunScores
from deploymark.bench.worker.detections import Detections, save_detections
from deploymark.bench.worker.letterbox import geometry

IMGSZ = 320
MATRIX: dict[str, Any] = {
    "models": [{"path": "builtin:digits", "data": "builtin:digits"}],
    "backends": ["onnxruntime"],
    "scoring": {"max_images": 24},
    "calibration": {"images": 4},
}


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    entry = ModelEntry(path="builtin:digits", data="builtin:digits")
    return load_dataset(data_source(entry), calibration_images=4, max_images=24, seed=0)


def boxes(dataset: Dataset, *, missed: int) -> list[Detections]:
    """The labels themselves, but for those of the first images."""
    found = []
    for index, image in enumerate(dataset.scored):
        place = geometry(image.width, image.height, square_input(IMGSZ))
        gain = np.array([place.gain_x, place.gain_y] * 2)
        pad = np.array([place.pad_x, place.pad_y] * 2)
        kept = 0 if index < missed else len(image.boxes)
        found.append(
            Detections(
                (image.boxes[:kept] * gain + pad).astype(np.float32),
                np.linspace(0.9, 0.5, kept).astype(np.float32),
                image.classes[:kept].astype(np.int32),
            )
        )
    return found


@pytest.fixture
def run(dataset: Dataset, tmp_path: Path) -> Run:
    """A cell that finds everything and one that misses the boxes of eight images."""
    (tmp_path / "predictions").mkdir()
    cells = []
    for name, missed in (("good", 0), ("bad", 8)):
        found = boxes(dataset, missed=missed)
        save_detections(tmp_path / "predictions" / f"{name}.npz", found)
        places = [
            geometry(image.width, image.height, square_input(IMGSZ)) for image in dataset.scored
        ]
        scores = score(dataset.scored, found, places, {index: index for index in range(10)})
        cells.append(
            CellResult(
                name,
                "ok",
                model="digits",
                imgsz=IMGSZ,
                map50_95=scores.map50_95,
                map50=scores.map50,
                map_images=24,
                agreement=0.5,
                agreement_reference="good",
            )
        )
    info = RunInfo(
        matrix=MATRIX,
        matrix_file="m.yaml",
        machine={},
        packages={},
        seed=0,
        started="",
        datasets=[{"model": "digits", "scored_hash": dataset.scored_hash}],
    )
    return Run(tmp_path, info, tuple(cells))


def test_two_cells_are_scored_on_the_same_resamples(run: Run) -> None:
    scores = RunScores(run)
    good, bad = (scores.resampled(cell, "map50_95") for cell in run.cells)
    assert good is not None
    assert bad is not None
    assert not scores.reasons
    change = bad - good
    assert np.all(change <= 0)
    assert np.mean(change) == pytest.approx(
        (run.cells[1].map50_95 or 0) - (run.cells[0].map50_95 or 0), abs=0.03
    )


def test_labels_that_give_another_map_are_not_believed(run: Run) -> None:
    wrong = dataclasses.replace(run.cells[0], map50=0.1)
    scores = RunScores(run)
    assert scores.resampled(wrong, "map50") is None
    assert "another mAP" in scores.reasons["digits"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"datasets": [{"model": "digits", "scored_hash": "other"}]}, "other images"),
        ({"datasets": []}, "does not tell its data set"),
        ({"matrix": {}}, "matrix.models: Field required"),
        ({"matrix": MATRIX | {"models": [{"path": "digits.pt", "data": "gone.yaml"}]}}, "gone"),
    ],
)
def test_why_labels_cannot_be_used_is_told(run: Run, changes: dict[str, Any], told: str) -> None:
    changed = dataclasses.replace(run, info=dataclasses.replace(run.info, **changes))
    scores = RunScores(changed)
    assert scores.resampled(run.cells[0], "map50_95") is None
    assert told in scores.reasons["digits"]


def test_boxes_that_are_gone_have_no_interval(run: Run) -> None:
    (run.folder / "predictions" / "bad.npz").unlink()
    scores = RunScores(run)
    assert scores.agreement(run.cells[1]) is None
    assert scores.resampled(run.cells[1], "map50_95") is None
    assert scores.agreement(run.cells[0]) == (1.0, 1.0)

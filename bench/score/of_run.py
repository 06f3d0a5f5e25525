"""The scores of a run's cells on images drawn anew: how far they and their changes carry.

The boxes are those that the run stored; the labels are read again where the data set is, and are
believed only where they give the mAP that the run recorded.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from deploymark.backends.inputs import InputSpec
from deploymark.bench.data.class_names import match_names
from deploymark.bench.data.datasets import Dataset, load_dataset
from deploymark.bench.data.label_record import read_labels
from deploymark.bench.errors import BadInputError
from deploymark.bench.matrix.entries import model_name
from deploymark.bench.matrix.request import data_source
from deploymark.bench.matrix.schema import recorded_matrix
from deploymark.bench.records.run import (
    LABELS_STEM,
    PREDICTIONS_FOLDER,
    RUN_FILE,
    CellResult,
    Run,
)
from deploymark.bench.score.agreement_interval import agreement_interval
from deploymark.bench.score.coco_matches import Predictions
from deploymark.bench.score.map_interval import MapFigure, resampled
from deploymark.bench.statistics.intervals import Interval
from deploymark.bench.store import Store
from deploymark.bench.worker.detections import load_detections
from deploymark.bench.worker.letterbox import geometry

if TYPE_CHECKING:
    import numpy.typing as npt

_SAME = 1e-6
"""How far the mAP of the same boxes and labels may differ by rounding."""


@dataclasses.dataclass(frozen=True)
class _Labels:
    """A data set with the model's class for each of its classes."""

    dataset: Dataset
    class_map: Mapping[int, int]


class RunScores:
    """What of a run can be scored again; everything is read when it is asked for, and kept."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._resampled: dict[tuple[str, str], npt.NDArray[np.float64] | None] = {}
        self._labels: dict[str, _Labels | None] = {}
        self._agreements: dict[str, Interval | None] = {}
        self.reasons: dict[str, str] = {}
        """By model, why its labels cannot be used."""

    def resampled(self, cell: CellResult, figure: MapFigure) -> npt.NDArray[np.float64] | None:
        """The mAP of a cell on each resample of the images, the same ones for all cells.

        None where its boxes or labels are not here, and where they no longer give what the run
        recorded.
        """
        key = (cell.cell, figure)
        if key not in self._resampled:
            self._resampled[key] = self._score(cell, figure)
        return self._resampled[key]

    def agreement(self, cell: CellResult) -> Interval | None:
        """95 % interval of a cell's agreement; None where the boxes are not here."""
        if cell.cell not in self._agreements:
            folder = self._run.folder / PREDICTIONS_FOLDER
            names = (cell.agreement_reference, cell.cell)
            try:
                interval = agreement_interval(*(folder / f"{name}.npz" for name in names))
            except (OSError, ValueError):
                interval = None
            self._agreements[cell.cell] = interval
        return self._agreements[cell.cell]

    def _score(self, cell: CellResult, figure: MapFigure) -> npt.NDArray[np.float64] | None:
        labels = self._labels_of(cell.model)
        if labels is None:
            return None
        images, class_map = labels.dataset.scored, labels.class_map
        spec = self._input_of(cell)
        places = [geometry(image.width, image.height, spec) for image in images]
        boxes = self._run.folder / PREDICTIONS_FOLDER / f"{cell.cell}.npz"
        try:
            read = Predictions(load_detections(boxes), places, class_map)
            value, found = resampled(images, read, figure=figure)
        except (BadInputError, OSError, ValueError) as error:
            self.reasons[cell.model] = str(error).splitlines()[0]
            return None
        if abs(value - (getattr(cell, figure) or 0.0)) > _SAME:
            self.reasons[cell.model] = (
                f"{cell.cell}: its boxes and the labels give another mAP than the run recorded"
            )
            return None
        return found

    def _input_of(self, cell: CellResult) -> InputSpec:
        """How the pictures were put into a cell's input."""
        told = next((item for item in self._run.info.models if item["name"] == cell.model), {})
        return InputSpec.read(told.get("input") or {}).at(cell.size)

    def _labels_of(self, model: str) -> _Labels | None:
        if model not in self._labels:
            try:
                self._labels[model] = self._read(model)
            except (BadInputError, OSError, KeyError, TypeError, ValueError) as error:
                self._labels[model] = None
                self.reasons[model] = str(error).splitlines()[0]
        return self._labels[model]

    def _read(self, model: str) -> _Labels:
        """The labels of a model, as the run had them. Raises BadInputError where they are others.

        Its classes go by position where no artifact is there to name them.
        """
        matrix = recorded_matrix(self._run.info.matrix, self._run.folder / RUN_FILE)
        entry = next((entry for entry in matrix.models if model_name(entry) == model), None)
        recorded = {str(item.get("model")): item for item in self._run.info.datasets}
        if entry is None or model not in recorded:
            raise BadInputError(f"{model}: the run does not tell its data set")
        if (name := recorded[model].get("labels")) is not None:
            return self._recorded(recorded[model], name)
        dataset = load_dataset(
            data_source(entry),
            calibration_images=recorded[model].get("calibration_images") or 0,
            max_images=matrix.scoring.max_images,
            seed=matrix.seed,
            on_fault=matrix.on_fault,
        )
        if not dataset.labelled or dataset.scored_hash != recorded[model].get("scored_hash"):
            raise BadInputError(f"{model}: its data set has other images than when it was scored")
        hashes = (cell.artifact_sha256 for cell in self._run.cells if cell.model == model)
        wanted = [sha256 for sha256 in hashes if sha256 is not None]
        stored = Store().find_sha256(wanted[:1])
        names = next((found.detector["names"] for found in stored.values()), dataset.names)
        return _Labels(dataset, match_names(dataset.names, tuple(names)))

    def _recorded(self, facts: Mapping[str, Any], name: object) -> _Labels:
        """The labels that a run of a bundle has with it."""
        if not re.fullmatch(rf"{LABELS_STEM}-\d+\.json", str(name)):
            raise BadInputError(f"{name!r} is no file of labels")
        dataset = read_labels(self._run.folder / str(name))
        if not dataset.labelled:
            raise BadInputError(f"{dataset.name} has no labels")
        pairs = {int(key): int(value) for key, value in dict(facts["class_map"]).items()}
        return _Labels(dataset, pairs)

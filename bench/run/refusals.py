"""What a run would refuse of its models and data sets, told before anything is built."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from deploymark.bench.data.class_names import compare_classes, match_names
from deploymark.bench.errors import BadInputError, together
from deploymark.bench.matrix.cells import Cell
from deploymark.bench.matrix.entries import ModelEntry, model_name
from deploymark.bench.matrix.request import ResolvedMatrix, model_path, model_source
from deploymark.bench.matrix.schema import Matrix
from deploymark.bench.run.inspection import can_open, inspected
from deploymark.bench.run.planned_model import calibrated_sizes, check_multiple, dataset_of
from deploymark.bench.store import Store

COMMON_STRIDE = 32
"""Largest stride of nearly every YOLO: a checkpoint is opened only for sizes that it may refuse."""


def check_models(resolved: ResolvedMatrix) -> None:
    """Raise BadInputError for all that ``bench.run.plan.prepare`` would refuse.

    As far as it can be told without opening checkpoints, and without letterboxing images.
    """
    faults: list[BadInputError] = []
    for entry in resolved.matrix.models:
        cells = [cell for cell in resolved.cells if cell.model == model_name(entry)]
        try:
            _check(entry, resolved.matrix, cells)
        except BadInputError as error:
            faults.append(error)
    if faults:
        raise together(faults)


def _check(entry: ModelEntry, matrix: Matrix, cells: Sequence[Cell]) -> None:
    given = next((cell.given for cell in cells if cell.given and cell.given.outcome is None), None)
    if not cells or (entry.artifact is not None and given is None):
        return
    dataset = dataset_of(entry, matrix, matrix.calibration.images if calibrated_sizes(cells) else 0)
    sizes = list(dict.fromkeys(cell.imgsz for cell in cells))
    path = model_path(entry)
    if given is not None:
        detector = given.detector(dataset.names)
        check_multiple(path, sizes, detector.stride)
        class_map = match_names(dataset.names, detector.names)
        boxes = dataset.boxes_by_class()
        compare_classes(dataset.name, boxes, dataset.names, detector.names, class_map)
        return
    odd = [size for size in sizes if any(side % COMMON_STRIDE for side in size)]
    source = model_source(entry)
    if odd and can_open(source):
        with tempfile.TemporaryDirectory(prefix="deploymark-") as folder:
            log = Path(folder) / "inspect.log"
            inspected(source, source.sha256(), odd[0], Store(), _say_nothing, log)


def _say_nothing(_what: str) -> None:
    return

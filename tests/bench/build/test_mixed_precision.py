"""The search for layers in float, judged by what it never sees: labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deploymark.backends.inputs import Size, square_input
from deploymark.bench.data.class_names import match_names
from deploymark.bench.data.datasets import DataSource, load_dataset
from deploymark.bench.data.images import letterboxed
from deploymark.bench.score.average_precision import score
from deploymark.bench.variants.checkpoint import describe, float_nodes, model_factory
from deploymark.bench.worker.detections import SCORING_CONFIDENCE, decode
from deploymark.bench.worker.letterbox import to_input

pytestmark = pytest.mark.heavy

SIZE = 160

TO_LOSE: dict[str, Any] = {"per_channel": False, "reduce_range": "none", "decode": "int8"}
"""Per-tensor minmax of every layer, the decode of boxes and scores too."""

BACKBONE = ["model.?", "model.1?", "model.2[0-2]"]
"""Layers that this test keeps in float: fewer are searched, which is quicker."""


def test_the_search_wins_back_most_of_what_int8_lost(digits: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    pytest.importorskip("ultralytics")
    from deploymark.backends.base import ExportRequest, LoadOptions
    from deploymark.backends.onnxruntime import OnnxRuntimeBackend

    dataset = load_dataset(
        DataSource("digits", yaml=digits / "data.yaml"),
        calibration_images=8,
        max_images=24,
        seed=0,
    )
    factory = model_factory(digits / "digits.pt", SIZE)
    module = factory()
    detector, backend = describe(module, SIZE), OnnxRuntimeBackend()
    calibration = [
        to_input(letterboxed(path, square_input(SIZE))[0][None]) for path in dataset.calibration
    ]
    images, places = zip(
        *(letterboxed(image.path, square_input(SIZE)) for image in dataset.scored), strict=True
    )

    def measured(precision: str, **options: Any) -> tuple[float, tuple[str, ...]]:
        """mAP50-95 of an export, and the notes on it."""
        folder = tmp_path / f"{precision}-{len(options)}"
        folder.mkdir()
        artifact = backend.export(
            ExportRequest(
                model=factory,
                detector=detector,
                precision=precision,
                device="cpu",
                imgsz=Size.of(SIZE),
                batch=1,
                folder=folder,
                calibration=lambda: calibration,
                float_nodes=float_nodes(module),
                options=options,
            )
        )
        session = backend.load(artifact, LoadOptions("cpu", precision, 1, (1, 3, SIZE, SIZE)))
        found = [
            decode(
                session.infer(to_input(image[None])),
                detector.output,
                Size.of(SIZE),
                conf=SCORING_CONFIDENCE,
                multi_label=True,
            )[0]
            for image in images
        ]
        names = match_names(dataset.names, detector.names)
        return score(dataset.scored, found, places, names).map50_95, artifact.notes

    fp32, _ = measured("fp32")
    full, _ = measured("int8", **TO_LOSE)
    searched, notes = measured(
        "int8", **TO_LOSE, max_drop=0.1, search_images=2, float_layers=BACKBONE
    )
    assert full < 0.1 * fp32
    assert searched > full + 0.5 * (fp32 - full)
    assert notes[0].startswith("kept in float by float_layers: model.?, model.1?, model.2[0-2] (")
    assert notes[1].startswith("kept in float by the search: model.23.Concat_3")

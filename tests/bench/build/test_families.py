"""Every family of detectors, from checkpoint to boxes: both heads, both output layouts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deploymark.backends.base import Detector, ExportRequest, LoadOptions
from deploymark.backends.inputs import Size
from deploymark.backends.registry import BUILTIN, resolve
from deploymark.bench.errors import BadInputError
from deploymark.bench.variants.checkpoint import describe, float_nodes, model_factory
from deploymark.bench.worker.detections import SCORING_CONFIDENCE, decode

pytestmark = pytest.mark.heavy

torch = pytest.importorskip("torch")
pytest.importorskip("ultralytics")
pytest.importorskip("onnxruntime")

SIZE = 64

FAMILIES = [
    ("yolo11n", "auto", "anchors"),
    ("yolo26n", "auto", "detections"),
    ("yolo26n", "one-to-many", "anchors"),
    ("yolo12n", "auto", "anchors"),
    ("yolov10n", "one-to-one", "detections"),
    ("yolov10n", "one-to-many", "anchors"),
    ("yolov9t", "auto", "anchors"),
    ("yolov8n", "auto", "anchors"),
    ("yolov5n", "auto", "anchors"),
]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Untrained checkpoints whose boxes and scores are spread as trained ones' are."""
    from ultralytics.nn.tasks import DetectionModel

    folder = tmp_path_factory.mktemp("families")

    def checkpoint(family: str) -> Path:
        path = folder / f"{family}.pt"
        if not path.exists():
            torch.manual_seed(1)
            model = DetectionModel(f"{family}.yaml", nc=4, verbose=False)
            for module in model.modules():
                if isinstance(module, torch.nn.BatchNorm2d):
                    module.momentum = 0.5
            pixels = torch.nn.functional.interpolate(
                torch.rand(4, 3, 8, 8), size=(SIZE, SIZE), mode="bilinear"
            )
            head = model.model[-1]
            with torch.no_grad():
                model.train()
                for _ in range(4):
                    model(pixels)
                for name in ("cv2", "cv3", "one2one_cv2", "one2one_cv3"):
                    for branch in getattr(head, name, None) or ():
                        branch[-1].weight.mul_(8 if name.endswith("3") else 2)
                        branch[-1].bias.zero_()
            torch.save({"model": model}, path)
        return path

    return checkpoint


@pytest.mark.parametrize(("family", "head", "layout"), FAMILIES)
def test_boxes_of_the_exported_file_are_those_of_the_checkpoint(
    family: str, head: str, layout: Any, checkpoints: Any, tmp_path: Path
) -> None:
    factory = model_factory(checkpoints(family), SIZE, head=head)
    module = factory()
    detector = describe(module, SIZE)
    assert detector.output.layout == layout
    assert detector.family == family
    images = torch.nn.functional.interpolate(
        torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)), size=(SIZE, SIZE)
    )
    with torch.no_grad():
        expected = factory()(images).numpy()

    backend = resolve(BUILTIN["onnxruntime"])
    artifact = backend.export(
        ExportRequest(
            model=factory,
            detector=Detector(names=detector.names, output=detector.output),
            precision="fp32",
            device="cpu",
            imgsz=Size.of(SIZE),
            batch=1,
            folder=tmp_path,
            float_nodes=float_nodes(module),
        )
    )
    session = backend.load(artifact, LoadOptions("cpu", "fp32", 1, (1, 3, SIZE, SIZE)))
    found = session.infer(images.numpy())
    assert found.shape == expected.shape
    (ours,) = decode(found, detector.output, Size.of(SIZE), conf=SCORING_CONFIDENCE)
    (theirs,) = decode(expected, detector.output, Size.of(SIZE), conf=SCORING_CONFIDENCE)
    assert np.ptp(theirs.scores) > 0.05
    assert len(theirs) > 3
    if layout == "anchors":
        np.testing.assert_allclose(found[:, :4], expected[:, :4], atol=5e-3)
        np.testing.assert_allclose(found[:, 4:], expected[:, 4:], atol=1e-4)
        return
    assert len(ours) == len(theirs)
    np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-4)
    # Boxes of one score may come in any order.
    apart = np.abs(np.diff(theirs.scores, prepend=2, append=-1))
    alone = (apart[:-1] > 1e-3) & (apart[1:] > 1e-3)
    assert alone.any()
    np.testing.assert_allclose(ours.boxes[alone], theirs.boxes[alone], atol=0.02)
    np.testing.assert_array_equal(ours.classes[alone], theirs.classes[alone])


@pytest.mark.parametrize("family", ["yolo11n"])
def test_a_head_that_is_not_there_is_bad_input(family: str, checkpoints: Any) -> None:
    with pytest.raises(BadInputError, match="no one-to-one head"):
        model_factory(checkpoints(family), SIZE, head="one-to-one")

"""Structured pruning where there are images: statistics, scores, and the file that is left."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deploymark.backends.inputs import square_input
from deploymark.bench.data.images import letterboxed
from deploymark.bench.data.labels import unlabelled, yolo_labels
from deploymark.bench.data.training_data import TrainingData
from deploymark.bench.variants.apply import StepContext
from deploymark.bench.variants.batch_norm import lacks_statistics
from deploymark.bench.variants.checkpoint import load_detector, save_detector
from deploymark.bench.variants.evaluate import Evaluator
from deploymark.bench.variants.structured import recalibrate, run
from deploymark.bench.worker.letterbox import to_input
from tests.bench.variants.small_detectors import SIZE, step, untrained

pytestmark = pytest.mark.heavy

torch = pytest.importorskip("torch")
pytest.importorskip("ultralytics")
pytest.importorskip("torch_pruning")

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def detector() -> Any:
    return untrained()


@pytest.fixture
def context(tmp_path: Path) -> StepContext:
    return StepContext(tmp_path / "model.pt", SIZE, 0, None, tmp_path, lambda _: None)


def training_data(digits: Path, training: int, selection: int) -> TrainingData:
    paths = sorted((digits / "images" / "val").iterdir())[: training + selection]
    labels = [yolo_labels(path, *letterboxed_size(path), 10) for path in paths]
    return TrainingData(tuple(labels[:training]), tuple(labels[training:]))


def letterboxed_size(path: Path) -> tuple[int, int]:
    place = letterboxed(path, square_input(32))[1]
    return place.width, place.height


def test_recalibrated_statistics_are_those_of_the_images(detector: Any, digits: Path) -> None:
    module = copy.deepcopy(detector)
    module.model[0].bn.momentum = 0.25
    weights = [weight.clone() for weight in module.parameters()]
    images = sorted((digits / "images" / "calib").iterdir())[:32]
    recalibrate(module, images, SIZE)
    pixels = np.stack([letterboxed(path, square_input(SIZE))[0] for path in images])
    with torch.inference_mode():
        values = module.model[0].conv(torch.from_numpy(to_input(pixels)))
    layer = module.model[0].bn
    torch.testing.assert_close(layer.running_mean, values.mean((0, 2, 3)), atol=1e-5, rtol=1e-4)
    # Of two batches of 16 each.
    batches = torch.stack([part.transpose(0, 1).flatten(1).var(1) for part in values.split(16)])
    torch.testing.assert_close(layer.running_var, batches.mean(0), atol=1e-5, rtol=1e-4)
    assert layer.momentum == 0.25
    assert not any(each.training for each in module.modules())
    assert all(map(torch.equal, weights, module.parameters()))


@pytest.fixture(scope="module")
def trained(digits: Path) -> Any:
    return load_detector(digits / "digits.pt")


def test_recalibration_brings_some_of_the_boxes_back(
    trained: Any, digits: Path, context: StepContext, tmp_path: Path
) -> None:
    data = training_data(digits, 24, 8)
    asked = step(ratio=0.1, round_to=1)
    told = StepContext(tmp_path, 160, 0, data, tmp_path, lambda _: None)
    without, _ = run(trained, asked, context)
    with_images, record = run(trained, asked, told)
    scorer = Evaluator(data.selection, 160)
    assert record["map50_95_before"] == scorer.map50_95(trained)
    assert record["map50_95_after"] == scorer.map50_95(with_images)
    assert record["map50_95_before"] > record["map50_95_after"] > scorer.map50_95(without) + 0.05
    assert [tuple(weight.shape) for weight in with_images.parameters()] == [
        tuple(weight.shape) for weight in without.parameters()
    ]


def test_lost_statistics_are_restored_and_not_made_up(
    trained: Any, digits: Path, tmp_path: Path
) -> None:
    """A checkpoint put together from a fused export: normalisations that only add a bias."""
    data = training_data(digits, 16, 8)
    told = StepContext(tmp_path, 160, 0, data, tmp_path, lambda _: None)
    lost = copy.deepcopy(trained)
    for layer in [each for each in lost.modules() if hasattr(each, "bn")]:
        scale = layer.bn.weight / torch.sqrt(layer.bn.running_var + layer.bn.eps)
        layer.conv.weight.data *= scale.view(-1, 1, 1, 1)
        layer.bn.bias.data -= layer.bn.running_mean * scale
        layer.bn.reset_running_stats()
        layer.bn.weight.data.fill_((1 + layer.bn.eps) ** 0.5)
    assert lacks_statistics(lost)
    _, record = run(lost, step(ratio=0.1, round_to=1), told)
    assert lacks_statistics(lost)
    assert record["map50_95_after"] > 0.1
    assert "measured on 16 images" in record["notes"][0]


def test_images_without_labels_are_enough(detector: Any, digits: Path, tmp_path: Path) -> None:
    images = [unlabelled(path, 96, 96) for path in sorted((digits / "images" / "calib").iterdir())]
    data = TrainingData(tuple(images[:8]), tuple(images[8:10]))
    told = StepContext(tmp_path, SIZE, 0, data, tmp_path, lambda _: None)
    pruned, record = run(detector, step(ratio=0.3), told)
    assert not lacks_statistics(pruned)
    assert "map50_95_after" not in record
    assert record["notes"][-1].startswith("mAP50-95 not measured: none of the 2 images")


FRESH = """
import json, sys
from pathlib import Path
import numpy as np
from deploymark.bench.variants.checkpoint import describe, exportable
from deploymark.bench.variants.checkpoint import load_detector, quiet_ultralytics
path, data = Path(sys.argv[1]), sys.argv[2]
found = describe(exportable(load_detector(path), 64), 64)
quiet_ultralytics()
from ultralytics import YOLO
options = {"imgsz": 64, "verbose": False, "device": "cpu"}
boxes = YOLO(path).predict(np.zeros((64, 64, 3), np.uint8), save=False, **options)
options["project"] = path.parent
metrics = YOLO(path).val(data=data, workers=0, plots=False, save=False, **options)
file = YOLO(path).export(format="onnx", simplify=False, **options)
import onnxruntime
session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
shape = session.run(None, {"images": np.zeros((1, 3, 64, 64), np.float32)})[0].shape
print(json.dumps([found.macs, found.params, found.family, list(found.names), len(boxes),
                  metrics.box.map, list(shape)]))
"""


def test_a_fresh_process_opens_the_file_and_so_does_ultralytics(
    trained: Any, digits: Path, context: StepContext, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    pruned, record = run(trained, step(ratio=0.3), context)
    save_detector(pruned, tmp_path / "pruned.pt")
    for kind in ("images", "labels"):
        folder = tmp_path / kind / "val"
        folder.mkdir(parents=True)
        for path in sorted((digits / kind / "val").iterdir())[:4]:
            (folder / path.name).write_bytes(path.read_bytes())
    names = json.dumps([str(number) for number in range(10)])
    (tmp_path / "data.yaml").write_text(
        f"path: {tmp_path}\ntrain: images/val\nval: images/val\nnames: {names}\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", FRESH, str(tmp_path / "pruned.pt"), str(tmp_path / "data.yaml")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    macs, params, family, classes, images, score, shape = json.loads(done.stdout.splitlines()[-1])
    assert (macs, params) == (record["macs_after"], record["params_after"])
    assert family == "yolo11n"
    assert len(classes) == 10
    assert images == 1
    assert 0 <= score <= 1
    assert shape == [1, 14, 84]

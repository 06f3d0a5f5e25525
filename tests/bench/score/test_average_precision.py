from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from deploymark.backends.inputs import PLAIN_INPUT, Size
from deploymark.bench.data.labels import ImageLabels
from deploymark.bench.errors import BadInputError
from deploymark.bench.score.average_precision import Scores, score
from deploymark.bench.worker.detections import Detections
from tests.boxes import SIZE, found, labels, nothing, place_of, random_case


def test_finding_every_box_scores_one() -> None:
    image = labels([[10, 20, 110, 220], [300, 100, 400, 150]], [0, 1])
    detections = found(image, image.boxes, [0.9, 0.8], [3, 5])
    assert score([image], [detections], [place_of(image)], {0: 3, 1: 5}) == Scores(1.0, 1.0, 1)


def test_finding_nothing_scores_zero() -> None:
    image = labels([[10, 20, 110, 220]], [0])
    assert score([image], [nothing()], [place_of(image)], {0: 0}) == Scores(0.0, 0.0, 1)


def test_the_wrong_class_scores_zero() -> None:
    image = labels([[10, 20, 110, 220]], [0])
    detections = found(image, image.boxes, [0.9], [1])
    assert score([image], [detections], [place_of(image)], {0: 0, 1: 1}).map50 == 0.0


def test_a_box_off_by_a_fifth_counts_at_low_thresholds() -> None:
    image = labels([[0, 0, 100, 100]], [0])
    detections = found(image, np.array([[0, 0, 100, 78.0]]), [0.9], [0])  # IoU 0.78
    result = score([image], [detections], [place_of(image)], {0: 0})
    assert result.map50 == pytest.approx(1.0)
    assert result.map50_95 == pytest.approx(0.6)  # 0.50, 0.55, …, 0.75 of ten thresholds


def test_crowd_regions_are_neither_found_nor_missed() -> None:
    image = labels([[10, 20, 110, 220], [200, 0, 600, 400]], [0, 0], [False, True])
    boxes = np.array([[10, 20, 110, 220], [210, 10, 300, 90], [350, 50, 500, 300]], dtype=float)
    detections = found(image, boxes, [0.5, 0.9, 0.8], [0, 0, 0])
    assert score([image], [detections], [place_of(image)], {0: 0}).map50_95 == pytest.approx(1.0)


def test_classes_without_a_counterpart_are_left_out() -> None:
    image = labels([[10, 20, 110, 220], [300, 100, 400, 150]], [0, 1])
    boxes = np.vstack((image.boxes[:1], [[0, 0, 50, 50]]))
    detections = found(image, boxes, [0.9, 0.95], [0, 9])
    assert score([image], [detections], [place_of(image)], {0: 0}).map50_95 == pytest.approx(1.0)


def test_no_box_of_a_known_class_is_told() -> None:
    image = labels([[10, 20, 110, 220]], [1])
    with pytest.raises(BadInputError, match="no box of the images"):
        score([image], [nothing()], [place_of(image)], {0: 0})
    crowd = labels([[10, 20, 110, 220]], [0], [True])
    with pytest.raises(BadInputError, match="no box of the images"):
        score([crowd], [nothing()], [place_of(crowd)], {0: 0})


def test_lists_of_other_lengths_are_refused() -> None:
    image = labels([[10, 20, 110, 220]], [0])
    with pytest.raises(ValueError, match="zip"):
        score([image], [], [place_of(image)], {0: 0})


def test_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    image = labels([[10, 20, 110, 220]], [0])
    score([image], [found(image, image.boxes, [0.9], [0])], [place_of(image)], {0: 0})
    assert capfd.readouterr() == ("", "")


def by_pycocotools(
    scored: Sequence[ImageLabels], detections: Sequence[Detections], classes: int
) -> tuple[float, float]:
    """The same with the reference implementation, its input written down independently."""
    coco = pytest.importorskip("pycocotools.coco")
    cocoeval = pytest.importorskip("pycocotools.cocoeval")
    annotations = []
    for image_id, image in enumerate(scored, 1):
        for index in range(len(image.boxes)):
            x1, y1, x2, y2 = image.boxes[index]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": int(image.classes[index]) + 1,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": image.areas[index],
                    "iscrowd": int(image.crowd[index]),
                }
            )
    results = []
    for image_id, (image, one) in enumerate(zip(scored, detections, strict=True), 1):
        place = place_of(image)
        for (x1, y1, x2, y2), confidence, index in zip(
            one.boxes.astype(float), one.scores, one.classes, strict=True
        ):
            left = min(max((x1 - place.pad_x) / place.gain_x, 0), image.width)
            right = min(max((x2 - place.pad_x) / place.gain_x, 0), image.width)
            top = min(max((y1 - place.pad_y) / place.gain_y, 0), image.height)
            bottom = min(max((y2 - place.pad_y) / place.gain_y, 0), image.height)
            results.append(
                {
                    "image_id": image_id,
                    "category_id": int(index) + 1,
                    "bbox": [left, top, right - left, bottom - top],
                    "score": float(confidence),
                }
            )
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco.COCO()
        truth.dataset = {
            "info": {},
            "images": [{"id": index + 1} for index in range(len(scored))],
            "categories": [{"id": index + 1} for index in range(classes)],
            "annotations": annotations,
        }
        truth.createIndex()
        evaluation = cocoeval.COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0]), float(evaluation.stats[1])


@pytest.mark.parametrize("seed", range(5))
def test_equals_pycocotools(seed: int) -> None:
    scored, detections = random_case(seed)
    result = score(
        scored, detections, [place_of(image) for image in scored], {k: k for k in range(4)}
    )
    expected = by_pycocotools(scored, detections, 4)
    assert 0.01 < result.map50_95 < 0.99
    assert (result.map50_95, result.map50) == pytest.approx(expected, abs=1e-6)


@pytest.mark.heavy
def test_equals_pycocotools_on_a_real_detector_and_real_crowds(coco_mini: Path) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("ultralytics")
    from deploymark.bench.data.class_names import match_names
    from deploymark.bench.data.datasets import DataSource, load_dataset
    from deploymark.bench.variants.checkpoint import describe, model_factory
    from deploymark.bench.worker.detections import SCORING_CONFIDENCE, decode
    from deploymark.bench.worker.letterbox import letterbox, read_rgb, to_input

    dataset = load_dataset(
        DataSource("m", annotations=coco_mini / "annotations" / "instances_val.json"),
        calibration_images=0,
        max_images=None,
        seed=0,
    )
    assert any(image.crowd.any() for image in dataset.scored)
    module = model_factory(coco_mini / "yolo11n-coco.pt", SIZE)()
    detector = describe(module, SIZE)
    spec = PLAIN_INPUT.at(Size(SIZE, SIZE))
    class_map = match_names(dataset.names, detector.names)
    assert len(class_map) == 80
    detections = []
    with torch.inference_mode():
        for image in dataset.scored:
            pixels = to_input(letterbox(read_rgb(image.path), spec)[None])
            raw = module(torch.from_numpy(pixels)).numpy()
            detections += decode(
                raw, detector.output, spec.size, conf=SCORING_CONFIDENCE, multi_label=True
            )
    places = [place_of(image) for image in dataset.scored]
    result = score(dataset.scored, detections, places, class_map)
    assert dataset.names == detector.names  # so that class numbers are the same on both sides
    expected = by_pycocotools(dataset.scored, detections, 80)
    assert (result.map50_95, result.map50) == pytest.approx(expected, abs=1e-6)
    # Ultralytics' own validation gives 0.307 on these photos.
    assert result.map50_95 == pytest.approx(0.307, abs=0.010)

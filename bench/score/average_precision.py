"""COCO's average precision of saved detections."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from deploymark.bench.data.labels import ImageLabels
from deploymark.bench.errors import BadInputError
from deploymark.bench.worker.detections import Detections
from deploymark.bench.worker.letterbox import Geometry, unletterbox_boxes

_IOU_050 = 0
"""Position of IoU 0.50 among COCO's thresholds 0.50, 0.55, …, 0.95."""

_ALL_AREAS = 0
_MAX_DETECTIONS_100 = -1


@dataclasses.dataclass(frozen=True)
class Scores:
    """Average precision in [0, 1], the mean over the classes that have boxes.

    ``map50_95`` is the mean over the IoU thresholds 0.50 to 0.95 by 0.05, ``map50`` that at 0.50;
    ``images`` is the number of images scored.
    """

    map50_95: float
    map50: float
    images: int


def score(
    scored: Sequence[ImageLabels],
    detections: Sequence[Detections],
    geometries: Sequence[Geometry],
    class_map: Mapping[int, int],
) -> Scores:
    """Score the detections of the images ``scored``, entry by entry.

    ``detections`` are in pixels of the letterboxed images that ``geometries`` describe;
    ``class_map`` gives the model's class for each class of the data set that it has, and other
    classes are left out on both sides. The protocol is COCO's: the best 100 detections of an image
    and class, 101 recall points, crowd regions neither found nor missed (Lin et al., Microsoft
    COCO, 2014).

    Raises BadInputError if there is no box of any class of ``class_map``, ValueError if the lists
    differ in length.
    """
    from faster_coco_eval import COCO, COCOeval_faster

    truth = _truth(scored, class_map)
    if all(annotation["iscrowd"] for annotation in truth["annotations"]):
        raise BadInputError(
            "no box of the images to score on is of a class that the model has",
            remedy="Score on more images, or on the data set that the model was trained for.",
        )
    ground = COCO(truth, print_function=_silent)
    found = ground.loadRes(_found(scored, detections, geometries, class_map))
    evaluation = COCOeval_faster(ground, found, "bbox", print_function=_silent)
    evaluation.evaluate()
    evaluation.accumulate()
    precision = evaluation.eval["precision"][..., _ALL_AREAS, _MAX_DETECTIONS_100]
    return Scores(map50_95=_mean(precision), map50=_mean(precision[_IOU_050]), images=len(scored))


def _mean(precision: Any) -> float:
    """The mean precision over the classes that have boxes; the others are -1."""
    return float(precision[precision > -1].mean())


def _silent(*_words: object) -> None:
    """Print nothing."""


def _truth(scored: Sequence[ImageLabels], class_map: Mapping[int, int]) -> dict[str, Any]:
    """The labels as COCO's document; image ids are positions, category ids the model's classes."""
    annotations: list[dict[str, Any]] = []
    for image_id, image in enumerate(scored):
        rows = zip(image.boxes, image.classes, image.areas, image.crowd, strict=True)
        for (x1, y1, x2, y2), class_index, area, crowd in rows:
            if int(class_index) not in class_map:
                continue
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": class_map[int(class_index)],
                    "bbox": [float(x1), float(y1), float(x2 - x1), float(y2 - y1)],
                    "area": float(area),
                    "iscrowd": int(crowd),
                }
            )
    return {
        "images": [
            {"id": index, "width": image.width, "height": image.height}
            for index, image in enumerate(scored)
        ],
        "categories": [
            {"id": index, "name": str(index)} for index in sorted(set(class_map.values()))
        ],
        "annotations": annotations,
    }


def _found(
    scored: Sequence[ImageLabels],
    detections: Sequence[Detections],
    geometries: Sequence[Geometry],
    class_map: Mapping[int, int],
) -> list[dict[str, Any]]:
    """The detections as COCO's list of results, in pixels of the source images."""
    known = np.array(sorted(set(class_map.values())), dtype=np.int32)
    results: list[dict[str, Any]] = []
    for image_id, (_, one, place) in enumerate(zip(scored, detections, geometries, strict=True)):
        boxes = unletterbox_boxes(one.boxes, place)
        boxes[:, 2:] -= boxes[:, :2]
        wanted = np.isin(one.classes, known)
        rows = zip(
            boxes[wanted].tolist(),
            one.scores[wanted].tolist(),
            one.classes[wanted].tolist(),
            strict=True,
        )
        results += [
            {"image_id": image_id, "category_id": class_index, "bbox": box, "score": confidence}
            for box, confidence, class_index in rows
        ]
    return results

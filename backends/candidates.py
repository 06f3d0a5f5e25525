"""What a detector's outputs offer: boxes, scores and classes of each image, of every layout.

Suppression and limits are the callers': ``bench.worker.detections`` for figures,
``backends.agreement`` for choices made while exporting. Which labels a box may have is a family's
own rule, and is kept here:

- one of ``anchors``, ``anchors-last`` and ``yolov5`` has a score for each class (Ultralytics'
  ``non_max_suppression``, where ``multi_label`` decides);
- one of ``yolox`` has its best class alone (``postprocess`` in yolox/utils/boxes.py);
- one of ``queries`` has its best class alone (``RTDETRPredictor.postprocess`` of Ultralytics' older
  versions);
- of ``detr`` with softmax a query has its best class alone, without "no object"
  (``DetrImageProcessor.post_process_object_detection`` of transformers); with sigmoid, or scores as
  they are, the best of all queries and classes count, as many as there are queries
  (``RTDetrImageProcessor.post_process_object_detection``; ``PostProcess`` of RF-DETR);
- the rest have one score and one class a box.

Written for Python 3.10 and numpy alone.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from deploymark.backends.layout import BOX_CHANNELS, OutputSpec
from deploymark.backends.outputs import CORNERS, ROWS, images_of, places_of, rows_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from deploymark.backends.inputs import Size
    from deploymark.backends.outputs import Image
    from deploymark.backends.session import Outputs

_MANY_LABELS = frozenset({"anchors", "anchors-last", "yolov5"})
"""Layouts with a score for each class of a box."""


@dataclasses.dataclass(frozen=True, eq=False)
class Candidates:
    """What one image offers, in the order of the output.

    ``boxes``: float32 (n, 4), x1, y1, x2, y2 in pixels of the input. ``scores``: float32 (n,) in
    [0, 1], and ``classes``: int64 (n,); or ``scores``: float32 (n, classes), and ``classes`` None.
    They may be views of the output.
    """

    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    classes: npt.NDArray[np.int64] | None = None

    def labelled(
        self, above: float, *, multi_label: bool
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Boxes, scores and classes, one each: of a matrix every label above, or the best one."""
        import numpy as np

        if self.classes is not None:
            return self.boxes, self.scores, self.classes
        if multi_label:
            place, classes = np.nonzero(self.scores > above)
            return self.boxes[place], self.scores[place, classes], classes
        classes = self.scores.argmax(axis=1)
        return self.boxes, self.scores[np.arange(len(self.boxes)), classes], classes


def candidates(raw: Outputs, output: OutputSpec, size: Size, above: float) -> list[Candidates]:
    """What each image of a batch offers with a score above ``above``.

    ``raw`` are the arrays of ``output``, of any type of number (see ``backends.layout``);
    ``size`` is that of the input. A score that is not a number is not above anything. Raises
    ValueError where the arrays do not fit the layout.
    """
    import numpy as np

    scale = (
        np.array([size.width, size.height] * 2, np.float32)
        if output.boxes == "normalised"
        else None
    )
    with np.errstate(invalid="ignore", over="ignore"):
        return [
            _of_rows(image, output, scale, above)
            if output.layout in ROWS
            else _of_places(image, output, size, scale, above)
            for image in images_of(raw, output)
        ]


def corners(boxes: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """(n, 4) centre-x, centre-y, width, height as x1, y1, x2, y2."""
    import numpy as np

    half = boxes[:, 2:] / np.float32(2)
    found: npt.NDArray[np.float32] = np.concatenate(
        (boxes[:, :2] - half, boxes[:, :2] + half), axis=1
    )
    return found


def _of_rows(
    image: Image, output: OutputSpec, scale: npt.NDArray[np.float32] | None, above: float
) -> Candidates:
    rows = rows_of(image, output)
    rows = rows[rows[:, 4] > above]
    boxes = rows[:, :4] if output.layout in CORNERS else corners(rows[:, :4])
    return Candidates(_scaled(boxes, scale), rows[:, 4], _classes(rows[:, 5]))


def _of_places(
    image: Image,
    output: OutputSpec,
    size: Size,
    scale: npt.NDArray[np.float32] | None,
    above: float,
) -> Candidates:
    import numpy as np

    turned = places_of(image, output, size, above)
    places = np.flatnonzero(turned[BOX_CHANNELS:].max(axis=0) > above)
    boxes = _scaled(corners(turned[:BOX_CHANNELS, places].T), scale)
    by_place = turned[BOX_CHANNELS:, places].T
    found = Candidates(boxes, by_place)
    if output.layout in _MANY_LABELS:
        return found
    if output.layout == "detr" and output.scores != "softmax":
        boxes, scores, classes = found.labelled(above, multi_label=True)
        best = np.argsort(-scores, kind="stable")[: turned.shape[1]]
        return Candidates(boxes[best], scores[best], classes[best])
    return Candidates(*found.labelled(above, multi_label=False))


def _scaled(
    boxes: npt.NDArray[np.float32], scale: npt.NDArray[np.float32] | None
) -> npt.NDArray[np.float32]:
    return boxes if scale is None else boxes * scale


def _classes(numbers: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Class numbers as integers; -1 where one is not finite, which no class has."""
    import numpy as np

    whole: npt.NDArray[np.int64] = np.nan_to_num(
        numbers, nan=-1.0, posinf=-1.0, neginf=-1.0
    ).astype(np.int64)
    return whole

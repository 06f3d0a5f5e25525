"""mAP of a torch module, by which recipes judge their own choices. For the build child only."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from deploymark.backends.base import UnavailableError
from deploymark.backends.inputs import Size, square_input
from deploymark.backends.layout import OutputSpec
from deploymark.bench.data.images import letterboxed
from deploymark.bench.data.labels import ImageLabels
from deploymark.bench.data.training_data import identity
from deploymark.bench.score.average_precision import score
from deploymark.bench.variants.apply import StepContext
from deploymark.bench.variants.checkpoint import exportable, output_layout
from deploymark.bench.worker.detections import SCORING_CONFIDENCE, Detections, decode
from deploymark.bench.worker.letterbox import to_input

if TYPE_CHECKING:
    from torch import nn

_BATCH = 8


class Evaluator:
    """Scores modules on images that stay letterboxed in memory.

    ``imgsz`` is the side of a square in pixels; ``head`` as
    ``bench.variants.checkpoint.model_factory`` takes it. Raises UnavailableError where there is no
    box to find.
    """

    def __init__(self, images: Sequence[ImageLabels], imgsz: int, head: str = "auto") -> None:
        if not any(len(image.boxes) for image in images):
            raise UnavailableError(
                f"none of the {len(images)} images held out of the train split has a box",
                remedy="Give a train split with more labelled images.",
            )
        self.images, self.imgsz, self.head = tuple(images), imgsz, head
        spec = square_input(imgsz)
        prepared = [letterboxed(image.path, spec) for image in images]
        self._pixels = np.stack([pixels for pixels, _ in prepared])
        self.geometries = [geometry for _, geometry in prepared]

    def detections(self, module: nn.Module) -> list[Detections]:
        """The boxes of each image as they are scored. ``module``: before fusing, left as it is."""
        import torch

        size = Size.of(self.imgsz)
        ready = exportable(copy.deepcopy(module), size, head=self.head)
        output, found = OutputSpec(output_layout(ready)), []
        with torch.inference_mode():
            for start in range(0, len(self._pixels), _BATCH):
                batch = torch.from_numpy(to_input(self._pixels[start : start + _BATCH]))
                raw = ready(batch).numpy()
                found += decode(raw, output, size, conf=SCORING_CONFIDENCE, multi_label=True)
        return found

    def map50_95(self, module: nn.Module) -> float:
        """COCO's AP in [0, 1]. ``module``: a detector before fusing, left as it is."""
        classes = int(module.model[-1].nc)
        found = self.detections(module)
        return score(self.images, found, self.geometries, identity(classes)).map50_95


def selection_evaluator(context: StepContext, imgsz: int | None = None) -> Evaluator:
    """An evaluator of the images that a recipe may judge its choices by.

    Raises UnavailableError where there are none.
    """
    if context.data is None:
        raise UnavailableError(
            "the data set has no train split to judge the recipe by",
            remedy="Give `data:` a data.yaml with a train split.",
        )
    return Evaluator(context.data.selection, imgsz or context.imgsz, context.head)

"""Soft targets of a distillation: what a student learns from its teacher's raw answers.

Teacher and student have the same places (cells of the feature maps), classes and bins, so each
answer of the one stands beside that of the other, and no label has to be matched. As in
distillation of classifiers (Hinton et al., Distilling the Knowledge in a Neural Network, 2015),
answers are softened by a temperature T and the loss is scaled by T², which keeps its pull.

Classes: a detector's classes are independent sigmoids, so each place and class is a question of
yes or no, answered as likely as the teacher says: KL divergence of the two Bernoulli distributions
(the binary cross-entropy of Yang et al., Bridging Cross-task Protocol Inconsistency for
Distillation in Dense Object Detection, ICCV 2023, less the teacher's entropy, which is constant).

Boxes: KL divergence of the distributions over bins, side by side (Zheng et al., Localization
Distillation for Dense Object Detection, CVPR 2022). Heads without bins (``reg_max`` 1, YOLO26) give
plain distances: their absolute differences in shares of the teacher's box, which to first order add
up to 1 - IoU, the IoU loss of Yang et al.

A place counts for boxes by the teacher's confidence there, its highest class probability: most
places are background and their boxes mean nothing. Classes need no such weight, as where both say
background the divergence vanishes. Both are divided by the sum of the confidences, as Ultralytics'
detection loss is by the sum of its target scores, and multiplied by the batch as that is.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from deploymark.bench.matrix.steps import DistillStep

Raw = dict[str, Any]
"""What a head gives in training: ``boxes`` (b, 4 x reg_max, n) and ``scores`` (b, classes, n), both
logits; or two of these, ``one2many`` and ``one2one``."""

SIDES = 4
"""Left, top, right, bottom: distances from a place to the sides of its box."""

CLASS_SCALE, BINS_SCALE, DISTANCE_SCALE = 0.5, 1.5, 7.5
"""Gains ``cls``, ``dfl`` and ``box`` of Ultralytics' detection loss (its ``cfg/default.yaml``):
with gains of 1 the teacher weighs about as much as the labels do."""

_BINS = "of the bins of each box's sides (Localization Distillation, Zheng et al., CVPR 2022)"
_DISTANCES = "L1 of each box's sides in shares of the teacher's box (the head has no bins)"


@dataclasses.dataclass(frozen=True)
class SoftTargets:
    """The loss; ``temperature`` above 0, gains of at least 0 (0 leaves that part out)."""

    temperature: float = 1.0
    class_gain: float = 1.0
    box_gain: float = 1.0

    @classmethod
    def of(cls, step: DistillStep) -> SoftTargets:
        """The loss that a step asks for."""
        return cls(step.temperature, step.class_gain, step.box_gain)

    def __call__(self, student: Raw, teacher: Raw) -> tuple[torch.Tensor, dict[str, float]]:
        """The loss of a batch as a scalar, times the batch; and its parts of one image.

        Heads with two branches teach branch to branch; the loss is the mean over the student's.
        The gradient is 0 where the student answers as the teacher does.
        """
        import torch

        mine, theirs = branches(student), branches(teacher)
        each = torch.stack([self._parts(raw, theirs[name]) for name, raw in mine.items()])
        parts = each.mean(0)
        batch = next(iter(mine.values()))["scores"].shape[0]
        names = ("distill_class", "distill_box")
        return parts.sum() * batch, dict(zip(names, parts.detach().tolist(), strict=True))

    def _parts(self, student: Raw, teacher: Raw) -> torch.Tensor:
        """The loss of one branch, (2,): of classes and of boxes."""
        import torch

        confidence = teacher["scores"].detach().sigmoid().amax(1)
        total = confidence.sum().clamp(min=1.0)
        of_classes = of_boxes = student["scores"].sum() * 0.0
        if self.class_gain:
            gap = class_divergence(student["scores"], teacher["scores"], self.temperature)
            of_classes = self.class_gain * CLASS_SCALE * gap.sum() / total
        if self.box_gain:
            gap = box_divergence(student["boxes"], teacher["boxes"], self.temperature)
            of_boxes = self.box_gain * (gap * confidence).sum() / total
        return torch.stack([of_classes, of_boxes])


def branches(raw: Raw) -> dict[str, Raw]:
    """The branches of a head's raw answer by name; ``one2many`` where it has one only."""
    return {key: raw[key] for key in ("one2many", "one2one") if key in raw} or {"one2many": raw}


def class_divergence(
    student: torch.Tensor, teacher: torch.Tensor, temperature: float
) -> torch.Tensor:
    """KL divergence of the student's yes or no from the teacher's, times the squared temperature.

    Both are logits (b, classes, n); so is the shape of what is returned. At least 0, 0 where equal.
    """
    from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

    logits = teacher.detach() / temperature
    target = logits.sigmoid()
    entropy = cross_entropy(logits, target, reduction="none")
    return (
        cross_entropy(student / temperature, target, reduction="none") - entropy
    ) * temperature**2


def box_divergence(
    student: torch.Tensor, teacher: torch.Tensor, temperature: float
) -> torch.Tensor:
    """How far the student's box is from the teacher's at each place, scaled: (b, n), at least 0.

    Both are (b, 4 x reg_max, n): logits of bins, or distances in strides where reg_max is 1, which
    have no temperature.
    """
    teacher = teacher.detach()
    if student.shape[1] == SIDES:
        return DISTANCE_SCALE * _relative_distance(student, teacher)
    return BINS_SCALE * _bins_divergence(student, teacher, temperature)


def _bins_divergence(
    student: torch.Tensor, teacher: torch.Tensor, temperature: float
) -> torch.Tensor:
    """KL divergence of the bins, the mean over the sides, times the squared temperature."""
    import torch

    mine, target = (
        torch.log_softmax(logits.unflatten(1, (SIDES, -1)) / temperature, dim=2)
        for logits in (student, teacher)
    )
    return (target.exp() * (target - mine)).sum(2).mean(1) * temperature**2


def _relative_distance(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Absolute differences in shares of the teacher's width or height, the sum over the sides.

    A box of less than a stride counts as one stride.
    """
    left, top, right, bottom = teacher.unbind(1)
    width, height = (left + right).clamp(min=1.0), (top + bottom).clamp(min=1.0)
    gaps = (student - teacher).abs().unbind(1)
    return (gaps[0] + gaps[2]) / width + (gaps[1] + gaps[3]) / height


def sentence(reg_max: int, *, ablation: bool = False) -> str:
    """What is trained for, and its source, in one sentence for the record."""
    if ablation:
        return "the detection loss alone"
    return (
        "the detection loss and, from the teacher, KL divergence of each class's sigmoid (Hinton "
        f"et al. 2015; Yang et al., ICCV 2023) and {_BINS if reg_max > 1 else _DISTANCES}, the "
        "latter weighted by the teacher's confidence at each place"
    )

"""Knowledge distillation: a student trained to answer as a larger teacher does."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploymark.backends.base import UnsupportedError
from deploymark.backends.inputs import Size
from deploymark.bench.matrix.steps import ORIGINAL, DistillStep
from deploymark.bench.variants.apply import Record, StepContext
from deploymark.bench.variants.architectures import build
from deploymark.bench.variants.checkpoint import exportable, load_detector
from deploymark.bench.variants.distill_loss import SoftTargets, sentence
from deploymark.bench.variants.evaluate import selection_evaluator
from deploymark.bench.variants.model_counts import count_macs
from deploymark.bench.variants.training import train

if TYPE_CHECKING:
    import torch
    from torch import nn

_FITTING = "Give a teacher and a student with the same classes and the same kind of head."


class Teacher:
    """A frozen detector that answers as the student does in training, and the loss against it.

    ``module`` is a detector before fusing, taken over. Its batch normalisation stays as it was
    trained: a teacher's answer for an image does not depend on the batch.
    """

    def __init__(self, module: Any, loss: SoftTargets) -> None:
        self._module, self._loss = module.eval().requires_grad_(requires_grad=False), loss
        # The head alone: in training it gives its raw answers, and decodes nothing.
        module.model[-1].training = True

    def __call__(self, images: torch.Tensor, raw: Any) -> tuple[torch.Tensor, dict[str, float]]:
        """The loss of a batch (see ``bench.variants.training.ExtraLoss``)."""
        import torch

        with torch.no_grad():
            answer = self._module.to(images.device)(images)
        return self._loss(raw, answer)


def run(module: nn.Module, step: DistillStep, context: StepContext) -> tuple[nn.Module, Record]:
    """Carry out a ``distill`` step (see ``bench.variants.apply.run_step``).

    The student is ``module``, or what the step names instead; then ``module`` tells the classes.
    With ``ablation`` it is trained the same way without the teacher, which is still recorded.

    The record is that of the training (``bench.variants.training.train``) and, besides: ``teacher``
    (``params``, ``macs``, ``map50_95`` on the selection images), ``student`` (``params``,
    ``macs``), ``ablation``, and ``loss``, what was added to the detection loss, and its source.

    Raises UnsupportedError where teacher and student do not fit each other, or the classes.
    """
    imgsz = step.imgsz or context.imgsz
    seed = context.seed if step.seed is None else step.seed
    teacher = load_detector(context.original if step.teacher == ORIGINAL else Path(step.teacher))
    student = _student(module, step.student, seed)
    check_classes("teacher", teacher, module)
    check_classes("student", student, module)
    check_heads(teacher, student)

    extra = None if step.ablation else Teacher(teacher, SoftTargets.of(step))
    trained, record = train(student, step, context, extra_loss=extra)
    context.say("score the teacher")
    score = selection_evaluator(context, imgsz).map50_95(teacher)
    of_teacher, of_student = (_costs(each, imgsz, context.head) for each in (teacher, trained))
    how = "without the teacher (ablation)" if step.ablation else "with soft targets"
    share = of_student["macs"] / of_teacher["macs"]
    note = f"a student of {share:.0%} of the teacher's MACs, trained {how}"
    return trained, {
        **record,
        "teacher": {**of_teacher, "map50_95": score},
        "student": of_student,
        "loss": sentence(int(student.model[-1].reg_max), ablation=step.ablation),
        "ablation": step.ablation,
        "notes": [*record.get("notes", []), note],
    }


def check_classes(role: str, module: Any, expected: Any) -> None:
    """Raise UnsupportedError unless a detector has the classes of the recipe's, in their order."""
    names, known = _names(module), _names(expected)
    if len(names) != len(known):
        raise UnsupportedError(
            f"the {role} has {len(names)} classes, the model {len(known)}", remedy=_FITTING
        )
    for index, (name, other) in enumerate(zip(names, known, strict=True)):
        if name != other:
            raise UnsupportedError(
                f"class {index} of the {role} is {name!r}, that of the model {other!r}",
                remedy=_FITTING,
            )


def check_heads(teacher: Any, student: Any) -> None:
    """Raise UnsupportedError unless both heads answer at the same places in the same numbers."""
    for what, of_teacher, of_student in (
        ("strides", _strides(teacher), _strides(student)),
        ("reg_max", int(teacher.model[-1].reg_max), int(student.model[-1].reg_max)),
    ):
        if of_teacher != of_student:
            raise UnsupportedError(
                f"the teacher's head has {what} {of_teacher}, the student's {of_student}",
                remedy=_FITTING,
            )
    if _has_one_to_one(student) and not _has_one_to_one(teacher):
        raise UnsupportedError(
            "the student has a one-to-one head and the teacher has none to teach it",
            remedy=_FITTING,
        )


def _student(module: nn.Module, name: str | None, seed: int) -> Any:
    if name is None:
        return module
    return load_detector(Path(name)) if name.endswith(".pt") else build(name, module, seed)


def _names(module: Any) -> list[str]:
    names = module.names
    return [str(name) for name in (names.values() if isinstance(names, dict) else names)]


def _strides(module: Any) -> list[int]:
    return [int(stride) for stride in module.stride]


def _has_one_to_one(module: Any) -> bool:
    return getattr(module.model[-1], "one2one_cv2", None) is not None


def _costs(module: Any, imgsz: int, head: str) -> dict[str, int]:
    """Parameters, and multiply-accumulates of one image, as they are exported."""
    ready = exportable(copy.deepcopy(module), Size.of(imgsz), head=head)
    params = sum(parameter.numel() for parameter in ready.parameters())
    return {"params": params, "macs": count_macs(ready, Size.of(imgsz))[0]}
